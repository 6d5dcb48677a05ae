//! Files of ours at Meta: which id a content has there, and which attempts are still with their files.

use hilo_kit::error::Error;

use super::{Picked, Store};
use crate::domain::outgoing::FileNeeded;

/// Meta keeps an upload for thirty days; a message on its way needs it a little longer than we do.
const REMEMBERED: &str = "28 days";
/// Meta does not lose an upload so soon: when it refuses a message with a younger one, the file or the message is the reason, and
/// another upload would be refused alike, of every send of a list.
const LOSABLE: &str = "1 hour";

/// A file at Meta.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploaded {
    /// Meta's id.
    pub media_id: String,
    /// True when it was uploaded so long ago that Meta may have lost it.
    pub old: bool,
}

impl Store {
    /// A content at Meta for this number, while Meta keeps it.
    ///
    /// # Errors
    /// Database errors.
    pub async fn uploaded(&self, number: &str, file: &FileNeeded) -> Result<Option<Uploaded>, Error> {
        let (number, file) = (number.to_owned(), file.clone());
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query_as!(
                        Uploaded,
                        r#"SELECT media_id, uploaded_at <= now() - $5::text::interval AS "old!" FROM whatsapp.uploaded
                           WHERE phone_number_id = $1 AND sha256 = $2 AND media_type = $3
                             AND uploaded_at > now() - $4::text::interval"#,
                        number,
                        file.sha256,
                        file.media_type,
                        REMEMBERED,
                        LOSABLE,
                    )
                    .fetch_optional(conn)
                    .await?)
                })
            })
            .await
    }

    /// Remembers an upload, and forgets those that Meta has no more.
    ///
    /// # Errors
    /// Database errors: then it is uploaded once more than needed.
    pub async fn keep_upload(&self, number: &str, file: &FileNeeded, id: &str) -> Result<(), Error> {
        let (number, file, id) = (number.to_owned(), file.clone(), id.to_owned());
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    sqlx::query!(
                        "WITH over AS (DELETE FROM whatsapp.uploaded WHERE uploaded_at < now() - interval '30 days')
                         INSERT INTO whatsapp.uploaded (phone_number_id, sha256, media_type, media_id)
                         VALUES ($1, $2, $3, $4)
                         ON CONFLICT (phone_number_id, sha256, media_type)
                         DO UPDATE SET media_id = excluded.media_id, uploaded_at = now()",
                        number,
                        file.sha256,
                        file.media_type,
                        id,
                    )
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Forgets these ids of Meta's: it does not know them any more.
    ///
    /// # Errors
    /// Database errors.
    pub async fn forget_uploads(&self, number: &str, ids: Vec<String>) -> Result<(), Error> {
        let number = number.to_owned();
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    sqlx::query!(
                        "DELETE FROM whatsapp.uploaded WHERE phone_number_id = $1 AND media_id = ANY($2)",
                        number,
                        &ids,
                    )
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Its files are at Meta and the request leaves now; from here on a cut is a doubt. `false` when it is not this attempt's any
    /// more: then nothing may leave.
    ///
    /// # Errors
    /// Database errors: then nothing may leave.
    pub async fn leaves_now(&self, picked: &Picked) -> Result<bool, Error> {
        let (send_id, epoch, attempts) = (picked.send_id, picked.epoch, picked.attempts);
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    let done = sqlx::query!(
                        "UPDATE whatsapp.send SET uploading = false, changed_at = now()
                         WHERE send_id = $1 AND state = 'attempting' AND epoch = $2 AND attempts = $3",
                        send_id,
                        epoch,
                        attempts,
                    )
                    .execute(conn)
                    .await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }
}
