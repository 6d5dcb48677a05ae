//! What goes to a customer beside messages: a reaction of ours to a message of his, and that we have read what he wrote. Neither is a
//! message of the thread; their sends have an order of their own, so that a text never waits for them.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_kit::outbox::append;
use hilo_proto::history::v1::WhatsAppReactionMark;
use hilo_proto::inbound::v1::WhatsAppReaction;
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_proto::outbound::v1::{OutboundWhatsApp, SendReadMark};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{allowed, outgoing, recipient};
use crate::attention::commands::not_found;
use crate::attention::domain::{
    Attention, AttentionId, Channel, Command, DeliveryState, InteractionId, MessageId, Rejection, Stage,
    UserKey,
};
use crate::attention::envelope::Post;
use crate::attention::store::{aside, chat};
use crate::attention::work::{Actor, Work};

/// An agent's reaction to a message of the customer.
#[derive(Clone, Debug)]
pub(crate) struct Reaction {
    pub interaction: InteractionId,
    pub agent: UserKey,
    /// The customer's message.
    pub target: Uuid,
    /// Empty takes the earlier one away.
    pub emoji: String,
}

/// Puts the reaction on the message and hands it to the channel; answers the id of the message.
///
/// # Errors
/// `MESSAGE_NOT_FOUND` for what is no message of the customer's in this attention, `NOT_YOURS`, `NOT_OPEN`, `WINDOW_CLOSED` with the
/// templates that may be sent, `NO_RECIPIENT`; database errors.
pub(crate) async fn react(
    tx: &mut PgConnection,
    post: &Post,
    work: &mut Work,
    before: &Attention,
    reaction: &Reaction,
) -> Result<MessageId, Error> {
    let missing = || {
        Error::missing("MESSAGE_NOT_FOUND", "the attention has no such message of the customer")
            .field("message_id", "no message of the customer in this attention")
    };
    let wamid = chat::wamid_of(tx, before.id, reaction.target).await?.filter(|wamid| !wamid.is_empty());
    let wamid = wamid.ok_or_else(missing)?;
    let mut target =
        chat::items(tx, &[reaction.target]).await?.pop().filter(|one| one.inbound && !one.purged);
    let target = target.as_mut().ok_or_else(missing)?;
    let command = Command::React { agent: reaction.agent.clone(), message: target.summary() };
    let decided = work.decide(reaction.interaction, command, &Actor::User(reaction.agent.clone()));
    let after = allowed(tx, before, decided).await?;
    let kind = Kind::Reaction(WhatsAppReaction { target_wamid: wamid, emoji: reaction.emoji.clone() });
    let order =
        hand_over(tx, post, work, &after, Aside { message: reaction.target, read_mark: None }, kind).await?;
    target.item.own_reaction = Some(WhatsAppReactionMark {
        emoji: reaction.emoji.clone(),
        at: Some(to_proto(work.now())),
        order,
        delivery_state: DeliveryState::Queued.word().to_owned(),
    });
    work.write(tx, &post.subjects).await?;
    chat::write_items(tx, std::slice::from_ref(target)).await?;
    Ok(MessageId(reaction.target))
}

/// Tells the customer that his newest message, and all before it, was read; with `typing` also that an answer is being written. What
/// was told already is not told again, typing at most every ten seconds.
///
/// # Errors
/// `OTHER_CHANNEL`, `NOT_YOURS`, `NOT_OPEN`, `ALREADY_ENDED`, `WINDOW_CLOSED`, `NO_RECIPIENT`; database errors.
pub(crate) async fn mark_read(
    tx: &mut PgConnection,
    post: &Post,
    work: &Work,
    state: &Attention,
    agent: &UserKey,
    typing: bool,
) -> Result<(), Error> {
    let interaction = state.interaction.as_ref().ok_or_else(not_found)?;
    match (state.channel, &interaction.stage) {
        (Channel::Email, _) => {
            return Err(Error::rejected("OTHER_CHANNEL", "mails are not marked as read"));
        }
        (Channel::Whatsapp, Stage::Open { agent: holder, .. }) if holder == agent => {}
        (Channel::Whatsapp, Stage::Open { .. }) => return Err(Rejection::NotYours.into()),
        (Channel::Whatsapp, Stage::Queued { .. }) => return Err(Rejection::NotOpen.into()),
        (Channel::Whatsapp, Stage::Ended { .. }) => return Err(Rejection::AlreadyEnded.into()),
    }
    let Some((message, wamid)) = aside::newest_of_customer(tx, interaction.id).await? else { return Ok(()) };
    if aside::is_marked(tx, message, typing).await? {
        return Ok(());
    }
    if state.window_ends_at.is_none_or(|end| work.now() >= end) {
        return Err(Rejection::WindowClosed.into());
    }
    let kind = Kind::ReadMark(SendReadMark { wamid, typing });
    hand_over(tx, post, work, state, Aside { message, read_mark: Some(typing) }, kind).await.map(drop)
}

/// What is noted of one.
struct Aside {
    message: Uuid,
    /// Of a read mark: whether it shows that an answer is being written.
    read_mark: Option<bool>,
}

/// Its row of OUTBOUND, and what finds it when it is reported on; answers its place in the attention's order of asides.
async fn hand_over(
    tx: &mut PgConnection,
    post: &Post,
    work: &Work,
    attention: &Attention,
    aside: Aside,
    kind: Kind,
) -> Result<i64, Error> {
    let (send, to) = (Uuid::now_v7(), recipient(tx, attention).await?);
    let number = aside::note(tx, attention.id, send, aside.message, aside.read_mark).await?;
    let outbound = OutboundWhatsApp {
        to: Some(to),
        window_ends_at: attention.window_ends_at.map(to_proto),
        kind: Some(kind),
        ..OutboundWhatsApp::default()
    };
    let order = Attention { id: order(attention.id), sends: number, ..attention.clone() };
    let stored = attention.interaction.as_ref().map(|one| work.traceparent(one.id)).unwrap_or_default();
    append(tx, &[outgoing::row(post, &order, send, work.now(), stored, outbound).await?]).await?;
    Ok(number)
}

/// The key under which the asides of an attention are in order.
fn order(attention: AttentionId) -> AttentionId {
    AttentionId(ids::derived("hilo.aside", [attention.uuid().as_bytes().as_slice()]))
}
