//! `GetDownloadUrl`: rights are checked here, once; the link then works by itself for a short while. The files lie in the
//! object store that all services share, so whichever serves links serves this one.

use hilo_kit::clock::{to_proto, wall};
use hilo_kit::download::{self, Link, Links};
use hilo_kit::error::Error;
use hilo_proto::history::v1::{GetDownloadUrlRequest, GetDownloadUrlResponse};
use time::Duration;

use crate::contract;
use crate::domain::Scope;
use crate::store::Store;

/// Long enough to begin a download, too short to pass a link on. A download that has begun is not cut.
const LIFE: Duration = Duration::minutes(5);

/// Makes links to attachments of threads.
#[derive(Clone, Debug)]
pub struct Downloads {
    store: Store,
    links: Links,
    public_url: String,
}

impl Downloads {
    /// Signed by `links`; `public_url` goes before every path, and may be empty.
    pub fn new(store: Store, links: Links, public_url: &str) -> Self {
        Self { store, links, public_url: public_url.trim_end_matches('/').to_owned() }
    }

    /// A link to an attachment that the scope covers.
    ///
    /// # Errors
    /// `ATTACHMENT_NOT_FOUND` also for what the scope does not cover, `INVALID_ID`, database errors.
    pub async fn link(
        &self,
        scope: &Scope,
        request: GetDownloadUrlRequest,
    ) -> Result<GetDownloadUrlResponse, Error> {
        let interaction = contract::interaction_id(&request.interaction_id)?;
        let message = hilo_kit::ids::parse(&request.message_id, "message_id")?.into();
        let missing = || Error::missing("ATTACHMENT_NOT_FOUND", "no such attachment");
        let found = self.store.attachment(scope, interaction, message, request.index).await?;
        let found = found.ok_or_else(missing)?;
        let inline = request.inline && download::is_image(&found.media_type);
        let expires_at = wall() + LIFE;
        let link = Link {
            // A digest that is none names nothing.
            sha256: found.sha256.parse().map_err(|_| missing())?,
            file_name: download::file_name(&found.file_name),
            media_type: found.media_type,
            inline,
            until: expires_at.unix_timestamp(),
        };
        let url = format!("{}{}", self.public_url, self.links.path(&link));
        Ok(GetDownloadUrlResponse { url, expires_at: Some(to_proto(expires_at)), inline })
    }
}
