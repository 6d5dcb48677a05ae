//! Fetch, store, confirm, in this order: a thread is confirmed only after its commit.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use hilo_kit::error::{Class, Error};
use hilo_kit::grpc::{self, InternalChannel};
use hilo_kit::{fault, telemetry};
use hilo_proto::internal::v1::ended_thread_service_client::EndedThreadServiceClient;
use hilo_proto::internal::v1::{
    ConfirmStoredRequest, EndedVersion, GetEndedThreadRequest, ListEndedUnconfirmedRequest,
};
use tracing::Instrument;

use crate::contract;
use crate::domain::thread::Message;
use crate::domain::{InteractionId, Thread};
use crate::metrics::Metrics;
use crate::store::{Incoming, Store, Stored};

/// One page, at most 3 MiB.
const FETCH_DEADLINE: Duration = Duration::from_secs(10);
/// A thread has at most 5,000 messages, and every page at least one.
const MAX_PAGES: usize = 5_001;
/// How often a thread that changes between two pages is begun again at once.
const MAX_RESTARTS: usize = 3;
/// What one confirmation may hold by contract.
const MAX_CONFIRM: usize = 500;

/// An interaction that ended at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub id: InteractionId,
    /// The least version to be stored.
    pub version: i64,
    /// W3C trace context of the event that told so.
    pub traceparent: Option<String>,
}

/// What became of an ended interaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Stored at this version (now or before); to be confirmed.
    At(i64),
    /// It is not ended any more, or never was: nothing to keep. If it ends again, that is a new version.
    Gone,
}

/// Keeps ended threads.
#[derive(Clone)]
pub struct Keeper {
    store: Store,
    source: EndedThreadServiceClient<InternalChannel>,
    concurrency: usize,
    metrics: Metrics,
}

impl Keeper {
    /// Reads from attention-state over `channel`, at most `concurrency` threads at a time, writes to `store`.
    pub fn new(store: Store, channel: InternalChannel, concurrency: usize, metrics: Metrics) -> Self {
        let source = EndedThreadServiceClient::new(channel);
        Self { store, source, concurrency, metrics }
    }

    /// Keeps what is not kept yet; one result per interaction, in order. Nothing is confirmed.
    ///
    /// # Errors
    /// When the store cannot be asked; what fails for one interaction alone is its own result.
    pub async fn keep(&self, ended: &[Ended]) -> Result<Vec<Result<Kept, Error>>, Error> {
        let versions = ended.iter().map(|one| (one.id, one.version)).collect();
        let known: HashSet<(InteractionId, i64)> = self.store.known(versions).await?.into_iter().collect();
        let work: Vec<_> = ended
            .iter()
            .map(|one| {
                let known = known.contains(&(one.id, one.version));
                let (keeper, one) = (self.clone(), one.clone());
                async move { if known { Ok(Kept::At(one.version)) } else { keeper.keep_one(one).await } }
            })
            .collect();
        Ok(futures::stream::iter(work).buffered(self.concurrency).collect().await)
    }

    async fn keep_one(&self, one: Ended) -> Result<Kept, Error> {
        let span = tracing::info_span!("history.keep", interaction = %one.id);
        let span = telemetry::span_with_parent(one.traceparent.as_deref(), span);
        let kept = self.fetch_and_store(&one).instrument(span).await;
        if let Err(error) = &kept {
            self.metrics.keep_failed(error.reason());
        }
        kept
    }

    async fn fetch_and_store(&self, one: &Ended) -> Result<Kept, Error> {
        for _ in 0..MAX_RESTARTS {
            match self.try_once(one).await {
                Err(error) if error.reason() == "THREAD_CHANGED" => {}
                done => return done,
            }
        }
        Err(Error::unavailable("THREAD_CHANGING", "the thread changed again and again while it was fetched"))
    }

    async fn try_once(&self, one: &Ended) -> Result<Kept, Error> {
        let Some((thread, next)) = self.fetch(one.id, String::new()).await? else { return Ok(Kept::Gone) };
        if thread.version < one.version {
            return Err(Error::unavailable(
                "THREAD_OUTDATED",
                "an older version was answered than announced",
            ));
        }
        let version = thread.version;
        let stored = match next {
            None => self.store.put(thread).await?,
            Some(next) => match self.store_pages(thread, next).await? {
                Some(stored) => stored,
                None => return Ok(Kept::Gone),
            },
        };
        fault::point("history.store.after_commit").await;
        self.metrics.stored(stored);
        match stored {
            Stored::New | Stored::Replaced => {
                tracing::info!(interaction = %one.id, version, ?stored, "thread kept")
            }
            Stored::Known => tracing::debug!(interaction = %one.id, version, "thread was kept before"),
        }
        Ok(Kept::At(version))
    }

