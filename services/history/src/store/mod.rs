//! The threads in PostgreSQL. Every reading function takes a [`crate::domain::Scope`]: rights are checked where the
//! rows are, so no path to a thread can forget them.

mod around;
mod gathering;
mod incoming;
mod large;
mod pages;
mod read;
mod recipients;
mod report;
mod rows;
mod scope;
mod search;
mod staging;
mod write;

use hilo_kit::db::Db;
use hilo_kit::error::Error;

use std::collections::BTreeSet;

use crate::domain::thread::{Attachment, MessageId, Place};
use crate::domain::{Criteria, InteractionId, Position, Scope, Thread};

pub use incoming::Incoming;
pub use pages::{PAGE_ENTRIES, Place as PagePlace, StoredPage};
pub use report::{ReportPage, ReportRequest, ReportRow};
pub use search::{Page, PageRequest};

/// What became of a thread that was handed to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was not there.
    New,
    /// It replaced an older version.
    Replaced,
    /// The same version, or a newer one, was there already.
    Known,
}

/// The threads.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
}

impl Store {
    /// On a migrated database.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// The database, for what kit does with it.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Keeps a thread unless the same or a newer version is there; then nothing changes.
    ///
    /// # Errors
    /// Database errors.
    pub async fn put(&self, thread: Thread) -> Result<Stored, Error> {
        let thread = std::sync::Arc::new(thread);
        let stored = self.db.transaction(move |tx| {
            let thread = thread.clone();
            Box::pin(async move {
                let stored = write::put(tx, &thread).await?;
                hilo_kit::fault::point("history.store.before_commit").await;
                Ok(stored)
            })
        });
        stored.await
    }

    /// Begins to keep a thread whose messages come in pages.
    pub fn incoming(&self, thread: Thread) -> Incoming {
        Incoming::new(self.clone(), thread)
    }

    /// Drops pages of threads that never became whole; answers how many messages they held.
    ///
    /// # Errors
    /// Database errors.
    pub async fn drop_old_pages(&self) -> Result<u64, Error> {
        self.db.transaction(|tx| Box::pin(async move { staging::drop_old(tx).await })).await
    }

    /// A page of a stored thread for other services, whoever may read it; `None` when it is not stored.
    ///
    /// # Errors
    /// `THREAD_CHANGED` when it is not at the version of the first page any more; database errors.
    pub async fn stored_page(
        &self,
        id: InteractionId,
        from: Option<PagePlace>,
    ) -> Result<Option<StoredPage>, Error> {
        self.db
            .snapshot(move |tx| Box::pin(async move { pages::page(tx, id, from, PAGE_ENTRIES).await }))
            .await
    }

    /// Which of these interactions are stored at the given version or a newer one.
    ///
    /// # Errors
    /// Database errors.
    pub async fn known(
        &self,
        versions: Vec<(InteractionId, i64)>,
    ) -> Result<Vec<(InteractionId, i64)>, Error> {
        self.db.read(move |conn| Box::pin(async move { read::known(conn, &versions).await })).await
    }

    /// Threads that an earlier release stored without hidden recipients and states of recipients, by id after one.
    ///
    /// # Errors
    /// Database errors.
    pub async fn lacking_recipients(
        &self,
        after: Option<InteractionId>,
        limit: i64,
    ) -> Result<Vec<(InteractionId, i64)>, Error> {
        self.db.read(move |conn| Box::pin(async move { recipients::lacking(conn, after, limit).await })).await
    }

    /// Notes that the recipients of this thread cannot be learnt any more.
    ///
    /// # Errors
    /// Database errors.
    pub async fn settle_recipients(&self, id: InteractionId) -> Result<(), Error> {
        self.db.transaction(move |tx| Box::pin(async move { recipients::settle(tx, id).await })).await
    }

    /// A page of a thread the scope covers, with at most `entries` notes and messages; `None` also for one it does not.
    ///
    /// # Errors
    /// `THREAD_CHANGED` when it is not at the version of the first page any more; database errors.
    pub async fn thread_page(
        &self,
        scope: &Scope,
        id: InteractionId,
        from: Option<PagePlace>,
        entries: usize,
    ) -> Result<Option<StoredPage>, Error> {
        let scope = scope.clone();
        let found = self.db.snapshot(move |tx| {
            Box::pin(async move {
                if !scope::shows(tx, &scope, id).await? {
                    return Ok(None);
                }
                pages::page(tx, id, from, entries).await
            })
        });
        found.await
    }

    /// The thread's place among those of its attention that the scope covers.
    ///
    /// # Errors
    /// Database errors.
    pub async fn place(&self, scope: &Scope, thread: &Thread) -> Result<Option<Place>, Error> {
        let (scope, attention, id) = (scope.clone(), thread.head.attention_id, thread.head.interaction_id);
        self.db
            .read(move |conn| Box::pin(async move { around::place(conn, &scope, attention, id).await }))
            .await
    }

    /// An attachment of a thread that the scope covers, by its place in its message, from 0.
    ///
    /// # Errors
    /// Database errors.
    pub async fn attachment(
        &self,
        scope: &Scope,
        thread: InteractionId,
        message: MessageId,
        index: i32,
    ) -> Result<Option<Attachment>, Error> {
        let scope = scope.clone();
        let found = self.db.read(move |conn| {
            Box::pin(async move { around::attachment(conn, &scope, thread, message, index).await })
        });
        found.await
    }

    /// Keys of the fields that forms of the scope's campaigns (or of one of them) were ever filled in with.
    ///
    /// # Errors
    /// Database errors.
    pub async fn form_fields(
        &self,
        scope: &Scope,
        campaign: Option<String>,
    ) -> Result<BTreeSet<String>, Error> {
        let scope = scope.clone();
        let found = self.db.read(move |conn| {
            Box::pin(async move { around::form_fields(conn, &scope, campaign.as_deref()).await })
        });
        found.await
    }

    /// A page of the threads that the scope covers and the criteria fit, newest first.
    ///
    /// # Errors
    /// Database errors.
    pub async fn search(&self, request: PageRequest) -> Result<Page, Error> {
        self.db.snapshot(move |tx| Box::pin(async move { search::page(tx, &request).await })).await
    }

    /// How PostgreSQL would read that page, for operators and for the test that no combination reads everything.
    ///
    /// # Errors
    /// Database errors.
    pub async fn plan(&self, request: PageRequest) -> Result<Vec<String>, Error> {
        self.db.snapshot(move |tx| Box::pin(async move { search::plan(tx, &request).await })).await
    }
}

impl PageRequest {
    /// The first page.
    pub fn first(scope: Scope, criteria: Criteria, time_zone: String, size: i32) -> Self {
        Self { scope, criteria, tag_keys: Vec::new(), time_zone, size, after: None }
    }

    /// Keys of tags whose name the criteria's tag is; a thread may have either.
    #[must_use]
    pub fn or_tags(mut self, keys: Vec<String>) -> Self {
        self.tag_keys = keys;
        self
    }

    /// The page after a position.
    #[must_use]
    pub fn after(mut self, position: Position) -> Self {
        self.after = Some(position);
        self
    }
}
