//! From the ledger to INBOUND and DELIVERY: bodies are taken apart in the order of their arrival, by the one replica that holds
//! the parser's lease, and everything new of a batch is committed together with what it tells.
//!
//! Nobody suffers for a neighbour: what may be at fault comes alone, only then an attempt is counted, and between two attempts
//! there is a pause in which the others go on.

mod sorting;
mod sweep;

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::error::{Class, Error};
use hilo_kit::fault;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{Keeper, Lease, TERM};
use hilo_kit::lifecycle::Shutdown;
use tokio::sync::Notify;

use crate::accounts::NumbersCache;
use crate::domain::accounts::Numbers;
use crate::domain::webhook::VERSION;
use crate::metrics;
use crate::store::{MAX_ATTEMPTS, Parsed, SLOW, Store};

/// Bodies of one batch.
const BATCH: i64 = 200;
/// Net under the wake-ups.
const POLL: Duration = Duration::from_millis(250);
/// Pause after the database was away.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until the shutdown begins. `patience`: how long a body waits for a directory that knows its number.
pub async fn run(store: Store, numbers: NumbersCache, patience: Duration, shutdown: Shutdown) {
    // Which account a body is for is known only with the directory.
    tokio::select! {
        () = numbers.loaded() => {}
        () = shutdown.cancelled() => return,
    }
    let holder = format!("whatsapp-ingest-{}", Uuid::new_v4());
    let keeper = Keeper::spawn(store.db().clone(), "whatsapp-parse", holder, TERM, &shutdown);
    let overtaken = Arc::new(Notify::new());
    let looks_again = overtaken.clone();
    let sweep = sweep::run(store.clone(), numbers.clone(), keeper.clone(), looks_again, shutdown.clone());
    shutdown.spawn("whatsapp sweep", sweep);
    let wake = store.unparsed();
    let parser = Parser { store, numbers, patience, overtaken };
    while !shutdown.is_cancelled() {
        let held = tokio::select! {
            held = keeper.held() => held,
            () = shutdown.cancelled() => return,
        };
        let Some(lease) = held else { return };
        while !shutdown.is_cancelled() && keeper.current().is_some_and(|now| now.epoch == lease.epoch) {
            let full = match parser.one_batch(&lease).await {
                Ok(count) => count > 0,
                Err(error) => {
                    error.log("parsing webhooks");
                    shutdown.sleep(PAUSE).await;
                    false
                }
            };
            if !full {
                tokio::select! {
                    () = wake.notified() => {}
                    () = tokio::time::sleep(POLL) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
        // Lost: another replica goes on; wait for the keeper to say so.
        shutdown.sleep(Duration::from_millis(50)).await;
    }
}

/// What a failed commit says of the bodies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The database is away, or another replica owns them: none of them is at fault.
    Nobody,
    /// It took too long: one of them may be the reason, or the database is slow.
    Slow,
    /// One of them is the reason.
    Body,
}

fn fault_of(error: &Error) -> Fault {
    if SLOW.contains(&error.reason()) {
        return Fault::Slow;
    }
    match error.class() {
        Class::Unavailable | Class::Conflict | Class::Rejected => Fault::Nobody,
        Class::Invalid
        | Class::Missing
        | Class::Duplicate
        | Class::Denied
        | Class::Exhausted
        | Class::Corrupt
        | Class::Internal => Fault::Body,
    }
}

struct Parser {
    store: Store,
    numbers: NumbersCache,
    patience: Duration,
    /// Rung when a stray was judged by a directory that is not the current one any more.
    overtaken: Arc<Notify>,
}

impl Parser {
    /// Works one batch; answers its size.
    async fn one_batch(&self, lease: &Lease) -> Result<usize, Error> {
        let known = self.numbers.current().unwrap_or_default();
        let claimed = self.store.claim(lease, BATCH, known.version()).await?;
        let count = claimed.len();
        if count == 0 {
            return Ok(0);
        }
        let mut batch = Vec::with_capacity(count);
        for body in claimed {
            let (id, attempts) = (body.id, body.attempts);
            if attempts > MAX_ATTEMPTS {
                // Its attempts ended with their process.
                self.bury(lease, id, attempts, "PARSE_ATTEMPTS_EXHAUSTED").await?;
                continue;
            }
            let (known, patience) = (known.clone(), self.patience);
            // A panic costs this body its place and nobody else.
            match tokio::task::spawn_blocking(move || sorting::take_apart(body, &known, patience)).await {
                Ok(Some(parsed)) => batch.push(Arc::new(parsed)),
                Ok(None) => self.bury(lease, id, attempts, "WEBHOOK_UNREADABLE").await?,
                Err(_) => self.bury(lease, id, attempts, "PARSER_PANICKED").await?,
            }
        }
        fault::point("whatsapp.parse.before_commit").await;
        if !batch.is_empty() {
            let batch: Arc<[Arc<Parsed>]> = batch.into();
            let ended = self.commit(lease, &batch).await;
            self.look_again(&batch, &known);
            ended?;
        }
        fault::point("whatsapp.parse.after_commit").await;
        Ok(count)
    }

    /// A directory that came before the strays it might place were committed has looked for them in vain: then it is asked again.
    fn look_again(&self, batch: &[Arc<Parsed>], judged_by: &Numbers) {
        let behind =
            batch.iter().flat_map(|one| &one.strays).any(|stray| sorting::may_be_behind(stray.reason));
        if behind && self.numbers.current().is_some_and(|now| now.version() != judged_by.version()) {
            self.overtaken.notify_one();
        }
    }

    async fn commit(&self, lease: &Lease, batch: &Arc<[Arc<Parsed>]>) -> Result<(), Error> {
        let error = match self.store.parsed(lease, batch.clone(), VERSION).await {
            Ok(_) => {
                batch.iter().for_each(|one| tell(one));
                return Ok(());
            }
            Err(error) => error,
        };
        match (fault_of(&error), batch.as_ref()) {
            (Fault::Nobody, _) => {
                // Whoever holds the lease goes on with them.
                self.store.put_back(lease, batch, false).await?;
                Err(error)
            }
            (Fault::Slow | Fault::Body, [one]) => self.failed(lease, one, &error).await,
            (Fault::Slow, _) => {
                error.log("committing a batch of webhooks took too long; each comes alone now");
                self.store.put_back(lease, batch, true).await
            }
            (Fault::Body, _) => {
                error.log("committing a batch of webhooks; one by one now");
                self.one_by_one(lease, batch).await
            }
        }
    }

    async fn one_by_one(&self, lease: &Lease, batch: &[Arc<Parsed>]) -> Result<(), Error> {
        let mut left = batch;
        while let [one, behind @ ..] = left {
            match self.store.parsed(lease, [one.clone()].into(), VERSION).await {
                Ok(_) => tell(one),
                Err(error) if fault_of(&error) == Fault::Nobody => {
                    self.store.put_back(lease, left, false).await?;
                    return Err(error);
                }
                Err(error) => self.failed(lease, one, &error).await?,
            }
            left = behind;
        }
        Ok(())
    }

    /// A body failed alone: again after a pause, and a dead letter after the last attempt.
    async fn failed(&self, lease: &Lease, one: &Parsed, error: &Error) -> Result<(), Error> {
        let attempts = if one.alone { one.attempts } else { self.store.count_attempt(lease, one.id).await? };
        tracing::error!(webhook = %one.id, attempts, "a webhook cannot be committed");
        error.log("committing a parsed webhook");
        if attempts >= MAX_ATTEMPTS {
            self.bury(lease, one.id, attempts, error.reason()).await?;
        }
        Ok(())
    }

    async fn bury(&self, lease: &Lease, id: Uuid, attempts: i32, reason: &str) -> Result<(), Error> {
        if self.store.quarantine(lease, id, attempts, reason).await? {
            tracing::error!(webhook = %id, reason, "a webhook cannot be parsed; it is a dead letter");
            metrics::stray(reason, 1);
        }
        Ok(())
    }
}

/// Says what operators should know of a committed body.
fn tell(parsed: &Parsed) {
    for stray in &parsed.strays {
        metrics::stray(stray.reason, stray.count);
        tracing::error!(
            webhook = %parsed.id, reason = stray.reason, place = %stray.place, count = stray.count,
            "a part of a webhook cannot be handed over; it is a dead letter"
        );
    }
    for (place, notice) in &parsed.notices {
        metrics::notice(notice.alarming);
        if notice.alarming {
            tracing::warn!(
                webhook = %parsed.id, %place, field = %notice.field, event = %notice.event,
                business_account = %notice.business_account_id, "Meta has a notice about an account"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_body_s_fault_counts_against_it() {
        let table = [
            (Error::unavailable("DATABASE_UNAVAILABLE", ""), Fault::Nobody),
            (Error::unavailable("DATABASE_BUSY", ""), Fault::Nobody),
            (Error::rejected("STALE_EPOCH", ""), Fault::Nobody),
            (Error::conflict("LOCK_TIMEOUT", ""), Fault::Nobody),
            (Error::unavailable("STATEMENT_TIMEOUT", ""), Fault::Slow),
            (Error::unavailable("COMMIT_UNKNOWN", ""), Fault::Slow),
            (Error::internal("CONSTRAINT_VIOLATED", ""), Fault::Body),
            (Error::invalid("INVALID_TEXT", ""), Fault::Body),
        ];
        for (error, expected) in table {
            assert_eq!(fault_of(&error), expected, "{}", error.reason());
        }
    }
}
