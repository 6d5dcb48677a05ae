//! `GetDownloadUrl`: rights are checked here, once; the link then works by itself for a short while.

use hilo_kit::clock::{to_proto, wall};
use hilo_kit::download::{self, Link};
use hilo_kit::error::Error;
use hilo_proto::attention::v1::{GetDownloadUrlRequest, GetDownloadUrlResponse};
use time::Duration;

use super::Files;
use super::attach::{self, Source};
use crate::attention::store::message::StoredAttachment;
use crate::desk::read;
use crate::directory::Access;

/// Long enough to begin a download, too short to pass a link on. A download that has begun is not cut.
const LIFE: Duration = Duration::minutes(5);

impl Files {
    /// A link to an upload of the caller or to an attachment of a message he may see.
    ///
    /// # Errors
    /// `ATTACHMENT_NOT_FOUND` also for what he may not see, `UPLOAD_INCOMPLETE`, `INVALID_REQUEST`; database errors.
    pub(crate) async fn link(
        &self,
        access: Access,
        request: GetDownloadUrlRequest,
    ) -> Result<GetDownloadUrlResponse, Error> {
        let wanted = attach::source(&request.attachment.unwrap_or_default(), "attachment")?;
        let found = self.db.snapshot(move |tx| Box::pin(visible(tx, access, wanted))).await?;
        let inline = request.inline && download::is_image(&found.media_type);
        let expires_at = wall() + LIFE;
        let link = Link {
            sha256: found.sha256.parse()?,
            file_name: download::file_name(&found.file_name),
            media_type: found.media_type,
            inline,
            until: expires_at.unix_timestamp(),
        };
        let url = format!("{}{}", self.public_url, self.links.path(&link));
        Ok(GetDownloadUrlResponse { url, expires_at: Some(to_proto(expires_at)), inline })
    }
}

async fn visible(
    tx: &mut sqlx::PgConnection,
    access: Access,
    wanted: Source,
) -> Result<StoredAttachment, Error> {
    match wanted {
        Source::Upload(id) => attach::of_upload(tx, &access.user_key, id).await,
        Source::Message { message, index } => {
            let (attention, found) = attach::of_message(tx, message, index).await?;
            match read::check(tx, &access, attention).await {
                Ok(()) => Ok(found),
                // A foreign file and one that does not exist look the same.
                Err(error) if error.class() == hilo_kit::Class::Missing => Err(attach::not_found()),
                Err(error) => Err(error),
            }
        }
    }
}
