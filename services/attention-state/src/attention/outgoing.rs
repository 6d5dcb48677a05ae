//! A mail of ours as it is committed: its row in the thread, the keys by which reports and answers find it, and its row of
//! OUTBOUND. One way for whoever composed it: a reply, a forward, a first mail, an automatic reply.

use hilo_kit::error::Error;
use hilo_kit::outbox::append;
use hilo_proto::inbound::v1::{Attachment, EmailAddress};
use hilo_proto::outbound::v1::OutboundEmail;
use sqlx::PgConnection;

use super::domain::{
    Attention, DeliveryState, InteractionId, MessageId, MessageKind, MessageSummary, UserKey,
};
use super::envelope::Post;
use super::reply::Reply;
use super::store::message::{self, Key, KeyRow, NewMessage, StoredAttachment};
use super::work::Work;

/// Most bytes of files in one mail: base 64 and headers make 25 MiB of it, which is what servers take.
const MAX_FILES_BYTES: i64 = 18 * 1024 * 1024;
/// Most files of one mail, the original's among them.
const MAX_FILES: usize = 100;

/// A composed mail.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub id: MessageId,
    pub interaction: InteractionId,
    /// `None` when no person wrote it.
    pub agent: Option<UserKey>,
    pub mail: Reply,
    pub files: Vec<StoredAttachment>,
}

impl Outgoing {
    /// What the domain is told of it.
    pub(super) fn summary(id: MessageId, files: usize, work: &Work) -> MessageSummary {
        MessageSummary {
            id,
            occurred_at: work.now(),
            attachments: i32::try_from(files).unwrap_or(i32::MAX),
            kind: MessageKind::Outbound { delivery: DeliveryState::Queued },
        }
    }
}

/// Commits the mail at the attention's newest place, which `after` has.
///
/// # Errors
/// `MESSAGE_TOO_LARGE`, `OBJECT_STORE_UNAVAILABLE`; an invalid subject; database errors.
pub(super) async fn commit(
    tx: &mut PgConnection,
    post: &Post,
    work: &Work,
    after: &Attention,
    traceparent: &str,
    outgoing: Outgoing,
) -> Result<(), Error> {
    let (id, now) = (outgoing.id, work.now());
    let key = |key: Key| KeyRow { key, message: id, interaction: outgoing.interaction, attention: after.id };
    let keys = [Some(Key::Send(id.uuid())), Key::internet(&outgoing.mail.message_id)];
    let keys: Vec<KeyRow> = keys.into_iter().flatten().map(key).collect();
    message::insert_messages(tx, &[stored(work, after, &outgoing)]).await?;
    message::insert_keys(tx, &keys).await?;
    append(tx, &[post.mail(after, id.uuid(), now, traceparent, email(outgoing)).await?]).await
}

/// Marks the files that the HTML shows.
pub(super) fn place(files: &mut [StoredAttachment], html: &str) {
    for file in files {
        file.inline = !file.content_id.is_empty() && html.contains(&format!("cid:{}", file.content_id));
    }
}

/// Whether one mail takes these files.
///
/// # Errors
/// `TOO_MANY_ATTACHMENTS`, `MESSAGE_TOO_LARGE`.
pub(super) fn check_files(files: &[StoredAttachment]) -> Result<(), Error> {
    if files.len() > MAX_FILES {
        let text = format!("at most {MAX_FILES} files");
        return Err(Error::invalid("TOO_MANY_ATTACHMENTS", text.clone()).field("attachments", text));
    }
    let bytes: i64 = files.iter().map(|file| file.size_bytes.max(0)).sum();
    if bytes > MAX_FILES_BYTES {
        let text = format!("files of one mail have at most {MAX_FILES_BYTES} bytes together, these {bytes}");
        return Err(Error::invalid("MESSAGE_TOO_LARGE", text).field("attachments", "too large together"));
    }
    Ok(())
}

fn stored(work: &Work, after: &Attention, outgoing: &Outgoing) -> NewMessage {
    let mail = &outgoing.mail;
    NewMessage {
        message_id: outgoing.id.uuid(),
        attention_id: after.id.uuid(),
        interaction_id: outgoing.interaction.uuid(),
        position: after.messages,
        direction: "outbound",
        from_address: mail.from.address.clone(),
        from_name: mail.from.name.clone(),
        to_addresses: mail.to.clone(),
        cc_addresses: mail.cc.clone(),
        bcc_addresses: mail.bcc.clone(),
        reply_to_addresses: Vec::new(),
        subject: mail.subject.clone(),
        text_body: mail.text.clone(),
        html_body: mail.html.clone(),
        attachments: outgoing.files.clone(),
        occurred_at: work.now(),
        internet_message_id: mail.message_id.clone(),
        reference_ids: mail.references.clone(),
        agent_key: outgoing.agent.as_ref().map(UserKey::to_string),
        mail_class: "",
        sender_verified: true,
        delivery_state: Some(DeliveryState::Queued.word()),
        conversation_key: None,
        conversation_number: None,
        whatsapp: None,
        wamid: String::new(),
    }
}

fn email(outgoing: Outgoing) -> OutboundEmail {
    let Outgoing { mail, files, agent, .. } = outgoing;
    let list = |from: Vec<_>| from.into_iter().map(EmailAddress::from).collect();
    OutboundEmail {
        message_id: mail.message_id,
        from: Some(mail.from.into()),
        to: list(mail.to),
        cc: list(mail.cc),
        bcc: list(mail.bcc),
        subject: mail.subject,
        text: mail.text,
        html: mail.html,
        attachments: files.into_iter().map(Attachment::from).collect(),
        in_reply_to: mail.in_reply_to,
        references: mail.references,
        reply_to: mail.reply_to,
        automatic: agent.is_none(),
        ..OutboundEmail::default()
    }
}
