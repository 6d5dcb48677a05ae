//! What a reference to a file leads to: an upload of the caller, or what came with a message.

use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::attention::v1::AttachmentRef;
use hilo_proto::attention::v1::attachment_ref::Source as ProtoSource;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::upload_store;
use crate::attention::domain::UserKey;
use crate::attention::store::message::StoredAttachment;
use crate::desk::draft;

/// A reference, well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Upload(Uuid),
    Message { message: Uuid, index: i32 },
}

/// Reads a reference; `field` names it in violations.
pub(crate) fn source(written: &AttachmentRef, field: &str) -> Result<Source, Error> {
    match &written.source {
        Some(ProtoSource::UploadId(id)) => Ok(Source::Upload(ids::parse(id, &format!("{field}.upload_id"))?)),
        Some(ProtoSource::Message(at)) => {
            let message = ids::parse(&at.message_id, &format!("{field}.message.message_id"))?;
            Ok(Source::Message { message, index: at.index })
        }
        None => Err(Error::invalid("INVALID_REQUEST", "a reference to a file is malformed")
            .field(field, "an upload or an attachment of a message is required")),
    }
}

/// There is no such file for the caller.
pub(crate) fn not_found() -> Error {
    Error::missing("ATTACHMENT_NOT_FOUND", "there is no such file")
}

/// A finished upload of the user.
///
/// # Errors
/// `ATTACHMENT_NOT_FOUND`, `UPLOAD_INCOMPLETE`; database errors.
pub(crate) async fn of_upload(
    conn: &mut PgConnection,
    user: &str,
    id: Uuid,
) -> Result<StoredAttachment, Error> {
    let upload = upload_store::find(conn, user, id).await?.ok_or_else(not_found)?;
    if !upload.finished {
        return Err(Error::rejected("UPLOAD_INCOMPLETE", "the upload is not finished"));
    }
    Ok(StoredAttachment {
        sha256: hex::encode(&upload.sha256),
        file_name: upload.file_name,
        media_type: upload.media_type,
        size_bytes: upload.size_bytes,
        content_id: String::new(),
        inline: false,
    })
}

/// An attachment of a message, with the attention it belongs to. Rights are the caller's to check.
///
/// # Errors
/// `ATTACHMENT_NOT_FOUND`; database errors.
pub(crate) async fn of_message(
    conn: &mut PgConnection,
    message: Uuid,
    index: i32,
) -> Result<(Uuid, StoredAttachment), Error> {
    let row = sqlx::query!(
        r#"SELECT attention_id, attachments -> $2::int AS "attachment: Json<StoredAttachment>"
           FROM attention.message WHERE message_id = $1 AND $2 >= 0"#,
        message,
        index
    )
    .fetch_optional(conn)
    .await?;
    let row = row.ok_or_else(not_found)?;
    Ok((row.attention_id, row.attachment.ok_or_else(not_found)?.0))
}

/// Most references of one mail.
const MAX_WANTED: usize = 50;

/// A file to attach, well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub source: Source,
    /// To be shown by; empty when it is only attached.
    pub content_id: String,
}

/// Reads references; `field` names the list in violations.
pub(crate) fn wanted(list: &[AttachmentRef], field: &str) -> Result<Vec<Wanted>, Error> {
    if list.len() > MAX_WANTED {
        let text = format!("at most {MAX_WANTED} files");
        return Err(Error::invalid("TOO_MANY_ATTACHMENTS", text.clone()).field(field, text));
    }
    let mut wanted: Vec<Wanted> = Vec::with_capacity(list.len());
    for (at, one) in list.iter().enumerate() {
        let field = format!("{field}[{at}]");
        let plain = one.content_id.len() <= 100
            && one.content_id.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_@".contains(&b));
        let twice =
            !one.content_id.is_empty() && wanted.iter().any(|known| known.content_id == one.content_id);
        if !plain || twice {
            let text = "letters, digits and `.-_@`, at most 100, each once";
            return Err(Error::invalid("INVALID_REQUEST", "a content id is malformed")
                .field(format!("{field}.content_id"), text));
        }
        wanted.push(Wanted { source: source(one, &field)?, content_id: one.content_id.clone() });
    }
    Ok(wanted)
}

/// The files behind references of an agent who serves the interaction: his uploads, those its draft refers to (he may have
/// taken it over), and what came with messages of the attention.
///
/// # Errors
/// `ATTACHMENT_NOT_FOUND`, `UPLOAD_INCOMPLETE`; database errors.
pub(crate) async fn resolve(
    tx: &mut PgConnection,
    agent: &UserKey,
    attention: Uuid,
    interaction: Uuid,
    wanted: &[Wanted],
) -> Result<Vec<StoredAttachment>, Error> {
    let mut files = Vec::with_capacity(wanted.len());
    for (at, one) in wanted.iter().enumerate() {
        let found = match one.source {
            Source::Upload(id) => match of_upload(tx, agent.as_str(), id).await {
                Err(error) if error.reason() == "ATTACHMENT_NOT_FOUND" => of_draft(tx, interaction, id).await,
                other => other,
            },
            Source::Message { message, index } => match of_message(tx, message, index).await {
                Ok((owner, found)) if owner == attention => Ok(found),
                Ok(_) => Err(not_found()),
                Err(error) => Err(error),
            },
        };
        let found = found.map_err(|error| match error.class() {
            hilo_kit::Class::Missing => error.field(format!("attachments[{at}]"), "there is no such file"),
            _ => error,
        })?;
        files.push(StoredAttachment { content_id: one.content_id.clone(), inline: false, ..found });
    }
    Ok(files)
}

/// The files behind references as [`resolve`] finds them, for a mail that leaves with this transaction.
///
/// # Errors
/// As [`resolve`].
pub(crate) async fn send(
    tx: &mut PgConnection,
    agent: &UserKey,
    attention: Uuid,
    interaction: Uuid,
    wanted: &[Wanted],
) -> Result<Vec<StoredAttachment>, Error> {
    let files = resolve(tx, agent, attention, interaction, wanted).await?;
    let uploads: Vec<Uuid> = uploads(wanted).collect();
    if !uploads.is_empty() {
        upload_store::sent(tx, &uploads).await?;
    }
    Ok(files)
}

/// The uploads among references.
pub(crate) fn uploads(wanted: &[Wanted]) -> impl Iterator<Item = Uuid> + '_ {
    wanted.iter().filter_map(|one| match one.source {
        Source::Upload(id) => Some(id),
        Source::Message { .. } => None,
    })
}

async fn of_draft(tx: &mut PgConnection, interaction: Uuid, id: Uuid) -> Result<StoredAttachment, Error> {
    let content = draft::content(tx, interaction).await?;
    let named = content.attachments.iter().filter_map(|one| source(one, "").ok());
    let owner = match named.into_iter().any(|one| one == Source::Upload(id)) {
        true => upload_store::owner(tx, id).await?,
        false => None,
    };
    of_upload(tx, &owner.ok_or_else(not_found)?, id).await
}
