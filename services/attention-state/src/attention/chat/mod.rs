//! `SendMessage` by WhatsApp: what an agent wrote becomes a message, a row of OUTBOUND and an event, in one transaction; what is no
//! template only while the 24-hour window is open.
//!
//! [`compose`] makes items of what was written, [`media`] knows what files Meta takes, [`outgoing`] commits one, [`again`]
//! sends one a second time, [`start`] begins with one, [`window`] goes on with a window that is open;
//! [`react`] and [`mark_read`] send what is no message.

mod again;
mod aside;
pub(crate) mod compose;
pub(crate) mod media;
pub(crate) mod outgoing;
pub(crate) mod start;
pub(crate) mod window;

use hilo_kit::error::Error;
use hilo_kit::telemetry;
use hilo_proto::inbound::v1::{MediaKind, WhatsAppContactCards, WhatsAppIdentity, WhatsAppLocation};
use hilo_proto::outbound::v1::SendTemplate;
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use self::again::again;
pub(crate) use self::aside::{Reaction, mark_read, react};
use self::compose::Composed;
use self::outgoing::Outgoing;
use super::domain::{
    Attention, AttentionId, Command, ContactId, Decision, InteractionId, MessageId, Rejection, UserKey,
};
use super::envelope::Post;
use super::store::message::{StoredAddress, StoredAttachment};
use super::store::{LastMessage, chat, reached};
use super::work::{Actor, Work};
use crate::contact::whatsapp;
use crate::conversation::attach::{self, Wanted};
use crate::directory;
use crate::templates;

/// Longest text (<https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/text-messages>).
pub(crate) const MAX_TEXT: usize = 4_096;

/// What an agent wrote.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub interaction: InteractionId,
    pub agent: UserKey,
    pub written: Written,
    /// At most one.
    pub files: Vec<Wanted>,
    /// The message it replies to.
    pub reply_to: Option<Uuid>,
}

/// What kind of item, and what of it is not a file.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// A text.
    Text {
        /// 1 to [`MAX_TEXT`] characters.
        body: String,
        /// Shows a preview of the first link.
        preview_url: bool,
    },
    /// An approved template; a file is that of its header.
    Template(SendTemplate),
    /// A file.
    Media {
        /// How it is sent.
        kind: MediaKind,
        /// Words below it.
        caption: String,
    },
    /// A place.
    Location(WhatsAppLocation),
    /// Contact cards.
    ContactCards(WhatsAppContactCards),
}

/// Commits the message on a locked interaction; answers its id.
///
/// # Errors
/// The rejection (`NOT_YOURS`, `WINDOW_CLOSED` with the templates that may be sent instead, ...), `NO_RECIPIENT`, `MESSAGE_NOT_FOUND`,
/// `MESSAGE_NOT_NAMED_YET`, `ACCOUNT_UNKNOWN`, those of [`composed`]; database errors.
pub(crate) async fn send(
    tx: &mut PgConnection,
    post: &Post,
    work: &mut Work,
    before: &Attention,
    said: &Said,
) -> Result<MessageId, Error> {
    let id = MessageId::new();
    let stored = work.traceparent(said.interaction).to_owned();
    let span = telemetry::span_with_parent(Some(&stored), tracing::info_span!("attention.send"));
    let traceparent = span.in_scope(telemetry::current_traceparent).unwrap_or(stored);
    let after = decided(tx, work, before, said, id).await?;
    let files = attach::send(tx, &said.agent, after.id.uuid(), said.interaction.uuid(), &said.files).await?;
    let composed = composed(tx, after.account.as_str(), &said.written, files).await?;
    let to = recipient(tx, &after).await?;
    let reply_to = replied_to(tx, after.id, said.reply_to).await?;
    let from = sender(tx, after.account.as_str()).await?;
    work.show(
        said.interaction,
        LastMessage { preview: composed.preview(), at: work.now(), sender_verified: None },
    );
    work.write(tx, &post.subjects).await?;
    let agent = Some(said.agent.clone());
    let outgoing = Outgoing { id, interaction: said.interaction, agent, from, to, composed, reply_to };
    outgoing::commit(tx, post, work, &after, &traceparent, &outgoing).await?;
    Ok(id)
}

/// A machine of ours answers with a text, within the window, which the caller has looked at.
///
/// # Errors
/// The rejection (`ALREADY_ENDED`, `TOO_MANY_MESSAGES`), `NO_RECIPIENT`, `ACCOUNT_UNKNOWN`; database errors.
pub(crate) async fn answer_automatically(
    tx: &mut PgConnection,
    post: &Post,
    work: &mut Work,
    state: &Attention,
    interaction: InteractionId,
    text: &str,
) -> Result<(), Error> {
    let id = MessageId::new();
    let (to, from) = (recipient(tx, state).await?, sender(tx, state.account.as_str()).await?);
    let message = Outgoing::summary(id, 0, work.now());
    let decision = work.decide(interaction, Command::AnswerAutomatically { message }, &Actor::System)?;
    let after = decision.state.ok_or_else(super::commands::not_found)?;
    let traceparent = work.traceparent(interaction).to_owned();
    work.write(tx, &post.subjects).await?;
    let body: String = text.chars().take(MAX_TEXT).collect();
    let composed = compose::text(&body, false);
    let outgoing = Outgoing { id, interaction, agent: None, from, to, composed, reply_to: None };
    outgoing::commit(tx, post, work, &after, &traceparent, &outgoing).await
}

