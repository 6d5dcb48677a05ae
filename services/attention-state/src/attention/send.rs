//! `SendMessage`: what an agent wrote becomes a message, a Message-ID with the keyed token, a row of OUTBOUND and an event,
//! in one transaction.

use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use hilo_kit::outbox::append;
use hilo_kit::{telemetry, thread_token};
use hilo_proto::inbound::v1::{Attachment, EmailAddress};
use hilo_proto::outbound::v1::OutboundEmail;
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::{
    Attention, Command, DeliveryState, InteractionId, MessageId, MessageKind, MessageSummary, UserKey,
};
use super::envelope;
use super::reply::{self, Mode, Reply};
use super::store::LastMessage;
use super::store::answered::{Answered, answered};
use super::store::message::{self, Key, KeyRow, NewMessage, StoredAddress, StoredAttachment};
use super::work::{Actor, Work};
use crate::conversation::attach::{self, Wanted};
use crate::directory;
use crate::intake::preview;

/// Most recipients of one mail.
const MAX_RECIPIENTS: usize = 100;
/// Most bytes of files in one mail: base 64 and headers make 25 MiB of it, which is what servers take.
const MAX_FILES_BYTES: i64 = 18 * 1024 * 1024;
/// Most files of one mail, the original's among them.
const MAX_FILES: usize = 100;

/// What an agent wrote.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub interaction: InteractionId,
    pub agent: UserKey,
    pub mode: Mode,
    /// The message it is about; `None` is the newest mail of the customer.
    pub about: Option<Uuid>,
    /// Exactly these, unless empty.
    pub to: Vec<StoredAddress>,
    pub cc: Vec<StoredAddress>,
    pub bcc: Vec<StoredAddress>,
    /// Empty is the one that follows.
    pub subject: String,
    pub text: String,
    /// Sanitised.
    pub html: String,
    pub quote: bool,
    pub files: Vec<Wanted>,
    /// A forward with the original's files.
    pub original_files: bool,
}

/// Commits the letter on a locked interaction; answers the id of its message.
///
/// # Errors
/// The rejection (`NOT_YOURS`, ...), `NO_RECIPIENT`, `TOO_MANY_RECIPIENTS`, `MESSAGE_NOT_FOUND`, `ATTACHMENT_NOT_FOUND`,
/// `TOO_MANY_ATTACHMENTS`, `MESSAGE_TOO_LARGE`, `ACCOUNT_UNKNOWN`; database errors.
pub(crate) async fn send(
    tx: &mut PgConnection,
    subjects: &Subjects,
    thread_key: &[u8],
    work: &mut Work,
    before: &Attention,
    letter: &Letter,
) -> Result<MessageId, Error> {
    let id = MessageId::new();
    let written = compose(tx, thread_key, before, letter).await;
    // Whoever may not send learns that first.
    let files = written.as_ref().map_or(0, |(_, files)| files.len());
    let message = MessageSummary {
        id,
        occurred_at: work.now(),
        attachments: i32::try_from(files).unwrap_or(i32::MAX),
        kind: MessageKind::Outbound { delivery: DeliveryState::Queued },
    };
    let stored = work.traceparent(letter.interaction).to_owned();
    let span = telemetry::span_with_parent(Some(&stored), tracing::info_span!("attention.send"));
    let traceparent = span.in_scope(telemetry::current_traceparent).unwrap_or(stored);
    let command = Command::SendMessage { agent: letter.agent.clone(), message };
    let decision = work.decide(letter.interaction, command, &Actor::User(letter.agent.clone()))?;
    let after = decision.state.ok_or_else(super::commands::not_found)?;
    let (reply, files) = written?;
    work.admit(after.id, reply.recipients().map(|one| crate::intake::normal(&one.address)));
    work.show(
        letter.interaction,
        LastMessage { preview: preview(&reply.text), at: work.now(), sender_verified: None },
    );
    work.write(tx, subjects).await?;
    let row = |key: Key| KeyRow { key, message: id, interaction: letter.interaction, attention: after.id };
    let keys: Vec<KeyRow> = [Some(Key::Send(id.uuid())), Key::internet(&reply.message_id)]
        .into_iter()
        .flatten()
        .map(row)
        .collect();
    message::insert_messages(tx, &[stored_message(work, &after, letter, &reply, &files, id)]).await?;
    message::insert_keys(tx, &keys).await?;
    let row = envelope::row(subjects, &after, id.uuid(), work.now(), &traceparent, email(reply, files))?;
    append(tx, &[row]).await?;
    Ok(id)
}

