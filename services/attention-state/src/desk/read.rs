//! Reading one attention: head, interactions, contact, messages, form and draft, each at one instant.

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::attention::v1::{
    Attention as ProtoAttention, GetAttentionRequest, GetAttentionResponse, ListMessagesRequest,
    ListMessagesResponse, OpenInteractionResponse,
};
use hilo_proto::history::v1::ThreadMessage;
use sqlx::PgConnection;
use uuid::Uuid;

use super::rights::{self, Right};
use super::{draft, drafts, items, place};
use crate::attention::commands::not_found;
use crate::attention::domain::{Attention, InteractionId};
use crate::attention::store::{LoadedAttention, LoadedInteraction, thread};
use crate::attention::{published, purge, store};
use crate::contact;
use crate::conversation::html;
use crate::directory::Access;

/// Messages that come with opening.
const OPENING_MESSAGES: i64 = 50;
/// Page size of messages when none is named.
const DEFAULT_PAGE: i32 = 50;
/// Largest page of messages.
const MAX_PAGE: i32 = 200;

/// An attention the caller may see.
///
/// # Errors
/// `INTERACTION_NOT_FOUND`; database errors.
pub(crate) async fn attention(
    db: &Db,
    access: Access,
    request: GetAttentionRequest,
) -> Result<GetAttentionResponse, Error> {
    let id = ids::parse(&request.attention_id, "attention_id")?;
    db.look(move |tx| {
        Box::pin(async move {
            let attention = visible(tx, &access, id).await?;
            Ok(GetAttentionResponse { attention: Some(attention) })
        })
    })
    .await
}

/// A page of messages, newest page first.
///
/// # Errors
/// `INTERACTION_NOT_FOUND`, `INVALID_PAGE_TOKEN`; database errors.
pub(crate) async fn messages(
    db: &Db,
    access: Access,
    request: ListMessagesRequest,
) -> Result<ListMessagesResponse, Error> {
    let id = ids::parse(&request.attention_id, "attention_id")?;
    let interaction = match request.interaction_id.as_str() {
        "" => None,
        text => Some(ids::parse(text, "interaction_id")?),
    };
    let before = before(&request.page_token)?;
    let remote = request.show_remote_images;
    let size = if request.page_size <= 0 { DEFAULT_PAGE } else { request.page_size.min(MAX_PAGE) };
    db.snapshot(move |tx| {
        Box::pin(async move {
            check(tx, &access, id).await?;
            let page = thread::page(tx, id, interaction, before, i64::from(size)).await?;
            // The ledger's order may put another message first than the one with the least position.
            let first = page.iter().map(|(position, _)| *position).min().unwrap_or(1);
            let earlier = !thread::page(tx, id, interaction, first, 1).await?.is_empty();
            let next_page_token = if earlier { first.to_string() } else { String::new() };
            Ok(ListMessagesResponse { messages: shown(page, remote), next_page_token })
        })
    })
    .await
}

/// As a desk may show them.
fn shown(page: Vec<(i64, ThreadMessage)>, remote: bool) -> Vec<ThreadMessage> {
    let safe = |(_, mut message): (i64, ThreadMessage)| {
        html::show(&mut message, remote);
        message
    };
    page.into_iter().map(safe).collect()
}

fn before(token: &str) -> Result<i64, Error> {
    if token.is_empty() {
        return Ok(i64::MAX);
    }
    token.parse().ok().filter(|position| *position > 0).ok_or_else(|| {
        Error::invalid("INVALID_PAGE_TOKEN", "the page token is not one of ours")
            .field("page_token", "malformed")
    })
}

/// All that a desk needs of an item it opened.
pub(super) async fn opened(
    db: &Db,
    access: Access,
    id: InteractionId,
) -> Result<OpenInteractionResponse, Error> {
    db.look(move |tx| {
        Box::pin(async move {
            let item = items::by_ids(tx, &[id.uuid()]).await?.into_iter().next().ok_or_else(not_found)?;
            rights::check(&access, Right::Serve, &item.campaign)?;
            let item = item.seen_by(&access.user_key);
            let attention_id = ids::parse(&item.attention_id, "attention_id")?;
            let loaded = store::attention(tx, attention_id).await?.ok_or_else(not_found)?;
            let interactions = store::interactions_of(tx, &[attention_id]).await?;
            let addressed = interactions.iter().map(|one| &one.interaction).find(|one| one.id == id);
            let state = Attention { interaction: addressed.cloned(), ..loaded.head.clone() };
            let messages = thread::opening(tx, attention_id, OPENING_MESSAGES).await?;
            // Whoever serves one of its interactions may see the attention.
            let attention = told(tx, loaded, &interactions).await?;
            let place =
                attention.places.iter().find(|one| one.interaction_id == item.interaction_id).cloned();
            Ok(OpenInteractionResponse {
                attention: Some(attention),
                place,
                item: Some(item),
                messages: shown(messages, false),
                form: drafts::definition(tx, &state).await?,
                form_state: drafts::form_state(tx, id.uuid()).await?,
                draft: draft::draft(tx, id.uuid()).await?,
            })
        })
    })
    .await
}

/// Checks that the caller may see an attention: one of its interactions is in a campaign of his.
pub(crate) async fn check(tx: &mut PgConnection, access: &Access, id: Uuid) -> Result<(), Error> {
    let campaigns = sqlx::query_scalar!(
        r#"SELECT campaign_key AS "campaign!" FROM attention.attention WHERE attention_id = $1
           UNION SELECT campaign_key FROM attention.interaction WHERE attention_id = $1"#,
        id
    )
    .fetch_all(tx)
    .await?;
    let seen = campaigns.iter().any(|campaign| rights::check(access, Right::See, campaign).is_ok());
    if seen { Ok(()) } else { Err(Error::missing("ATTENTION_NOT_FOUND", "there is no such attention")) }
}

async fn visible(tx: &mut PgConnection, access: &Access, id: Uuid) -> Result<ProtoAttention, Error> {
    check(tx, access, id).await?;
    let loaded = store::attention(tx, id).await?.ok_or_else(not_found)?;
    let interactions = store::interactions_of(tx, &[id]).await?;
    told(tx, loaded, &interactions).await
}

/// An attention in the words of the contract, from its head and all its interactions.
async fn told(
    tx: &mut PgConnection,
    loaded: LoadedAttention,
    interactions: &[LoadedInteraction],
) -> Result<ProtoAttention, Error> {
    let contact = contact::contact(tx, loaded.head.contact.uuid()).await?;
    let head = loaded.head;
    // Only what has ended is ever purged.
    let gone = if interactions.iter().any(|one| !one.interaction.is_live()) {
        purge::purged_of(tx, head.id.uuid()).await?
    } else {
        Vec::new()
    };
    Ok(ProtoAttention {
        attention_id: head.id.to_string(),
        number: head.number,
        state: published::attention_state(&head).into(),
        channel: head.channel.word().to_owned(),
        account_key: head.account.to_string(),
        sequence: head.sequence,
        linked_attention_id: head.linked.map(|id| id.to_string()).unwrap_or_default(),
        interactions: interactions.iter().map(|one| published::snapshot(&one.interaction)).collect(),
        subject: loaded.subject,
        contact,
        flooded: loaded.flooded,
        tags: head.tags.iter().map(ToString::to_string).collect(),
        places: place::places(interactions, &gone),
        window_ends_at: head.window_ends_at.map(hilo_kit::clock::to_proto),
        interaction_ids_in_history: gone.iter().map(Uuid::to_string).collect(),
    })
}
