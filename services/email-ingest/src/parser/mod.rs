//! Parses what waits in the ledger: claims, works, commits result and outbox row together; what cannot be parsed is
//! quarantined, visible, and holds nobody back.

mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hilo_kit::consumer::DeadLetterSink;
use hilo_kit::dead::DeadLetters;
use hilo_kit::ids::Uuid;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::objects::Objects;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::accounts::AccountsCache;
use crate::adapter::authentication::SenderAuthentication;
use crate::store::{Claim, PARSER, Store};

/// A claim ends after this time unless its worker lives: how long the mails of a killed process wait.
const CLAIM: Duration = Duration::from_secs(4);
/// Net under the wake-ups.
const POLL: Duration = Duration::from_millis(250);
/// Replayed dead letters are looked for this often.
const REPLAYS: Duration = Duration::from_secs(2);

/// What a parser needs.
#[derive(Clone)]
pub struct Parts {
    /// Ledger.
    pub store: Store,
    /// Object store.
    pub objects: Objects,
    /// Directory.
    pub accounts: AccountsCache,
    /// Checks senders.
    pub authentication: Arc<dyn SenderAuthentication>,
    /// Receivers whose results on fetched mail are believed.
    pub trusted_receivers: Arc<[String]>,
    /// Key of the thread tokens.
    pub thread_key: Arc<[u8]>,
    /// Mails at once.
    pub workers: usize,
}

type Held = Arc<Mutex<HashMap<Uuid, Claim>>>;

/// Runs until the shutdown begins; mails at work are finished.
pub async fn run(parts: Parts, shutdown: Shutdown) {
    let held = Held::default();
    shutdown.spawn("parser claims", keep(parts.store.clone(), held.clone(), shutdown.clone()));
    shutdown.spawn("parser replays", replay(parts.store.clone(), shutdown.clone()));
    let workers = parts.workers;
    let places = Arc::new(Semaphore::new(workers));
    let wake = parts.store.unparsed();
    let parts = Arc::new(parts);
    // Who is ours decides the class of a mail, so nothing is parsed before the directory is known.
    tokio::select! {
        () = parts.accounts.loaded() => {}
        () = shutdown.cancelled() => return,
    }
    while !shutdown.is_cancelled() {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        drop(place);
        let free = places.available_permits();
        let claimed = parts.store.claim(free, CLAIM).await.unwrap_or_else(|error| {
            error.log("claiming mails");
            Vec::new()
        });
        let full = claimed.len() == free;
        for waiting in claimed {
            let Ok(place) = places.clone().try_acquire_owned() else { break };
            let claim = waiting.claim.clone();
            held.lock().insert(claim.id, claim.clone());
            let (parts, held, wake) = (parts.clone(), held.clone(), wake.clone());
            tokio::spawn(async move {
                // A panic loses the claim by time; the attempt stays counted, so it ends in quarantine.
                if std::panic::AssertUnwindSafe(work::one(&parts, waiting)).catch_unwind().await.is_err() {
                    tracing::error!(ledger_id = %claim.id, attempts = claim.attempts, "parsing a mail panicked");
                }
                held.lock().remove(&claim.id);
                drop(place);
                // The next mail of this author may be waiting for this one.
                wake.notify_one();
            });
        }
        if !full {
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }
    // Mails at work end by themselves; what is cut off here is claimed again later.
    let all = u32::try_from(workers).unwrap_or(1);
    let _ = tokio::time::timeout(Duration::from_secs(8), places.acquire_many(all)).await;
}

/// Extends the claims at work.
async fn keep(store: Store, held: Held, shutdown: Shutdown) {
    while shutdown.sleep(CLAIM / 4).await {
        let claims: Vec<Claim> = held.lock().values().cloned().collect();
        if !claims.is_empty()
            && let Err(error) = store.extend(claims, CLAIM).await
        {
            error.log("extending claims");
        }
    }
}

/// Puts mails back into the queue that an operator wants tried again.
async fn replay(store: Store, shutdown: Shutdown) {
    let letters = DeadLetters::new(store.db().clone());
    while shutdown.sleep(REPLAYS).await {
        let replays = match letters.replays(PARSER).await {
            Ok(replays) => replays,
            Err(error) => {
                error.log("reading replays of the parser");
                continue;
            }
        };
        for replay in replays {
            if let Err(error) = store.replay(replay.dead_letter, replay.delivery.id()).await {
                error.log("replaying a quarantined mail");
            }
        }
    }
}