async fn compose(
    tx: &mut PgConnection,
    thread_key: &[u8],
    state: &Attention,
    letter: &Letter,
) -> Result<(Reply, Vec<StoredAttachment>), Error> {
    let account = state.account.as_str();
    let (address, display_name) = directory::sender(tx, account).await?.ok_or_else(|| {
        Error::rejected("ACCOUNT_UNKNOWN", "the account of this attention is not in the directory")
    })?;
    let campaign = directory::campaign(tx, state.campaign.as_str()).await?;
    let about = about(tx, state, letter).await?;
    let original = about.original.clone();
    let token = thread_token::make(thread_key, state.id.uuid());
    let reply = reply::compose(reply::Parts {
        account: StoredAddress { address, name: display_name },
        answered: about,
        mode: letter.mode,
        to: letter.to.clone(),
        cc: letter.cc.clone(),
        bcc: letter.bcc.clone(),
        subject: &letter.subject,
        text: &letter.text,
        html: &letter.html,
        quote: letter.quote,
        signature: campaign.as_ref().map_or("", |campaign| campaign.signature.as_str()),
        token: &token,
        unique: Uuid::now_v7(),
    });
    check_recipients(letter, &reply)?;
    let mut files =
        attach::resolve(tx, &letter.agent, state.id.uuid(), letter.interaction.uuid(), &letter.files).await?;
    for file in &mut files {
        file.inline = !file.content_id.is_empty() && reply.html.contains(&format!("cid:{}", file.content_id));
    }
    if letter.mode == Mode::Forward && letter.original_files {
        files.extend(original.files());
    }
    for shown in original.shown_in(&reply.html) {
        if !files.iter().any(|file| file.content_id == shown.content_id) {
            files.push(shown);
        }
    }
    check_files(&files)?;
    Ok((reply, files))
}

async fn about(tx: &mut PgConnection, state: &Attention, letter: &Letter) -> Result<Answered, Error> {
    let found = answered(tx, state.id, letter.interaction, letter.about).await?;
    match (found, letter.about) {
        (Some(found), _) if found.purged && (letter.quote || letter.mode == Mode::Forward) => {
            // Quoting nothing would look like the whole.
            Err(Error::rejected("BODY_IN_HISTORY", "the text of that mail is only in the history by now"))
        }
        (Some(found), _) if found.answerable || letter.mode == Mode::Forward => Ok(found),
        (None, Some(_)) => Err(Error::missing("MESSAGE_NOT_FOUND", "the attention has no such message")
            .field("message_id", "no message of this attention")),
        (Some(_), _) => Err(Error::rejected("NO_RECIPIENT", "a mail server's report is not answered")),
        (None, None) => Err(Error::rejected("NO_RECIPIENT", "there is no mail to answer")),
    }
}

fn check_recipients(letter: &Letter, reply: &Reply) -> Result<(), Error> {
    match (reply.recipients().count(), letter.mode) {
        (0, Mode::Forward) => {
            Err(Error::rejected("NO_RECIPIENT", "a forward needs a recipient").field("to", "required"))
        }
        (0, Mode::Reply | Mode::ReplyAll) => {
            Err(Error::rejected("NO_RECIPIENT", "the mail to answer has no author"))
        }
        (count, _) if count > MAX_RECIPIENTS => {
            Err(Error::invalid("TOO_MANY_RECIPIENTS", format!("at most {MAX_RECIPIENTS} recipients"))
                .field("cc", "too many"))
        }
        _ => Ok(()),
    }
}

fn check_files(files: &[StoredAttachment]) -> Result<(), Error> {
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

fn stored_message(
    work: &Work,
    after: &Attention,
    letter: &Letter,
    reply: &Reply,
    files: &[StoredAttachment],
    id: MessageId,
) -> NewMessage {
    NewMessage {
        message_id: id.uuid(),
        attention_id: after.id.uuid(),
        interaction_id: letter.interaction.uuid(),
        position: after.messages,
        direction: "outbound",
        from_address: reply.from.address.clone(),
        from_name: reply.from.name.clone(),
        to_addresses: reply.to.clone(),
        cc_addresses: reply.cc.clone(),
        bcc_addresses: reply.bcc.clone(),
        reply_to_addresses: Vec::new(),
        subject: reply.subject.clone(),
        text_body: reply.text.clone(),
        html_body: reply.html.clone(),
        attachments: files.to_vec(),
        occurred_at: work.now(),
        internet_message_id: reply.message_id.clone(),
        reference_ids: reply.references.clone(),
        agent_key: Some(letter.agent.to_string()),
        mail_class: "",
        sender_verified: true,
        delivery_state: Some(DeliveryState::Queued.word()),
        conversation_key: None,
        conversation_number: None,
    }
}

fn email(reply: Reply, files: Vec<StoredAttachment>) -> OutboundEmail {
    let list = |from: Vec<StoredAddress>| from.into_iter().map(EmailAddress::from).collect();
    OutboundEmail {
        message_id: reply.message_id,
        from: Some(reply.from.into()),
        to: list(reply.to),
        cc: list(reply.cc),
        bcc: list(reply.bcc),
        subject: reply.subject,
        text: reply.text,
        html: reply.html,
        attachments: files.into_iter().map(Attachment::from).collect(),
        in_reply_to: reply.in_reply_to,
        references: reply.references,
        reply_to: reply.reply_to,
        ..OutboundEmail::default()
    }
}
