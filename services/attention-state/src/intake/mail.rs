//! An inbound envelope as intake works with it: ids parsed, text made storable, addresses normalised.

use hilo_kit::clock::from_proto;
use hilo_kit::consumer::Delivery;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_kit::telemetry;
use hilo_proto::inbound::v1::{
    DmarcResult, EmailAddress, InboundEmail, InboundEnvelope, MailClass as ProtoClass,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::threading::Claim;
use crate::attention::domain::{AttentionId, MailClass};
use crate::attention::store::message::Key;

/// References looked up; email-ingest sends at most as many.
const MAX_REFERENCES: usize = 100;
/// Longest subject kept (RFC 5322 section 2.1.1: a line has at most 998 characters).
const MAX_SUBJECT: usize = 998;
/// Reason of a class that says so; an empty envelope sender alone may also be an unknown one (fetched by IMAP).
const NULL_SENDER: &str = "null-sender";
/// Stands for the author of a mail that has none (RFC 2606 reserves `.invalid`).
const NOBODY: &str = "unknown@sender.invalid";

/// A mail to be taken in.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    /// Id under which the inbox knows it.
    pub delivery: Uuid,
    pub ledger: Uuid,
    pub account: String,
    pub conversation: Uuid,
    pub number: i64,
    pub received_at: OffsetDateTime,
    /// Trace of its intake.
    pub traceparent: String,
    /// Normalised author; empty when it had none.
    pub from: String,
    pub class: MailClass,
    /// True when the envelope sender is known to be empty (RFC 5321 section 4.5.5).
    pub null_sender: bool,
    pub dmarc: DmarcResult,
    pub unauthenticated_accepted: bool,
    /// Attentions whose token was verified.
    pub tokens: Vec<AttentionId>,
    /// Keys of its References and In-Reply-To, nearest first.
    pub references: Vec<Key>,
    /// Key of its own Message-ID.
    pub own: Option<Key>,
    pub email: InboundEmail,
}

/// Reads a mail of an envelope.
///
/// # Errors
/// Class invalid: such a message can never succeed.
pub(super) fn read(
    delivery: &Delivery,
    envelope: InboundEnvelope,
    mut email: InboundEmail,
) -> Result<Mail, Error> {
    clean(&mut email);
    let evidence = email.evidence.clone().unwrap_or_default();
    let received_at = envelope.received_at.as_ref().and_then(from_proto);
    let from = email.from.as_ref().map(|from| normal(&from.address)).unwrap_or_default();
    let references =
        evidence.references.iter().take(MAX_REFERENCES).filter_map(|id| Key::internet(id)).collect();
    let parent = if envelope.traceparent.is_empty() {
        delivery.traceparent()
    } else {
        Some(envelope.traceparent.as_str())
    };
    Ok(Mail {
        delivery: delivery.id(),
        ledger: ids::parse(&envelope.ledger_id, "ledger_id")?,
        account: envelope.account_key,
        conversation: ids::parse(&envelope.conversation_key, "conversation_key")?,
        number: envelope.sequence,
        received_at: received_at
            .ok_or_else(|| Error::invalid("NO_INSTANT", "the envelope has no instant"))?,
        traceparent: trace(parent),
        from,
        class: class(email.mail_class()),
        null_sender: email.class_reasons.iter().any(|reason| reason == NULL_SENDER),
        dmarc: evidence.dmarc(),
        unauthenticated_accepted: evidence.unauthenticated_replies_accepted,
        tokens: evidence
            .token_attention_ids
            .iter()
            .filter_map(|id| Uuid::try_parse(id).ok())
            .map(AttentionId)
            .collect(),
        references,
        own: Key::internet(&email.message_id),
        email,
    })
}

impl Mail {
    /// What threading is decided on.
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            from: &self.from,
            dmarc: self.dmarc,
            unauthenticated_accepted: self.unauthenticated_accepted,
            class: self.class,
            null_sender: self.null_sender,
        }
    }

    /// The address the contact is found by.
    pub fn identity(&self) -> &str {
        if self.from.is_empty() { NOBODY } else { &self.from }
    }

    /// The author's display name.
    pub fn name(&self) -> &str {
        self.email.from.as_ref().map_or("", |from| from.name.as_str())
    }
}

/// The stored trace: that of a span of ours below the mail's own, so that what follows hangs below the intake.
pub(super) fn trace(parent: Option<&str>) -> String {
    let span = telemetry::span_with_parent(parent, tracing::info_span!("attention.intake"));
    let own = span.in_scope(telemetry::current_traceparent);
    own.or_else(|| parent.map(str::to_owned)).unwrap_or_default()
}

/// Addresses are compared in lower case: local parts are case-sensitive by RFC 5321, and by no mail provider.
pub(crate) fn normal(address: &str) -> String {
    address.trim().to_lowercase().chars().take(500).collect()
}

fn class(class: ProtoClass) -> MailClass {
    match class {
        ProtoClass::Human | ProtoClass::Unspecified => MailClass::Human,
        ProtoClass::AutoReply => MailClass::AutoReply,
        ProtoClass::DeliveryReport => MailClass::DeliveryReport,
        ProtoClass::Complaint => MailClass::Complaint,
        ProtoClass::Bulk => MailClass::Bulk,
        ProtoClass::OwnLoop => MailClass::OwnLoop,
    }
}

/// PostgreSQL cannot store the NUL character; everything else is kept as it came.
fn clean(email: &mut InboundEmail) {
    let strip = |text: &mut String| {
        if text.contains('\0') {
            *text = text.replace('\0', "\u{fffd}");
        }
    };
    let strip_address = |one: &mut EmailAddress| {
        strip(&mut one.address);
        strip(&mut one.name);
    };
    for text in [&mut email.message_id, &mut email.subject, &mut email.text, &mut email.html] {
        strip(text);
    }
    if email.subject.chars().count() > MAX_SUBJECT {
        email.subject = email.subject.chars().take(MAX_SUBJECT).collect();
    }
    email.from.iter_mut().for_each(strip_address);
    for list in [&mut email.reply_to, &mut email.to, &mut email.cc] {
        list.iter_mut().for_each(strip_address);
    }
    for attachment in &mut email.attachments {
        for text in [&mut attachment.file_name, &mut attachment.media_type, &mut attachment.content_id] {
            strip(text);
        }
    }
    if let Some(evidence) = &mut email.evidence {
        evidence.references.iter_mut().for_each(strip);
    }
}
