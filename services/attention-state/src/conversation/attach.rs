//! What a reference to a file leads to: an upload of the caller, or what came with a message.

use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::attention::v1::AttachmentRef;
use hilo_proto::attention::v1::attachment_ref::Source as ProtoSource;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::upload_store;
use crate::attention::store::message::StoredAttachment;

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