/// The attention after the send, when the domain allows it.
async fn decided(
    tx: &mut PgConnection,
    work: &mut Work,
    before: &Attention,
    said: &Said,
    id: MessageId,
) -> Result<Attention, Error> {
    let message = Outgoing::summary(id, said.files.len(), work.now());
    let template = matches!(said.written, Written::Template(_));
    let command = Command::SendMessage { agent: said.agent.clone(), message, template };
    let decided = work.decide(said.interaction, command, &Actor::User(said.agent.clone()));
    allowed(tx, before, decided).await
}

/// The attention after what the domain allowed, or the refusal; `WINDOW_CLOSED` with the templates that may be sent instead.
async fn allowed(
    tx: &mut PgConnection,
    before: &Attention,
    decided: Result<Decision, Rejection>,
) -> Result<Attention, Error> {
    match decided {
        Ok(decision) => decision.state.ok_or_else(super::commands::not_found),
        Err(Rejection::WindowClosed) => {
            Err(templates::usable(tx, before.account.as_str(), Rejection::WindowClosed.into()).await?)
        }
        Err(rejection) => Err(rejection.into()),
    }
}

/// The item that was written, with its file, when Meta takes it.
///
/// # Errors
/// `TEMPLATE_NOT_APPROVED`, `TEMPLATE_VARIABLES`, `MEDIA_TOO_LARGE`, `MEDIA_TYPE_REFUSED`; database errors.
pub(crate) async fn composed(
    tx: &mut PgConnection,
    account: &str,
    written: &Written,
    files: Vec<StoredAttachment>,
) -> Result<Composed, Error> {
    const FILE: &str = "attachments[0]";
    let file = files.into_iter().next();
    match written {
        Written::Text { body, preview_url } => Ok(compose::text(body, *preview_url)),
        Written::Location(place) => Ok(compose::location(place)),
        Written::ContactCards(cards) => Ok(compose::contact_cards(cards)),
        Written::Media { kind, caption } => {
            let needed = || Error::invalid("INVALID_REQUEST", "the file is missing");
            let file = file.ok_or_else(|| needed().field("attachments", "exactly one file"))?;
            media::check(*kind, &file, FILE)?;
            Ok(compose::media(*kind, caption, file))
        }
        Written::Template(sent) => {
            let template = templates::approved(tx, account, &sent.name, &sent.language).await?;
            templates::check(&template, sent, "whatsapp.template")?;
            let misfit = |why: &str| {
                Error::invalid("TEMPLATE_VARIABLES", "the values do not fit the template")
                    .field("attachments", why)
            };
            match (templates::header_media(&template), &file) {
                (Some(kind), Some(file)) => media::check(kind, file, FILE)?,
                (Some(_), None) => return Err(misfit("the header of the template needs a file")),
                (None, Some(_)) => return Err(misfit("the template has no file")),
                (None, None) => {}
            }
            Ok(compose::template(&template, sent, file))
        }
    }
}

/// Whom to, by the newest that came from him; while he has not written, whoever was written to before, as long as that is his, whatever
/// else his contact has. Names are not needed for sending. A number that has passed to somebody else since is not his any more, nor is one
/// of another contact's that Meta did not name: then only his user id is.
async fn recipient(tx: &mut PgConnection, attention: &Attention) -> Result<WhatsAppIdentity, Error> {
    let unknown = || Error::rejected("NO_RECIPIENT", "the customer of this attention is not known");
    let Some(mut customer) = chat::customer(tx, attention.id).await? else {
        let before = chat::written_to(tx, attention.id).await?;
        return match still_his(tx, attention.contact, before).await? {
            Some(to) => Ok(to),
            None => whatsapp::reached_by(tx, attention.contact).await?.ok_or_else(unknown),
        };
    };
    let mut his = reached::contacts(tx, attention.id, &customer.wa_id).await?;
    his.push(attention.contact.uuid());
    if !whatsapp::is_of(tx, &his, &customer.wa_id).await? {
        customer.wa_id.clear();
        customer.phone.clear();
    }
    if customer.wa_id.is_empty() && customer.user_id.is_empty() {
        return Err(Error::rejected("NO_RECIPIENT", "the customer's number belongs to somebody else now"));
    }
    Ok(WhatsAppIdentity { username: String::new(), profile_name: String::new(), ..customer })
}

/// Whom we wrote to before, when what he is reached at is still the contact's.
async fn still_his(
    tx: &mut PgConnection,
    contact: ContactId,
    to: Option<WhatsAppIdentity>,
) -> Result<Option<WhatsAppIdentity>, Error> {
    let Some(to) = to else { return Ok(None) };
    let his = whatsapp::is_of(tx, &[contact.uuid()], outgoing::reached_at(&to)).await?;
    Ok(his.then_some(to))
}

/// The number that an account sends from, as customers see it, and the account's name.
///
/// # Errors
/// `ACCOUNT_UNKNOWN`; database errors.
pub(crate) async fn sender(tx: &mut PgConnection, account: &str) -> Result<StoredAddress, Error> {
    let unknown =
        || Error::rejected("ACCOUNT_UNKNOWN", "the account of this attention is not in the directory");
    let (address, name) = directory::whatsapp_sender(tx, account).await?.ok_or_else(unknown)?;
    Ok(StoredAddress { address, name })
}

async fn replied_to(
    tx: &mut PgConnection,
    attention: AttentionId,
    message: Option<Uuid>,
) -> Result<Option<(Uuid, String)>, Error> {
    let Some(message) = message else { return Ok(None) };
    match chat::wamid_of(tx, attention, message).await? {
        Some(wamid) if !wamid.is_empty() => Ok(Some((message, wamid))),
        Some(_) => Err(Error::rejected(
            "MESSAGE_NOT_NAMED_YET",
            "the message to reply to has not been sent yet, so nobody can refer to it",
        )),
        None => Err(Error::missing("MESSAGE_NOT_FOUND", "the attention has no such message")
            .field("message_id", "no message of this attention")),
    }
}
