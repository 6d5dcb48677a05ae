//! Fetches the files that customers sent: soon, a few per account at a time, again and again for as long as Meta keeps them, and
//! nothing that is not what Meta's webhook told of.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::objects::{Digest256, Objects};
use hilo_kit::secrets::Secrets;
use hilo_proto::inbound::v1::Attachment;
use tokio::task::JoinSet;

use crate::accounts::NumbersCache;
use crate::adapter::files::{Files, Missed};
use crate::config::MediaConfig;
use crate::domain::media::{self, Next, Tried, Trouble};
use crate::memory::Memory;
use crate::metrics;
use crate::store::{Again, Store, Wanted};

/// A claim lasts so long: what a killed process had is taken up soon after.
const CLAIM: Duration = Duration::from_secs(15);
/// A claim at work is extended this often.
const RENEW: Duration = Duration::from_secs(5);
/// Net under the wake-ups.
const POLL: Duration = Duration::from_secs(1);
/// After so long an address is asked for anew: it lives five minutes.
const ADDRESS: Duration = Duration::from_secs(240);

/// What a fetcher needs.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Ledger.
    pub store: Store,
    /// Directory.
    pub numbers: NumbersCache,
    /// Access tokens.
    pub secrets: Secrets,
    /// The Graph API.
    pub files: Files,
    /// Where files are kept.
    pub objects: Objects,
    /// Memory for files.
    pub memory: Memory,
    /// Settings.
    pub config: MediaConfig,
    /// Largest object of the store, in bytes.
    pub max_object_bytes: u64,
}

struct Fetcher {
    parts: Parts,
    stop: Shutdown,
}

/// Runs until the shutdown begins; what is under way then is given back.
pub async fn run(parts: Parts, shutdown: Shutdown) {
    tokio::select! {
        () = parts.numbers.loaded() => {}
        () = shutdown.cancelled() => return,
    }
    let wake = parts.store.unfetched();
    let fetcher = Arc::new(Fetcher { parts, stop: shutdown.clone() });
    let mut running = JoinSet::new();
    while !shutdown.is_cancelled() {
        fetcher.begin(&mut running).await;
        tokio::select! {
            () = wake.notified() => {}
            Some(_) = running.join_next() => {}
            () = tokio::time::sleep(POLL) => {}
            () = shutdown.cancelled() => {}
        }
    }
    while running.join_next().await.is_some() {}
}

impl Fetcher {
    /// Begins what is due; how many are under way already, the ledger knows. The trouble of one account is no other's.
    async fn begin(self: &Arc<Self>, running: &mut JoinSet<()>) {
        let store = &self.parts.store;
        let accounts = match store.accounts_with_due_files().await {
            Ok(accounts) => accounts,
            Err(error) => {
                error.log("looking for files to fetch");
                return;
            }
        };
        for account in accounts {
            match store.claim_files(&account, self.parts.config.concurrency, CLAIM).await {
                Ok(claimed) => {
                    for wanted in claimed {
                        let fetcher = self.clone();
                        running.spawn(async move { fetcher.one(&wanted).await });
                    }
                }
                Err(error) => error.log("claiming files to fetch"),
            }
        }
    }

    /// One try of one file; its end is written before this ends.
    async fn one(&self, wanted: &Wanted) {
        let fetched = tokio::select! {
            fetched = AssertUnwindSafe(self.fetch(wanted)).catch_unwind() => fetched.unwrap_or_else(|_| {
                tracing::error!(item = %wanted.item_id, "fetching a file panicked");
                Err(Trouble::Away.into())
            }),
            () = self.renew(wanted) => return,
            () = self.stop.cancelled() => {
                if let Err(error) = self.parts.store.file_put_back(wanted).await {
                    error.log("giving a file back");
                }
                return;
            }
        };
        fault::point("whatsapp.media.before_commit").await;
        if let Err(error) = self.end(wanted, fetched).await {
            // The claim ends by itself, and the next try finds the object there.
            error.log("writing what became of a file");
        }
        fault::point("whatsapp.media.after_commit").await;
    }