    /// Stores page by page; `None` when the thread was reopened meanwhile.
    async fn store_pages(&self, mut first: Thread, next: String) -> Result<Option<Stored>, Error> {
        let messages = std::mem::take(&mut first.messages);
        let id = first.head.interaction_id;
        let mut incoming = self.store.incoming(first);
        match self.add_pages(&mut incoming, id, messages, next).await {
            Ok(true) => incoming.finish().await.map(Some),
            Ok(false) => incoming.discard().await.map(|()| None),
            Err(error) => {
                if let Err(left) = incoming.discard().await {
                    left.log("dropping pages of a thread");
                }
                Err(error)
            }
        }
    }

    async fn add_pages(
        &self,
        incoming: &mut Incoming,
        id: InteractionId,
        messages: Vec<Message>,
        mut next: String,
    ) -> Result<bool, Error> {
        incoming.add(messages).await?;
        for _ in 0..MAX_PAGES {
            let Some((page, following)) = self.fetch(id, next).await? else { return Ok(false) };
            if page.version != incoming.version() {
                return Err(Error::conflict("THREAD_CHANGED", "a page was of another version"));
            }
            incoming.add_notes(page.notes);
            incoming.add(page.messages).await?;
            match following {
                Some(following) => next = following,
                None => return Ok(true),
            }
        }
        Err(Error::corrupt("THREAD_MALFORMED", "a thread has no last page"))
    }

    /// A page of a thread and the token of the next one; `None` when it is not ended.
    async fn fetch(
        &self,
        id: InteractionId,
        page_token: String,
    ) -> Result<Option<(Thread, Option<String>)>, Error> {
        let request = GetEndedThreadRequest { interaction_id: id.to_string(), page_token };
        let answer = self.source.clone().get_ended_thread(grpc::with_deadline(request, FETCH_DEADLINE)).await;
        let answer = match answer.map_err(Error::from) {
            Ok(answer) => answer.into_inner(),
            Err(error) => return refused(error),
        };
        let malformed = |why: &'static str| Error::corrupt("THREAD_MALFORMED", why);
        let thread = answer.thread.ok_or_else(|| malformed("an empty thread was answered"))?;
        let thread = contract::thread(thread)?;
        if thread.head.interaction_id != id {
            return Err(malformed("another interaction was answered than asked for"));
        }
        let next = answer.next_page_token;
        Ok(Some((thread, (!next.is_empty()).then_some(next))))
    }

    /// Tells attention-state what is stored; answers how many it took note of now.
    ///
    /// # Errors
    /// Of the call.
    pub async fn confirm(&self, stored: &[(InteractionId, i64)]) -> Result<i32, Error> {
        let mut confirmed = 0;
        for some in stored.chunks(MAX_CONFIRM) {
            let stored = some
                .iter()
                .map(|(id, version)| EndedVersion { interaction_id: id.to_string(), version: *version })
                .collect();
            let request = grpc::with_deadline(ConfirmStoredRequest { stored }, grpc::DEFAULT_DEADLINE);
            confirmed += self
                .source
                .clone()
                .confirm_stored(request)
                .await
                .map_err(Error::from)?
                .into_inner()
                .confirmed;
        }
        Ok(confirmed)
    }

    /// A page of what is ended and not confirmed, and the token of the next one.
    ///
    /// # Errors
    /// Of the call; `THREAD_MALFORMED` for an id that is none.
    pub(super) async fn unconfirmed(
        &self,
        page_size: i32,
        page_token: String,
    ) -> Result<(Vec<Ended>, String), Error> {
        let request = ListEndedUnconfirmedRequest { page_size, page_token };
        let request = grpc::with_deadline(request, grpc::DEFAULT_DEADLINE);
        let answer =
            self.source.clone().list_ended_unconfirmed(request).await.map_err(Error::from)?.into_inner();
        let ended = answer.ended.iter().map(|one| {
            let id = one.interaction_id.parse::<InteractionId>().map_err(|error| {
                Error::corrupt("THREAD_MALFORMED", "an interaction id is not a UUID").with_source(error)
            });
            Ok(Ended { id: id?, version: one.version, traceparent: None })
        });
        Ok((ended.collect::<Result<_, Error>>()?, answer.next_page_token))
    }

    /// Drops pages of threads that never became whole.
    pub(super) async fn drop_old_pages(&self) {
        match self.store.drop_old_pages().await {
            Ok(0) => {}
            Ok(dropped) => tracing::info!(dropped, "messages of broken-off fetches dropped"),
            Err(error) => error.log("dropping pages of broken-off fetches"),
        }
    }

    /// Where threads are kept.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The counters.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// What a refused fetch means. That attention-state does not let us in is its or our configuration, never the
/// interaction's fault, so it must not bury the message that told of it.
fn refused(error: Error) -> Result<Option<(Thread, Option<String>)>, Error> {
    match error.class() {
        // Reopened meanwhile.
        Class::Missing | Class::Rejected => Ok(None),
        Class::Denied | Class::Invalid => {
            Err(Error::unavailable("SOURCE_REFUSED", "attention-state refuses to hand over threads")
                .with_source(error))
        }
        Class::Duplicate
        | Class::Conflict
        | Class::Exhausted
        | Class::Unavailable
        | Class::Corrupt
        | Class::Internal => Err(error),
    }
}
