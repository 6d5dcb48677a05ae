//! Brings the bodies and the form of a purged interaction back from history, so that it can be opened again.

use std::collections::BTreeMap;
use std::time::Duration;

use hilo_kit::db::Db;
use hilo_kit::error::{Class, Error};
use hilo_kit::grpc::{self, InternalChannel};
use hilo_kit::{fault, ids};
use hilo_proto::history::v1::{FilledForm, ThreadMessage, ThreadNote};
use hilo_proto::internal::v1::stored_thread_service_client::StoredThreadServiceClient;
use hilo_proto::internal::v1::{GetStoredThreadRequest, GetStoredThreadResponse};
use prost::Message as _;
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::commands::not_found;
use super::domain::InteractionId;
use super::store::message::StoredAttachment;
use super::store::{self, Wait};
use crate::intake::preview;

/// One page of at most 3 MiB.
const PAGE_DEADLINE: Duration = Duration::from_secs(5);
/// How long the purge keeps its hands off what is fetched back, counted from the start and again from the end of fetching; whoever
/// asked for it reopens it meanwhile. Without it an installation whose grace time is short would take away what has just come.
const KEPT_SECONDS: f64 = 120.0;
/// A thread has at most 5,000 messages, and every page at least one.
const MAX_PAGES: usize = 5_001;

/// The history service, as far as this one asks it.
#[derive(Clone, Debug)]
pub struct Archive {
    client: StoredThreadServiceClient<InternalChannel>,
}

impl Archive {
    /// Asks over `channel`.
    pub fn new(channel: InternalChannel) -> Self {
        Self { client: StoredThreadServiceClient::new(channel) }
    }

    async fn page(&self, id: InteractionId, page_token: String) -> Result<GetStoredThreadResponse, Error> {
        let request = GetStoredThreadRequest { interaction_id: id.to_string(), page_token };
        let answer = self.client.clone().get_stored_thread(grpc::with_deadline(request, PAGE_DEADLINE)).await;
        answer.map(tonic::Response::into_inner).map_err(Error::from).map_err(unavailable)
    }
}

/// Whatever history answers, the caller may try again later: nothing here is his fault.
fn unavailable(error: Error) -> Error {
    let text = match error.class() {
        Class::Missing => "the history does not hold this thread",
        Class::Invalid
        | Class::Rejected
        | Class::Duplicate
        | Class::Conflict
        | Class::Denied
        | Class::Exhausted
        | Class::Unavailable
        | Class::Corrupt
        | Class::Internal => "the history could not be asked",
    };
    Error::unavailable("BODIES_UNAVAILABLE", text).with_source(error)
}

/// Brings everything back that the purge took from an ended interaction; harmless when nothing is missing, and when it is
/// called again after it broke off. The grace time of the purge begins anew, two minutes from now. Whoever goes on with it asks
/// [`is_whole`] under the attention's lock.
///
/// # Errors
/// `INTERACTION_NOT_FOUND`; `BODIES_UNAVAILABLE` (class unavailable) when history does not answer or lacks the thread;
/// `BODIES_INCOMPLETE` (corrupt) when it lacks a message; database errors.
pub async fn load_bodies_from_history(
    db: &Db,
    archive: &Archive,
    interaction: InteractionId,
) -> Result<(), Error> {
    let begun =
        db.transaction(move |tx| Box::pin(async move { begin(tx, interaction.uuid()).await })).await?;
    if !begun {
        return Ok(());
    }
    let (mut token, mut last) = (String::new(), None);
    for _ in 0..MAX_PAGES {
        let first = token.is_empty();
        let page = archive.page(interaction, token).await?;
        token = page.next_page_token;
        let thread = page.thread.unwrap_or_default();
        let form = thread.form.filter(|_| first);
        last = thread.messages.last().map(|message| message.text.clone()).or(last);
        let notes = thread.notes.into_iter().map(Body::of_note);
        let messages: Vec<Body> =
            thread.messages.into_iter().map(Body::of).chain(notes).collect::<Result<_, _>>()?;
        db.transaction(move |tx| {
            let (messages, form) = (messages.clone(), form.clone());
            Box::pin(async move {
                if let Some(form) = form {
                    restore_form(tx, interaction.uuid(), form).await?;
                }
                restore(tx, interaction.uuid(), &messages).await
            })
        })
        .await?;
        fault::point("attention.reload.after_page").await;
        if token.is_empty() {
            break;
        }
    }
    let last = preview(&last.unwrap_or_default());
    db.transaction(move |tx| {
        let last = last.clone();
        Box::pin(async move { finish(tx, interaction.uuid(), &last).await })
    })
    .await
}

