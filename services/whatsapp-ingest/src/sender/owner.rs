//! The owner of one number: while it holds the lease it doubts what an earlier owner left, ends doubts that were waited for long
//! enough, and begins what is due, never faster than the number is granted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{Keeper, Lease, TERM};
use hilo_kit::lifecycle::Shutdown;
use tokio::task::{self, JoinError, JoinSet};

use super::{Parts, attempt};
use crate::config::SenderConfig;
use crate::domain::pace::{NumberPace, PairPace};
use crate::store::{Ask, Begun, Held};

/// Net under the wake-ups.
const POLL: Duration = Duration::from_secs(1);
/// Attempts that nobody works on are looked for this often, and at once after a beginning that failed.
const RECOVER: Duration = Duration::from_secs(10);
/// A beginning whose commit nobody learned of may still be committed: for so long it is told when sends are recovered. The
/// database ends a transaction that stands still, or a statement, much earlier.
const LOST_FOR: Duration = Duration::from_secs(600);

/// The running attempts, each with its send.
#[derive(Default)]
struct AtWork {
    tasks: JoinSet<()>,
    sends: HashMap<task::Id, Uuid>,
}

impl AtWork {
    fn begin(&mut self, send_id: Uuid, attempt: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(attempt).id();
        self.sends.insert(id, send_id);
    }

    fn sends(&self) -> Vec<Uuid> {
        self.sends.values().copied().collect()
    }

    /// True when the attempt panicked.
    fn ended(&mut self, ended: Result<(task::Id, ()), JoinError>) -> bool {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        self.sends.remove(&id);
        ended.is_err()
    }

    fn collect(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(ended);
        }
    }
}

/// The pace towards one customer.
pub(super) fn pair_pace(config: &SenderConfig) -> PairPace {
    PairPace::granted(config.pair_seconds, config.pair_burst)
}

/// Starts owning.
pub(super) fn spawn(parts: Arc<Parts>, account: String, holder: &str, shutdown: &Shutdown) {
    let db = parts.store.db().clone();
    let keeper = Keeper::spawn(db, format!("whatsapp-send/{account}"), holder, TERM, shutdown);
    let stop = shutdown.clone();
    shutdown.spawn(format!("whatsapp sender {account}"), async move {
        let mut owner =
            Owner { parts, account, keeper, at_work: AtWork::default(), pace: None, lost: Vec::new(), stop };
        while !owner.stop.is_cancelled() {
            let lease = tokio::select! {
                lease = owner.keeper.held() => lease,
                () = tokio::time::sleep(POLL), if !owner.lost.is_empty() => {
                    owner.take_back().await;
                    continue;
                }
                () = owner.stop.cancelled() => break,
            };
            let Some(lease) = lease else { break };
            owner.own(&lease).await;
        }
        // Requests under way are heard out: what is cut off is in doubt.
        while owner.at_work.tasks.join_next().await.is_some() {}
    });
}

struct Owner {
    parts: Arc<Parts>,
    account: String,
    keeper: Keeper,
    at_work: AtWork,
    pace: Option<(u32, NumberPace, Instant)>,
    /// Beginnings that ended with an error: what they began, if they did, has no task.
    lost: Vec<(Uuid, Instant)>,
    stop: Shutdown,
}

