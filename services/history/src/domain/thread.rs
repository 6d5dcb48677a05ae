//! An ended thread as it is kept: head, messages in order, form.

use hilo_kit::id_type;
use std::collections::BTreeMap;
use time::OffsetDateTime;

id_type!(
    /// Identifies an interaction; a thread is the messages of one interaction.
    InteractionId
);
id_type!(
    /// Identifies an attention.
    AttentionId
);
id_type!(
    /// Identifies a message.
    MessageId
);
id_type!(
    /// Identifies a contact.
    ContactId
);
id_type!(
    /// Identifies an internal note.
    NoteId
);

/// Who started a thread, or wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The customer.
    Inbound,
    /// An agent or a dialer.
    Outbound,
}

/// A mailbox or number with its display name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// Address or number.
    pub address: String,
    /// Display name; may be empty.
    pub name: String,
}

/// Everything of a thread that a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Interaction.
    pub interaction_id: InteractionId,
    /// Attention.
    pub attention_id: AttentionId,
    /// Human number of the attention.
    pub attention_number: i64,
    /// Position of the interaction within the attention, from 1.
    pub ordinal: i32,
    /// Campaign; decides who may read it.
    pub campaign_key: String,
    /// Agent who ended it; empty for the system.
    pub agent_key: String,
    /// Channel.
    pub channel: String,
    /// Who started it.
    pub direction: Direction,
    /// Customer.
    pub customer: Mailbox,
    /// Subject; may be empty.
    pub subject: String,
    /// When it ended.
    pub ended_at: OffsetDateTime,
    /// True when the attention was closed with it.
    pub attention_closed: bool,
    /// Number of messages.
    pub message_count: i32,
    /// Tags.
    pub tags: Vec<String>,
    /// True when the contact was a VIP when it ended.
    pub vip: bool,
}

/// A thread at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Version of the interaction; newer wins.
    pub version: i64,
    /// Head.
    pub head: Head,
    /// Account of ours.
    pub account_key: String,
    /// When the interaction entered the queue first.
    pub waiting_since: Option<OffsetDateTime>,
    /// When it was opened.
    pub opened_at: Option<OffsetDateTime>,
    /// Attention this one follows.
    pub linked_attention_id: Option<AttentionId>,
    /// Contact.
    pub contact_id: Option<ContactId>,
    /// Messages in thread order.
    pub messages: Vec<Message>,
    /// Form as filled in.
    pub form: Option<FilledForm>,
    /// Internal notes in time order.
    pub notes: Vec<Note>,
}

/// An internal note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Id.
    pub id: NoteId,
    /// Who wrote it.
    pub author_key: String,
    /// Plain text.
    pub text: String,
    /// When.
    pub created_at: OffsetDateTime,
}

/// Where a thread stands among those of its attention that the caller may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1, oldest first.
    pub position: i32,
    /// How many there are.
    pub total: i32,
    /// The one before.
    pub previous: Option<InteractionId>,
    /// The one after.
    pub next: Option<InteractionId>,
}

/// A message of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Id.
    pub id: MessageId,
    /// Who wrote it.
    pub direction: Direction,
    /// Author.
    pub from: Mailbox,
    /// Recipients.
    pub to: Vec<Mailbox>,
    /// Copies.
    pub cc: Vec<Mailbox>,
    /// Subject.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// HTML, sanitised when it came in; sanitised again at output.
    pub html: String,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// When it was received or committed.
    pub occurred_at: OffsetDateTime,
    /// Delivery state of an outbound message.
    pub delivery_state: String,
    /// The server's words for a failure.
    pub delivery_detail: String,
    /// Stable class of a failure.
    pub delivery_reason: String,
    /// Agent who wrote it.
    pub agent_key: String,
    /// Class of an inbound mail.
    pub mail_class: String,
    /// False when the sender could not be authenticated for the thread it claims.
    pub sender_verified: bool,
    /// Message-ID (RFC 5322) without angle brackets.
    pub internet_message_id: String,
    /// Hidden recipients of an outbound message.
    pub bcc: Vec<Mailbox>,
    /// What became of each recipient of an outbound message, as last reported.
    pub recipients: Vec<Recipient>,
    /// What a WhatsApp item is beyond its text: an encoded `hilo.history.v1.WhatsAppItem`, which is kept and never looked into.
    pub whatsapp: Option<Vec<u8>>,
}