/// True when no message of the interaction lacks its body and the purge has no hand on it.
///
/// # Errors
/// Database errors.
pub async fn is_whole(tx: &mut PgConnection, interaction: InteractionId) -> Result<bool, Error> {
    let whole = sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT 1 FROM attention.message WHERE interaction_id = $1 AND purged)
             AND NOT EXISTS (SELECT 1 FROM attention.interaction WHERE interaction_id = $1 AND purged_at IS NOT NULL)
             AS "whole!""#,
        interaction.uuid()
    )
    .fetch_one(tx)
    .await?;
    Ok(whole)
}

/// Takes the interaction back from the purge; false when nothing is missing.
async fn begin(tx: &mut PgConnection, id: Uuid) -> Result<bool, Error> {
    let owners = store::attentions_of(tx, &[id]).await?;
    let attention = owners.get(&id).copied().ok_or_else(not_found)?;
    store::lock_attentions(tx, &[attention], Wait::Block).await?;
    if is_whole(tx, InteractionId(id)).await? {
        return Ok(false);
    }
    sqlx::query!(
        "UPDATE attention.interaction SET purged_at = NULL, confirmed_at = now() + make_interval(secs => $2)
         WHERE interaction_id = $1",
        id,
        KEPT_SECONDS
    )
    .execute(tx)
    .await?;
    Ok(true)
}

/// A body as it is written back.
#[derive(Clone, Debug, Serialize)]
struct Body {
    message_id: Uuid,
    text_body: String,
    html_body: String,
    attachments: Vec<StoredAttachment>,
    /// What a WhatsApp item is beyond its text, as PostgreSQL reads bytes in text.
    whatsapp: Option<String>,
}

impl Body {
    fn of(message: ThreadMessage) -> Result<Self, Error> {
        Ok(Self {
            message_id: ids::parse(&message.message_id, "message_id")?,
            text_body: message.text,
            html_body: message.html,
            attachments: message.attachments.into_iter().map(StoredAttachment::from).collect(),
            whatsapp: message.whatsapp.map(|item| format!("\\x{}", hex::encode(item.encode_to_vec()))),
        })
    }

    fn of_note(note: ThreadNote) -> Result<Self, Error> {
        Ok(Self {
            message_id: ids::parse(&note.note_id, "note_id")?,
            text_body: note.text,
            html_body: String::new(),
            attachments: Vec::new(),
            whatsapp: None,
        })
    }
}

async fn restore(tx: &mut PgConnection, interaction: Uuid, bodies: &[Body]) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE attention.message AS m SET purged = false, text_body = v.text_body, html_body = v.html_body,
           attachments = v.attachments, whatsapp = v.whatsapp
         FROM json_to_recordset($2::json)
           AS v(message_id uuid, text_body text, html_body text, attachments jsonb, whatsapp bytea)
         WHERE m.message_id = v.message_id AND m.interaction_id = $1 AND m.purged",
        interaction,
        Json(bodies) as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn restore_form(tx: &mut PgConnection, interaction: Uuid, form: FilledForm) -> Result<(), Error> {
    let answers: BTreeMap<String, String> = form.values.into_iter().collect();
    sqlx::query!(
        "INSERT INTO attention.form_answer (interaction_id, form_key, form_version, version, answers)
         VALUES ($1, $2, $3, 1, $4) ON CONFLICT (interaction_id) DO NOTHING",
        interaction,
        form.form_key,
        form.form_version,
        Json(answers) as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn finish(tx: &mut PgConnection, id: Uuid, last: &str) -> Result<(), Error> {
    if !is_whole(tx, InteractionId(id)).await? {
        return Err(incomplete(tx, id).await?);
    }
    sqlx::query!(
        "UPDATE attention.interaction SET confirmed_at = now() + make_interval(secs => $3),
           preview = CASE preview WHEN '' THEN $2 ELSE preview END
         WHERE interaction_id = $1 AND state = 'ended'",
        id,
        last,
        KEPT_SECONDS
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Why not everything is back: the purge came again meanwhile, or the history never had it.
async fn incomplete(tx: &mut PgConnection, id: Uuid) -> Result<Error, Error> {
    let purged = sqlx::query_scalar!(
        r#"SELECT purged_at IS NOT NULL AS "purged!" FROM attention.interaction WHERE interaction_id = $1"#,
        id
    )
    .fetch_one(tx)
    .await?;
    Ok(if purged {
        Error::unavailable("BODIES_UNAVAILABLE", "the thread left for the history again while it was fetched")
    } else {
        Error::corrupt("BODIES_INCOMPLETE", "the history lacks a message of this thread")
    })
}