    /// Extends the claim until it is lost: then another one has the file.
    async fn renew(&self, wanted: &Wanted) {
        loop {
            tokio::time::sleep(RENEW).await;
            match self.parts.store.file_renewed(wanted, CLAIM).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => error.log("extending the claim of a file"),
            }
        }
    }

    async fn end(&self, wanted: &Wanted, fetched: Result<Attachment, Missed>) -> Result<(), Error> {
        let store = &self.parts.store;
        let Missed { trouble, error_answer } = match fetched {
            Ok(attachment) => {
                let size = attachment.size_bytes;
                if store.file_ended(wanted, Ok(attachment)).await? {
                    metrics::file("stored");
                    tracing::info!(item = %wanted.item_id, account = %wanted.account_key, size, "a file was fetched");
                }
                return Ok(());
            }
            Err(missed) => missed,
        };
        let tried = Tried {
            attempts: wanted.attempts,
            faults: wanted.faults + u32::from(trouble.is_fault()),
            age: wanted.age,
            retry: Duration::from_secs_f64(self.parts.config.retry_seconds),
            jitter: rand::random(),
        };
        metrics::file(trouble.as_str());
        match media::next(trouble, tried) {
            Next::Again(after) => {
                let again = Again { trouble, after, error_answer };
                tracing::info!(
                    item = %wanted.item_id, account = %wanted.account_key, trouble = trouble.as_str(),
                    attempts = wanted.attempts, ?after, "a file was not fetched; it is tried again"
                );
                store.file_again(wanted, again).await?;
            }
            Next::Failed(failure) => {
                if store.file_ended(wanted, Err((failure, error_answer))).await? {
                    metrics::file(failure.as_str());
                    tracing::warn!(
                        item = %wanted.item_id, account = %wanted.account_key, reason = failure.as_str(),
                        attempts = wanted.attempts, "a file of a customer cannot be had"
                    );
                }
            }
        }
        Ok(())
    }

    async fn fetch(&self, wanted: &Wanted) -> Result<Attachment, Missed> {
        let parts = &self.parts;
        let numbers = parts.numbers.current().ok_or(Trouble::NotAsked)?;
        let number = numbers.get(&wanted.account_key).filter(|number| number.active);
        let number = number.ok_or(Trouble::NotAsked)?;
        let token = parts.secrets.get(&number.access_token).await.map_err(|_| Trouble::NotAsked)?;
        if token.is_empty() {
            return Err(Trouble::NotAsked.into());
        }
        let told = &wanted.media;
        let ask = || self.call(parts.files.info(&number.phone_number_id, &told.media_id, &token));
        let mut info = ask().await?;
        let limit = parts.config.max_bytes.min(parts.max_object_bytes);
        let most = info.size.unwrap_or(limit);
        if most > limit {
            return Err(Trouble::TooLarge.into());
        }
        let asked = Instant::now();
        let _room = parts.memory.room(most).await.ok_or(Trouble::TooLarge)?;
        if asked.elapsed() > ADDRESS {
            info.url = ask().await?.url;
        }
        let bytes = match self.call(parts.files.download(&info.url, &token, most)).await {
            // More than Meta told of is not the file that it told of.
            Err(Missed { trouble: Trouble::TooLarge, .. }) if info.size.is_some() => {
                return Err(Trouble::HashMismatch.into());
            }
            other => other?,
        };
        let media_type = if told.media_type.is_empty() { info.media_type } else { told.media_type.clone() };
        let digests = [told.sha256.clone(), info.sha256];
        let (bytes, media_type) = verified(bytes, media_type, digests).await?;
        let size_bytes = i64::try_from(bytes.len()).map_err(|_| Trouble::TooLarge)?;
        fault::point("whatsapp.media.before_store").await;
        let stored = parts.objects.put(bytes).await.map_err(|error| {
            error.log("storing a file of a customer");
            Trouble::NotAsked
        })?;
        Ok(Attachment {
            sha256: stored.to_string(),
            file_name: told.file_name.clone(),
            media_type,
            size_bytes,
            content_id: String::new(),
            inline: false,
        })
    }

    /// A call to Meta within its time; what we wait for ourselves is not counted in.
    async fn call<T>(&self, call: impl Future<Output = Result<T, Missed>>) -> Result<T, Missed> {
        let limit = Duration::from_secs(self.parts.config.fetch_seconds);
        tokio::time::timeout(limit, call).await.unwrap_or(Err(Trouble::Away.into()))
    }
}

/// The file and its type, when it is the one that every digest that was told names, and of that type.
async fn verified(
    bytes: Bytes,
    media_type: String,
    digests: [String; 2],
) -> Result<(Bytes, String), Trouble> {
    let checked = tokio::task::spawn_blocking(move || {
        let found = Digest256::of(&bytes).to_string();
        let told: Vec<&String> = digests.iter().filter(|told| !told.is_empty()).collect();
        if told.is_empty() || told.iter().any(|told| **told != found) {
            return Err(Trouble::HashMismatch);
        }
        if !media::is_of_type(&bytes, &media_type) {
            return Err(Trouble::TypeRefused);
        }
        Ok((bytes, media_type))
    });
    checked.await.unwrap_or(Err(Trouble::NotAsked))
}
