//! The draft of a reply: text, recipients, files. Saved against a base version, so that two windows of one agent cannot
//! overwrite each other silently.

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_proto::attention::v1::{Draft, DraftContent, SaveDraftRequest, SaveDraftResponse};
use hilo_proto::inbound::v1::EmailAddress;
use prost::Message as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::act::{held, id_of};
use super::compose::{MAX_HTML, MAX_SUBJECT};
use super::drafts::opened_by;
use crate::attention::domain::{InteractionId, UserKey};
use crate::conversation::{attach, html, upload_store};
use crate::directory::Access;

/// Longest draft in characters: that of a message.
const MAX_DRAFT: usize = 200_000;
/// Most recipients, half-typed ones among them.
const MAX_RECIPIENTS: usize = 100;
/// Longest address or name in a draft, in characters.
const MAX_ADDRESS: usize = 320;
/// Largest draft that is sent back with a refusal: details travel in headers, which clients bound (8 KiB in some).
const MAX_DETAIL: usize = 3_000;
/// Largest HTML that is handed out, in bytes: cleaning writes `>` as `&gt;`, and a draft travels with messages in one answer.
const MAX_SHOWN: usize = 2 * MAX_HTML;

/// Saves the draft of an item the caller has open.
///
/// # Errors
/// `DRAFT_CHANGED` when another version is stored, with that draft in the details unless it is long (then only its version,
/// and opening the item again brings it), `ATTACHMENT_NOT_FOUND`, `NOT_YOURS`, `NOT_OPEN`, `INVALID_REQUEST`; database errors.
pub(crate) async fn save_draft(
    db: &Db,
    access: Access,
    request: SaveDraftRequest,
) -> Result<SaveDraftResponse, Error> {
    let id = id_of(&request.interaction_id)?;
    check(&request)?;
    let outcome = db
        .transaction(move |tx| {
            let (access, request) = (access.clone(), request.clone());
            Box::pin(async move {
                // The attention's lock keeps a draft from being saved into an item that is ending.
                let (_, state) = held(tx, &access, id).await?;
                opened_by(&state, &access.user_key)?;
                let content = request.content.unwrap_or_default();
                keep_files(tx, &access, state.id.uuid(), id, &content).await?;
                match write(tx, id.uuid(), request.base_version, &request.text, &content).await? {
                    Some(version) => {
                        let content = Some(handed_out(content));
                        let draft = Draft { version, text: request.text, content };
                        Ok(Ok(SaveDraftResponse { draft: Some(draft) }))
                    }
                    None => Ok(Err(draft(tx, id.uuid()).await?)),
                }
            })
        })
        .await?;
    outcome.map_err(changed)
}

fn changed(current: Option<Draft>) -> Error {
    let error = Error::rejected("DRAFT_CHANGED", "the draft was saved elsewhere meanwhile");
    let Some(current) = current else { return error.metadata("current_version", "0") };
    let error = error.metadata("current_version", current.version.to_string());
    if current.encoded_len() > MAX_DETAIL {
        return error;
    }
    error.detail("hilo.attention.v1.Draft", current.encode_to_vec())
}

fn check(request: &SaveDraftRequest) -> Result<(), Error> {
    let mut bad = Error::invalid("INVALID_REQUEST", "the draft is malformed");
    if request.text.chars().count() > MAX_DRAFT || request.text.contains('\0') {
        bad = bad.field("text", format!("at most {MAX_DRAFT} characters, no NUL"));
    }
    let Some(content) = &request.content else {
        return if bad.violations().is_empty() { Ok(()) } else { Err(bad) };
    };
    if content.html.len() > MAX_HTML {
        bad = bad.field("content.html", format!("at most {MAX_HTML} bytes"));
    }
    if content.subject.chars().count() > MAX_SUBJECT {
        bad = bad.field("content.subject", format!("at most {MAX_SUBJECT} characters"));
    }
    let lists = [("to", &content.to), ("cc", &content.cc), ("bcc", &content.bcc)];
    if lists.iter().map(|(_, list)| list.len()).sum::<usize>() > MAX_RECIPIENTS {
        bad = bad.field("content.to", format!("at most {MAX_RECIPIENTS} recipients"));
    }
    let long = |one: &EmailAddress| one.address.chars().count().max(one.name.chars().count()) > MAX_ADDRESS;
    for (name, list) in lists {
        if list.iter().any(long) {
            bad = bad.field(format!("content.{name}"), format!("at most {MAX_ADDRESS} characters each"));
        }
    }
    if !bad.violations().is_empty() {
        return Err(bad);
    }
    if !content.message_id.is_empty() {
        hilo_kit::ids::parse(&content.message_id, "content.message_id")?;
    }
    attach::wanted(&content.attachments, "content.attachments").map(drop)
}

