//! `RetryMessage` by WhatsApp: what failed, or may have been sent, goes out once more under a new send, because a person wants it. What
//! he sees is still one message.

use hilo_kit::error::Error;
use hilo_kit::outbox::append;
use hilo_proto::history::v1::WhatsAppItem;
use hilo_proto::history::v1::whats_app_item::Detail;
use sqlx::PgConnection;
use uuid::Uuid;

use super::compose::{self, Composed};
use super::outgoing::{self, Outgoing};
use super::{allowed, recipient, sender};
use crate::attention::domain::{
    Attention, Command, DeliveryState, MessageId, MessageKind, MessageSummary, UserKey,
};
use crate::attention::envelope::Post;
use crate::attention::retry;
use crate::attention::store::message::{self, Key, KeyRow};
use crate::attention::store::{chat, delivery};
use crate::attention::work::{Actor, Work};
use crate::templates;

/// Sends a message of a locked interaction again.
///
/// # Errors
/// `MESSAGE_NOT_FOUND`, `NOTHING_TO_RETRY` for what is on its way or has arrived, `ALREADY_ENDED`, `NOT_YOURS`, `WINDOW_CLOSED` with the
/// templates that may be sent instead, `TEMPLATE_NOT_APPROVED`, `NO_RECIPIENT`; database errors.
pub(crate) async fn again(
    tx: &mut PgConnection,
    post: &Post,
    work: &mut Work,
    before: &Attention,
    agent: &UserKey,
    message: Uuid,
) -> Result<(), Error> {
    let missing = || Error::missing("MESSAGE_NOT_FOUND", "there is no such message of ours");
    // The purge may have held the lock that the caller waited for.
    retry::interaction_of(tx, message).await?.ok_or_else(missing)?;
    let known = delivery::sends(tx, &[message]).await?.pop().ok_or_else(missing)?;
    let stored = chat::items(tx, &[message]).await?.pop().ok_or_else(missing)?;
    let (reply_to, composed) = (replied_to(&stored.item), rebuilt(stored).ok_or_else(missing)?);
    let summary = MessageSummary {
        id: MessageId(message),
        occurred_at: known.occurred_at,
        attachments: known.attachments,
        kind: MessageKind::Outbound { delivery: known.state },
    };
    let recipients = match known.state {
        DeliveryState::Failed | DeliveryState::Unknown => 1,
        DeliveryState::Queued
        | DeliveryState::Sent
        | DeliveryState::Delivered
        | DeliveryState::Read
        | DeliveryState::Played => 0,
    };
    let template = composed.is_template();
    let command = Command::RetryMessage { agent: agent.clone(), message: summary, recipients, template };
    let decided = work.decide(known.interaction, command, &Actor::User(agent.clone()));
    let after = allowed(tx, before, decided).await?;
    if let Some(Detail::Template(sent)) = &composed.item.detail {
        templates::approved(tx, after.account.as_str(), &sent.name, &sent.language).await?;
    }
    let to = recipient(tx, &after).await?;
    let from = sender(tx, after.account.as_str()).await?;
    let traceparent = work.traceparent(known.interaction).to_owned();
    work.write(tx, &post.subjects).await?;
    let send = Uuid::now_v7();
    retry::note(tx, &known, &[], send).await?;
    let id = MessageId(message);
    let key =
        KeyRow { key: Key::Send(send), message: id, interaction: known.interaction, attention: after.id };
    message::insert_keys(tx, &[key]).await?;
    let agent = Some(agent.clone());
    let outgoing = Outgoing { id, interaction: known.interaction, agent, from, to, composed, reply_to };
    let outbound = outgoing.outbound(&after);
    append(tx, &[outgoing::row(post, &after, send, work.now(), &traceparent, outbound).await?]).await
}

/// What it replied to.
fn replied_to(item: &WhatsAppItem) -> Option<(Uuid, String)> {
    let wamid =
        item.context.as_ref().map(|context| context.wamid.clone()).filter(|wamid| !wamid.is_empty())?;
    Some((Uuid::try_parse(&item.reply_to_message_id).ok()?, wamid))
}

/// The item as it was composed; `None` for what an agent cannot have written.
fn rebuilt(stored: chat::StoredItem) -> Option<Composed> {
    let chat::StoredItem { text, mut files, item, .. } = stored;
    match item.detail {
        None if item.kind == "text" => Some(compose::text(&text, item.preview_url)),
        Some(Detail::Media(media)) => Some(compose::media(media.kind(), &media.caption, files.pop()?)),
        Some(Detail::Location(place)) => Some(compose::location(&place)),
        Some(Detail::ContactCards(cards)) => Some(compose::contact_cards(&cards)),
        Some(Detail::Template(sent)) => Some(compose::sent_template(text, sent, files)),
        Some(Detail::Choice(_) | Detail::Order(_) | Detail::System(_) | Detail::Placeholder(_)) | None => {
            None
        }
    }
}
