//! A thread that comes in pages: each page is committed and forgotten, the last step makes the thread of them.

use hilo_kit::error::Error;
use uuid::Uuid;

use super::gathering::Gathering;
use super::{Store, Stored, large, staging};
use crate::domain::Thread;
use crate::domain::thread::{Message, Note};

/// A thread on its way in.
#[derive(Debug)]
pub struct Incoming {
    store: Store,
    thread: Thread,
    gathering: Option<Gathering>,
    fetch: Uuid,
}

impl Incoming {
    /// Begins with head, form and notes of the thread; its messages, and further notes, are added page by page.
    pub(super) fn new(store: Store, thread: Thread) -> Self {
        let gathering = Gathering::new(&thread);
        Self { store, thread, fetch: gathering.fetch, gathering: Some(gathering) }
    }

    /// Version of the thread.
    pub fn version(&self) -> i64 {
        self.thread.version
    }

    /// Adds notes; people write them by hand, so they are held in memory.
    pub fn add_notes(&mut self, notes: Vec<Note>) {
        self.thread.notes.extend(notes);
    }

    /// Adds a page of messages. After an error the thread can only be discarded.
    ///
    /// # Errors
    /// Database errors.
    pub async fn add(&mut self, page: Vec<Message>) -> Result<(), Error> {
        // Moved there and back: what thousands of pages said is not copied for every further one.
        let mut gathering = self.gathering.take().ok_or_else(broken_off)?;
        let (fetch, before) = (self.fetch, gathering.count());
        // Words of megabytes take a while; other tasks go on meanwhile.
        let gathered = tokio::task::spawn_blocking(move || {
            gathering.add(&page);
            (gathering, page)
        });
        let (gathering, page) = gathered.await.map_err(|error| {
            Error::internal("GATHERING_PANICKED", "a page could not be read").with_source(error)
        })?;
        let page = std::sync::Arc::new(page);
        let added = self.store.db.transaction(move |tx| {
            let page = page.clone();
            Box::pin(async move { staging::add(tx, fetch, before, &page).await })
        });
        added.await?;
        hilo_kit::fault::point("history.store.after_page").await;
        self.gathering = Some(gathering);
        Ok(())
    }

    /// Makes the thread of the pages, unless its interaction is there at the same or a newer version.
    ///
    /// # Errors
    /// `PAGES_LOST` (class unavailable) after a crash of PostgreSQL; `PAGES_BROKEN_OFF` (unavailable) when a page failed;
    /// database errors.
    pub async fn finish(self) -> Result<Stored, Error> {
        let gathered = self.gathering.ok_or_else(broken_off)?.done();
        let parts = std::sync::Arc::new((self.thread, gathered));
        let stored = self.store.db.transaction(move |tx| {
            let parts = parts.clone();
            Box::pin(async move {
                let stored = large::put(tx, &parts.0, &parts.1).await?;
                hilo_kit::fault::point("history.store.before_commit").await;
                Ok(stored)
            })
        });
        stored.await
    }

    /// Gives up; what is left anyway is dropped by a later sweep.
    ///
    /// # Errors
    /// Database errors.
    pub async fn discard(self) -> Result<(), Error> {
        let fetch = self.fetch;
        let dropped = self
            .store
            .db
            .transaction(move |tx| Box::pin(async move { staging::drop_fetch(tx, fetch).await }));
        dropped.await
    }
}

fn broken_off() -> Error {
    Error::unavailable("PAGES_BROKEN_OFF", "a page of a thread failed; it is fetched again")
}
