//! `SendMessage`: what an agent wrote becomes a message, a Message-ID with the keyed token, a row of OUTBOUND and an event,
//! in one transaction.

use hilo_kit::error::Error;
use hilo_kit::{telemetry, thread_token};
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::{Attention, Command, InteractionId, MessageId, UserKey};
use super::envelope::Post;
use super::outgoing::{self, Outgoing};
use super::reply::{self, Mode, Reply};
use super::store::LastMessage;
use super::store::answered::{Answered, answered};
use super::store::message::{StoredAddress, StoredAttachment};
use super::work::{Actor, Work};
use crate::conversation::attach::{self, Wanted};
use crate::directory;
use crate::intake::preview;

/// Most recipients of one mail.
const MAX_RECIPIENTS: usize = 100;

/// What an agent wrote.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub interaction: InteractionId,
    pub agent: UserKey,
    pub mode: Mode,
    /// The message it is about; `None` is the newest mail of the customer, or of ours while he has not written.
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
/// `TOO_MANY_ATTACHMENTS`, `MESSAGE_TOO_LARGE`, `ACCOUNT_UNKNOWN`, `OBJECT_STORE_UNAVAILABLE`; database errors.
pub(crate) async fn send(
    tx: &mut PgConnection,
    post: &Post,
    work: &mut Work,
    before: &Attention,
    letter: &Letter,
) -> Result<MessageId, Error> {
    let id = MessageId::new();
    let written = compose(tx, &post.thread_key, before, letter).await;
    // Whoever may not send learns that first.
    let files = written.as_ref().map_or(0, |(_, files)| files.len());
    let message = Outgoing::summary(id, files, work);
    let stored = work.traceparent(letter.interaction).to_owned();
    let span = telemetry::span_with_parent(Some(&stored), tracing::info_span!("attention.send"));
    let traceparent = span.in_scope(telemetry::current_traceparent).unwrap_or(stored);
    let command = Command::SendMessage { agent: letter.agent.clone(), message, template: false };
    let decision = work.decide(letter.interaction, command, &Actor::User(letter.agent.clone()))?;
    let after = decision.state.ok_or_else(super::commands::not_found)?;
    let (reply, files) = written?;
    work.admit(after.id, reply.recipients().map(|one| crate::intake::normal(&one.address)));
    work.show(
        letter.interaction,
        LastMessage { preview: preview(&reply.text), at: work.now(), sender_verified: None },
    );
    work.write(tx, &post.subjects).await?;
    let outgoing = Outgoing {
        id,
        interaction: letter.interaction,
        agent: Some(letter.agent.clone()),
        mail: reply,
        files,
    };
    outgoing::commit(tx, post, work, &after, &traceparent, outgoing).await?;
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
        attach::send(tx, &letter.agent, state.id.uuid(), letter.interaction.uuid(), &letter.files).await?;
    outgoing::place(&mut files, &reply.html);
    if letter.mode == Mode::Forward && letter.original_files {
        files.extend(original.files());
    }
    for shown in original.shown_in(&reply.html) {
        if !files.iter().any(|file| file.content_id == shown.content_id) {
            files.push(shown);
        }
    }
    outgoing::check_files(&files)?;
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
