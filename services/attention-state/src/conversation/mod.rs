//! What a conversation has beside its messages: files on their way in (uploads), files on their way out (signed links), and what
//! turns an agent's words into a mail.
//!
//! Owns the schema `conversation`. Content lives in the object store, named by its hash; nothing here deletes it.

pub(crate) mod attach;
pub(crate) mod files;
pub(crate) mod html;
pub(crate) mod link;
pub(crate) mod quick;
pub(crate) mod sweep;
mod upload;
pub(crate) mod upload_store;

use std::sync::Arc;

use hilo_kit::db::Db;
use hilo_kit::download::Links;
use hilo_kit::objects::Objects;
use tokio::sync::Semaphore;

/// Files that are being put together at once; each is in memory whole.
const MAX_FINISHING: usize = 4;

/// Uploads and links.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    db: Db,
    objects: Objects,
    links: Links,
    /// Scheme and authority in front of links; empty for paths.
    public_url: Arc<str>,
    finishing: Arc<Semaphore>,
}

impl Files {
    /// Keeps rows in `db` and contents in `objects`, makes links with `links`.
    pub(crate) fn new(db: Db, objects: Objects, links: Links, public_url: &str) -> Self {
        let public_url = public_url.trim_end_matches('/').into();
        Self { db, objects, links, public_url, finishing: Arc::new(Semaphore::new(MAX_FINISHING)) }
    }
}