/// What became of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Address.
    pub address: String,
    /// Delivery state.
    pub state: String,
    /// SMTP reply code; 0 when there was none.
    pub reply_code: i32,
    /// Enhanced status code (RFC 3463); may be empty.
    pub enhanced_code: String,
    /// The server's words.
    pub reply_text: String,
}

impl Message {
    /// True when it carries a body or files; false after the live store purged them (or when it never had any). A WhatsApp item
    /// is content by itself: one that the customer took back has no text and no files, and that is what counts.
    pub fn has_content(&self) -> bool {
        let mail = !self.text.is_empty() || !self.html.is_empty() || !self.attachments.is_empty();
        mail || self.whatsapp.is_some()
    }
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// SHA-256 in lower-case hex: its key in the object store.
    pub sha256: String,
    /// Name as shown; never a path.
    pub file_name: String,
    /// Media type as declared.
    pub media_type: String,
    /// Bytes.
    pub size_bytes: i64,
    /// Content-ID without angle brackets.
    pub content_id: String,
    /// True when it is shown inside the body.
    pub inline: bool,
}

/// A form as filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilledForm {
    /// Form.
    pub key: String,
    /// Version of its definition.
    pub version: i32,
    /// Fields by key.
    pub fields: BTreeMap<String, FormField>,
}

/// A field of a filled form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormField {
    /// Label of that version.
    pub label: String,
    /// Value; several choices are separated by line feeds. `None` when it was left empty.
    pub value: Option<String>,
}

/// Small threads for tests.
#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// A message of the customer.
    pub fn message(text: &str) -> Message {
        Message {
            id: MessageId::new(),
            direction: Direction::Inbound,
            from: Mailbox { address: "ana@ejemplo.pe".into(), name: "Ana Núñez".into() },
            to: vec![Mailbox { address: "ventas@hilo.example".into(), name: String::new() }],
            cc: Vec::new(),
            subject: "Pedido".into(),
            text: text.into(),
            html: String::new(),
            attachments: Vec::new(),
            occurred_at: OffsetDateTime::UNIX_EPOCH,
            delivery_state: String::new(),
            delivery_detail: String::new(),
            delivery_reason: String::new(),
            agent_key: String::new(),
            mail_class: "human".into(),
            sender_verified: true,
            internet_message_id: String::new(),
            bcc: Vec::new(),
            recipients: Vec::new(),
            whatsapp: None,
        }
    }

    /// A thread that ended at the epoch.
    pub fn thread(version: i64, messages: Vec<Message>) -> Thread {
        let head = Head {
            interaction_id: InteractionId::new(),
            attention_id: AttentionId::new(),
            attention_number: 1,
            ordinal: 1,
            campaign_key: "ventas".into(),
            agent_key: "ana".into(),
            channel: "email".into(),
            direction: Direction::Inbound,
            customer: Mailbox { address: "ana@ejemplo.pe".into(), name: "Ana Núñez".into() },
            subject: "Pedido".into(),
            ended_at: OffsetDateTime::UNIX_EPOCH,
            attention_closed: false,
            message_count: i32::try_from(messages.len()).expect("tests make few"),
            tags: Vec::new(),
            vip: false,
        };
        Thread {
            version,
            head,
            account_key: "ventas-mail".into(),
            waiting_since: None,
            opened_at: None,
            linked_attention_id: None,
            contact_id: None,
            messages,
            form: None,
            notes: Vec::new(),
        }
    }
}