/// Checks that the files are there, and lets uploads live on.
async fn keep_files(
    tx: &mut PgConnection,
    access: &Access,
    attention: Uuid,
    interaction: InteractionId,
    content: &DraftContent,
) -> Result<(), Error> {
    let wanted = attach::wanted(&content.attachments, "content.attachments")?;
    if wanted.is_empty() {
        return Ok(());
    }
    let agent = UserKey::new(&access.user_key);
    attach::resolve(tx, &agent, attention, interaction.uuid(), &wanted).await?;
    let uploads: Vec<Uuid> = attach::uploads(&wanted).collect();
    upload_store::keep(tx, &uploads).await
}

/// `None` when another version is stored.
async fn write(
    tx: &mut PgConnection,
    id: Uuid,
    base: i64,
    text: &str,
    content: &DraftContent,
) -> Result<Option<i64>, Error> {
    let content = content.encode_to_vec();
    let saved = if base == 0 {
        sqlx::query_scalar!(
            "INSERT INTO attention.draft (interaction_id, version, body, content) VALUES ($1, 1, $2, $3)
             ON CONFLICT DO NOTHING RETURNING version",
            id,
            text,
            content
        )
        .fetch_optional(tx)
        .await?
    } else {
        sqlx::query_scalar!(
            "UPDATE attention.draft SET version = version + 1, body = $3, content = $4, saved_at = now()
             WHERE interaction_id = $1 AND version = $2 RETURNING version",
            id,
            base,
            text,
            content
        )
        .fetch_optional(tx)
        .await?
    };
    Ok(saved)
}

/// The draft saved so far, fit for the desk of whoever has the item now: another may have written it.
pub(super) async fn draft(tx: &mut PgConnection, id: Uuid) -> Result<Option<Draft>, Error> {
    let row =
        sqlx::query!("SELECT version, body, content FROM attention.draft WHERE interaction_id = $1", id)
            .fetch_optional(tx)
            .await?;
    let Some(row) = row else { return Ok(None) };
    let content = handed_out(DraftContent::decode(row.content.as_slice())?);
    Ok(Some(Draft { version: row.version, text: row.body, content: Some(content) }))
}

/// Sanitised as it would be when it is sent: what is shown is what would leave, images from elsewhere among it (without them
/// the next save would lose them). HTML that costs too much to clean could not be sent; neither it nor what grows beyond
/// [`MAX_SHOWN`] is handed out.
fn handed_out(content: DraftContent) -> DraftContent {
    if content.html.is_empty() {
        return content;
    }
    let html = html::outgoing(&content.html).filter(|html| html.len() <= MAX_SHOWN);
    DraftContent { html: html.unwrap_or_default(), ..content }
}

/// What the draft holds beside its text; empty without a draft.
pub(crate) async fn content(tx: &mut PgConnection, id: Uuid) -> Result<DraftContent, Error> {
    Ok(draft(tx, id).await?.and_then(|draft| draft.content).unwrap_or_default())
}

/// Empties the draft that became a message; one that was saved after it stays. Its version goes on, so that a window that knows an
/// earlier one overwrites nothing.
pub(super) async fn sent(tx: &mut PgConnection, id: InteractionId, version: i64) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE attention.draft SET version = version + 1, body = '', content = '', saved_at = now()
         WHERE interaction_id = $1 AND version = $2",
        id.uuid(),
        version
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Drops the draft of an item that ended.
pub(super) async fn forget(tx: &mut PgConnection, id: InteractionId) -> Result<(), Error> {
    sqlx::query!("DELETE FROM attention.draft WHERE interaction_id = $1", id.uuid()).execute(tx).await?;
    Ok(())
}
