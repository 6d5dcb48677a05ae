//! The base path: every few seconds, and at start, everything that is ended and not confirmed is kept and confirmed.
//! One thread that cannot be kept is counted and logged, and never holds up the others.

use std::time::Duration;

use hilo_kit::clock;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;

use super::keeper::{Ended, Keeper, Kept};
use crate::config::HistoryConfig;
use crate::domain::InteractionId;

/// Longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Threads of an earlier release that are fetched again between two sweeps, so that they never hold up new ones.
const AGAIN_AT_ONCE: i64 = 200;
/// Pages of one sweep; the next one goes on.
const MAX_PAGES: usize = 10_000;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Ended and not confirmed when it began.
    pub found: usize,
    /// Confirmed by it.
    pub confirmed: usize,
    /// Could not be kept; tried again by the next one.
    pub failed: usize,
}

impl Keeper {
    /// Sweeps until the shutdown begins.
    pub async fn sweep_until(&self, config: HistoryConfig, shutdown: Shutdown) {
        let (mut failures, mut again) = (0, None);
        while !shutdown.is_cancelled() {
            self.drop_old_pages().await;
            let pause = match self.sweep(&config).await {
                Ok(sweep) => {
                    failures = 0;
                    if sweep.found > 0 {
                        tracing::info!(
                            found = sweep.found,
                            confirmed = sweep.confirmed,
                            failed = sweep.failed,
                            "swept"
                        );
                    }
                    config.sweep()
                }
                Err(error) => {
                    error.log("looking for ended threads");
                    self.metrics().sweep_failed();
                    failures += 1;
                    clock::backoff(failures, Duration::from_millis(250), MAX_PAUSE.min(config.sweep() * 4))
                }
            };
            again = self.fetch_again(again).await.unwrap_or_else(|error| {
                error.log("fetching threads of an earlier release again");
                None
            });
            shutdown.sleep(pause).await;
        }
    }

    /// One pass over everything that is ended and not confirmed.
    ///
    /// # Errors
    /// When attention-state or the database cannot be asked; single threads that fail are counted instead.
    pub async fn sweep(&self, config: &HistoryConfig) -> Result<Sweep, Error> {
        let mut sweep = Sweep::default();
        let mut token = String::new();
        for _ in 0..MAX_PAGES {
            let (ended, next) = self.unconfirmed(config.page, token).await?;
            sweep.found += ended.len();
            self.page(ended, &mut sweep).await?;
            if next.is_empty() {
                break;
            }
            token = next;
        }
        self.metrics().unconfirmed(sweep.found.saturating_sub(sweep.confirmed));
        Ok(sweep)
    }

    /// Fetches some of the threads again that an earlier release stored without all that is kept now, after one; answers from
    /// where to go on, `None` from the beginning.
    ///
    /// # Errors
    /// When the database cannot be asked; a thread that fails comes up again when all others had their turn.
    pub async fn fetch_again(&self, after: Option<InteractionId>) -> Result<Option<InteractionId>, Error> {
        let lacking = self.store().lacking_recipients(after, AGAIN_AT_ONCE).await?;
        let ended: Vec<Ended> =
            lacking.into_iter().map(|(id, version)| Ended { id, version, traceparent: None }).collect();
        for (one, kept) in ended.iter().zip(self.keep(&ended).await?) {
            match kept {
                Ok(Kept::At(_)) => {}
                Ok(Kept::Gone) => self.store().settle_recipients(one.id).await?,
                Err(error) => {
                    tracing::error!(interaction = %one.id, error = %error.chain(), "a stored thread could not be fetched again");
                }
            }
        }
        Ok(ended.last().map(|one| one.id))
    }

    async fn page(&self, ended: Vec<Ended>, sweep: &mut Sweep) -> Result<(), Error> {
        let mut stored = Vec::with_capacity(ended.len());
        for (one, kept) in ended.iter().zip(self.keep(&ended).await?) {
            match kept {
                Ok(Kept::At(version)) => stored.push((one.id, version)),
                Ok(Kept::Gone) => {}
                Err(error) => {
                    sweep.failed += 1;
                    tracing::error!(interaction = %one.id, error = %error.chain(), "an ended thread could not be kept");
                }
            }
        }
        if !stored.is_empty() {
            sweep.confirmed += usize::try_from(self.confirm(&stored).await?).unwrap_or(0);
        }
        Ok(())
    }
}