impl Owner {
    /// Works under one epoch, until it is lost or the shutdown begins.
    async fn own(&mut self, lease: &Lease) {
        let mut recovered: Option<Instant> = None;
        let wake = self.parts.store.unsent(&self.account);
        while !self.stop.is_cancelled() {
            let Some(current) = self.keeper.current().filter(|now| now.epoch == lease.epoch) else { return };
            self.at_work.collect();
            if recovered.is_none_or(|at| at.elapsed() >= RECOVER) {
                recovered = self.recover(&current).await;
            }
            let mut pause = Duration::ZERO;
            if recovered.is_some() {
                match self.look(&current).await {
                    Ok(wait) => pause = wait,
                    Err(error) => {
                        error.log("beginning sends");
                        // It may have committed all the same: then the next look finds attempts that nobody works on.
                        (recovered, pause) = (None, POLL);
                    }
                }
            } else {
                pause = pause.max(Duration::from_millis(200));
            }
            if pause.is_zero() {
                continue;
            }
            tokio::select! {
                // A send committed during the look has left its sign here.
                () = wake.notified() => {}
                Some(ended) = self.at_work.tasks.join_next_with_id() => if self.at_work.ended(ended) {
                    tracing::error!(account = %self.account, "an attempt panicked; its send is in doubt");
                    recovered = None;
                },
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Says of beginnings that were lost here, while another replica owns the number, that nothing of them left: it would be in doubt there.
    async fn take_back(&mut self) {
        self.lost.retain(|(_, since)| since.elapsed() < LOST_FOR);
        let lost: Vec<Uuid> = self.lost.iter().map(|(begun_by, _)| *begun_by).collect();
        match self.parts.store.never_left(&self.account, &lost).await {
            Ok(0) => {}
            Ok(count) => {
                tracing::warn!(account = %self.account, count, "sends whose beginning was lost here did not leave; they are planned again");
            }
            Err(error) => error.log("taking back lost beginnings"),
        }
    }

    /// Doubts what nobody works on; when that was done.
    async fn recover(&mut self, lease: &Lease) -> Option<Instant> {
        let doubt = Duration::from_secs(self.parts.config.doubt_seconds);
        self.lost.retain(|(_, since)| since.elapsed() < LOST_FOR);
        let lost: Vec<Uuid> = self.lost.iter().map(|(begun_by, _)| *begun_by).collect();
        match self.parts.store.recover(&self.account, lease, &self.at_work.sends(), &lost, doubt).await {
            Ok(0) => Some(Instant::now()),
            Ok(count) => {
                tracing::warn!(account = %self.account, count, "attempts were cut off; a status is waited for");
                Some(Instant::now())
            }
            Err(error) => {
                error.log("recovering sends");
                None
            }
        }
    }

    /// Ends doubts and begins what is due; answers how long nothing is to be done, zero for at once.
    async fn look(&mut self, lease: &Lease) -> Result<Duration, Error> {
        let due = self.parts.store.due(&self.account).await?;
        if due.doubts {
            let ended = self.parts.store.end_doubts(&self.account, lease).await?;
            tracing::warn!(account = %self.account, ended, "nobody told what became of messages; they are unknown");
        }
        let idle = due.next.map_or(POLL, |next| next.clamp(Duration::from_millis(10), POLL));
        if !due.sends && !due.doubts {
            return Ok(idle);
        }
        let Some(numbers) = self.parts.numbers.current() else { return Ok(POLL) };
        let number = match numbers.get(&self.account) {
            Some(number) if number.active => number,
            Some(_) => return self.hold(lease, Held::SwitchedOff).await,
            None => return self.hold(lease, Held::Unknown).await,
        };
        let (pace, now) = self.pace(number.rate);
        let granted = pace.free(now);
        let free = granted.min(self.parts.config.concurrency.saturating_sub(self.at_work.tasks.len()));
        if free == 0 {
            return Ok(if granted == 0 { pace.wait(now).max(Duration::from_millis(1)) } else { POLL });
        }
        let begun = self.begin(lease, free).await?;
        self.spend(begun.picked.len());
        let full = begun.picked.len() + begun.others >= free;
        for one in begun.picked {
            let attempt =
                attempt::run(self.parts.clone(), one.clone(), self.keeper.clone(), self.stop.clone());
            self.at_work.begin(one.send_id, attempt);
        }
        match (begun.paused, full) {
            (Some(pause), _) => Ok(pause.clamp(Duration::from_millis(10), POLL)),
            (None, true) => Ok(Duration::ZERO),
            (None, false) => Ok(idle),
        }
    }

    /// Begins at most so many, of them at most half of what runs at once with files: while Meta's uploads hang, texts go out.
    async fn begin(&mut self, lease: &Lease, limit: usize) -> Result<Begun, Error> {
        let config = &self.parts.config;
        let (files, begun_by) = ((config.concurrency / 2).max(1), Uuid::now_v7());
        let ask = Ask { limit, files, pace: pair_pace(config), begun_by };
        let begun = self.parts.store.begin(&self.account, lease, ask).await;
        if begun.is_err() {
            self.lost.push((begun_by, Instant::now()));
        }
        begun
    }

    /// Nothing is begun for an account that sends nothing; whoever waits for its messages is told.
    async fn hold(&self, lease: &Lease, held: Held) -> Result<Duration, Error> {
        let count = self.parts.store.hold(&self.account, lease, held).await?;
        if count > 0 {
            tracing::warn!(account = %self.account, count, reason = held.reason(), "sends wait for their number");
        }
        Ok(POLL)
    }

    /// The pace now, with the owner's clock.
    fn pace(&mut self, rate: u32) -> (NumberPace, Duration) {
        let (known, pace, since) =
            self.pace.get_or_insert_with(|| (rate, NumberPace::new(rate), Instant::now()));
        if *known != rate {
            (*known, *pace) = (rate, pace.regranted(rate));
        }
        (*pace, since.elapsed())
    }

    fn spend(&mut self, count: usize) {
        if let Some((_, pace, since)) = &mut self.pace {
            // Counted from when they leave, after the commit: earlier ones would stand closer to these than is granted.
            pace.spend(since.elapsed(), count);
        }
    }
}
