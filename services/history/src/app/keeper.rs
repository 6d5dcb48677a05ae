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
use crate::domain::{InteractionId, Thread};
use crate::metrics::Metrics;
use crate::store::{Store, Stored};

/// A thread of 5,000 messages with long bodies takes a while.
const FETCH_DEADLINE: Duration = Duration::from_secs(30);
/// A larger thread is not kept but alarmed: it must not exhaust the memory of the process.
const MAX_THREAD_BYTES: usize = 64 * 1024 * 1024;
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
        let source = EndedThreadServiceClient::new(channel).max_decoding_message_size(MAX_THREAD_BYTES);
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
        let Some(thread) = self.fetch(one.id).await? else { return Ok(Kept::Gone) };
        if thread.head.interaction_id != one.id {
            return Err(Error::corrupt(
                "THREAD_MALFORMED",
                "another interaction was answered than asked for",
            ));
        }
        if thread.version < one.version {
            return Err(Error::unavailable(
                "THREAD_OUTDATED",
                "an older version was answered than announced",
            ));
        }
        let version = thread.version;
        let stored = self.store.put(thread).await?;
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

    async fn fetch(&self, id: InteractionId) -> Result<Option<Thread>, Error> {
        let request = GetEndedThreadRequest { interaction_id: id.to_string() };
        let answer = self.source.clone().get_ended_thread(grpc::with_deadline(request, FETCH_DEADLINE)).await;
        let answer = match answer.map_err(Error::from) {
            Ok(answer) => answer.into_inner(),
            Err(error) => return refused(error),
        };
        match answer.thread {
            Some(thread) => contract::thread(thread).map(Some),
            None => Err(Error::corrupt("THREAD_MALFORMED", "an empty thread was answered")),
        }
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

    /// The counters.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// What a refused fetch means. That attention-state does not let us in is its or our configuration, never the
/// interaction's fault, so it must not bury the message that told of it.
fn refused(error: Error) -> Result<Option<Thread>, Error> {
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
