//! Follows the bucket: every lease, and whether it is still the same bucket.

use std::time::Duration;

use async_nats::jetstream::kv;
use futures::StreamExt;
use hilo_kit::error::Error;
use hilo_kit::health::Condition;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::{Bucket, Nats};
use tokio::sync::mpsc;
use tokio::time::Instant as Monotonic;

use super::PresenceBoard;
use crate::domain::{Changed, Instant};
use crate::router::Message;

/// How often the bucket is asked whether it is still the same; also how soon lost contact is noticed.
const CHECK: Duration = Duration::from_secs(1);
const CHECK_LIMIT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(200);

/// Watches until the shutdown begins; the router hears of every change.
pub async fn watch(
    board: PresenceBoard,
    nats: Nats,
    router: mpsc::Sender<Message>,
    contact: Condition,
    stop: Shutdown,
) {
    while !stop.is_cancelled() {
        let watched = tokio::select! {
            watched = follow(&board, &nats, &router, &contact) => watched,
            () = stop.cancelled() => return,
        };
        let changed = board.shared.sessions.lock().disconnected();
        contact.set(false);
        if let Err(error) = watched {
            tracing::info!(error = %error.chain(), "presence is unknown for now");
        }
        if router.send(Message::Presence(changed)).await.is_err() || !stop.sleep(RETRY).await {
            return;
        }
    }
}

async fn follow(
    board: &PresenceBoard,
    nats: &Nats,
    router: &mpsc::Sender<Message>,
    contact: &Condition,
) -> Result<(), Error> {
    let lost = || Error::unavailable("PRESENCE_UNAVAILABLE", "contact with the presence bucket is lost");
    let clock = &board.shared.clock;
    let Some(now) = clock.now() else { return Ok(()) };
    let mut connections = nats.connections();
    connections.mark_unchanged();
    // Values stay longer than their lease, which the readers judge by instants.
    let bucket = nats.ensure_bucket(Bucket::Presence, board.shared.lease * 2).await?;
    let mut identity = Identity::read(nats, &bucket).await?;
    let mut entries = bucket.watch_with_history(">").await.map_err(|error| lost().with_source(error))?;
    *board.shared.bucket.lock() = Some(bucket.clone());
    let begun = board.shared.sessions.lock().connected(now);
    tell(router, begun).await;
    contact.set(true);
    let mut check = tokio::time::interval_at(Monotonic::now() + CHECK, CHECK);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let deadline = board.shared.sessions.lock().next_deadline();
        let wait = deadline.map_or(CHECK, |deadline| clock.until(deadline));
        tokio::select! {
            entry = entries.next() => {
                let entry = entry.ok_or_else(lost)?.map_err(|error| lost().with_source(error))?;
                identity.revision = identity.revision.max(entry.revision);
                if let Some(changed) = apply(board, &entry) {
                    tell(router, changed).await;
                }
            }
            _ = connections.changed() => return Err(lost()),
            _ = check.tick() => {
                let now = tokio::time::timeout(CHECK_LIMIT, Identity::read(nats, &bucket)).await.map_err(|_| lost())??;
                if !nats.is_connected() || !identity.continues_as(&now) {
                    return Err(lost());
                }
                identity = now;
            }
            () = tokio::time::sleep(wait) => {
                let Some(now) = clock.now() else { continue };
                let changed = board.shared.sessions.lock().tick(now);
                if let Some(changed) = changed {
                    tell(router, changed).await;
                }
            }
        }
    }
}

/// Which bucket it is and how far it has come: a re-created one begins at another instant, one restored from an older
/// copy at a lower revision.
#[derive(Debug)]
struct Identity {
    created: String,
    revision: u64,
}

impl Identity {
    /// Asks the server; `Store::status` of async-nats 0.51 answers what it read when the bucket was opened.
    async fn read(nats: &Nats, bucket: &kv::Store) -> Result<Self, Error> {
        let stream = nats.jetstream().get_stream(&bucket.stream_name).await.map_err(|error| {
            Error::unavailable("PRESENCE_UNAVAILABLE", "the presence bucket cannot be read")
                .with_source(error)
        })?;
        let info = stream.cached_info();
        Ok(Self { created: info.created.to_string(), revision: info.state.last_sequence })
    }

    fn continues_as(&self, now: &Self) -> bool {
        self.created == now.created && self.revision <= now.revision
    }
}

async fn tell(router: &mpsc::Sender<Message>, changed: Changed) {
    // A router that ended is noticed by its owner.
    let _ = router.send(Message::Presence(changed)).await;
}

fn apply(board: &PresenceBoard, entry: &kv::Entry) -> Option<Changed> {
    let (agent, session) = entry.key.split_once('.')?;
    let mut sessions = board.shared.sessions.lock();
    match entry.operation {
        kv::Operation::Delete | kv::Operation::Purge => sessions.left(agent, session),
        kv::Operation::Put => {
            let seen = std::str::from_utf8(&entry.value).ok()?.parse().ok().map(Instant)?;
            // An instant from the future would keep an agent present for longer than a lease.
            let now = board.shared.clock.now().unwrap_or(seen);
            sessions.seen(agent, session, seen.min(now))
        }
    }
}
