//! The routing configuration: read at once when the directory changes, and every few seconds by version.

use std::time::Duration;

use hilo_kit::directory::DirectoryCache;
use hilo_kit::lifecycle::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::attention::AttentionState;
use crate::router::Message;

/// The configuration is asked for by version this often.
const REFRESH: Duration = Duration::from_secs(2);
/// And as a whole this often: an agent's pause does not raise its version, and the hint about it may be lost.
const WHOLE: Duration = Duration::from_secs(15);
/// After a failure.
const RETRY: Duration = Duration::from_millis(200);
/// Two refreshes never follow closer than this, however often somebody asks.
const BREATH: Duration = Duration::from_millis(20);

/// How the router asks for the configuration.
#[derive(Clone, Debug, Default)]
pub struct Refresh {
    wanted: Arc<Notify>,
    whole: Arc<AtomicBool>,
}

impl Refresh {
    /// Asks for it now, if its version is new.
    pub fn by_version(&self) {
        self.wanted.notify_one();
    }

    /// Asks for all of it now: rotation pointers and last offers move without a new version.
    pub fn whole(&self) {
        self.whole.store(true, Ordering::Release);
        self.wanted.notify_one();
    }

    /// Whether all of it is to be asked for, and the instant the answer counts from. The clock is read after the request
    /// was taken: an answer that counts from before it would use it up and be of no use to whoever made it.
    fn take(&self, whole_at: Instant, now: impl FnOnce() -> Instant) -> (bool, Instant) {
        let requested = self.whole.swap(false, Ordering::AcqRel);
        let asked = now();
        (requested || asked >= whole_at, asked)
    }
}

/// Keeps the router's configuration fresh until the shutdown begins.
pub async fn follow(
    attention: AttentionState,
    directory: DirectoryCache,
    refresh: Refresh,
    router: mpsc::Sender<Message>,
    stop: Shutdown,
) {
    let mut changes = directory.watch();
    let (mut known, mut whole_at, mut failing) = (0, Instant::now(), false);
    loop {
        let (whole, asked) = refresh.take(whole_at, Instant::now);
        let answer = tokio::select! {
            answer = attention.config(if whole { 0 } else { known }) => answer,
            () = stop.cancelled() => return,
        };
        let pause = match answer {
            Ok(answer) => {
                failing = false;
                if whole {
                    whole_at = Instant::now() + WHOLE;
                }
                known = answer.config_version;
                let changed = answer.changed;
                let message = Message::Config { config: Box::new(answer), asked };
                if changed && router.send(message).await.is_err() {
                    return;
                }
                REFRESH
            }
            Err(error) => {
                if !failing {
                    error.log("reading the routing configuration");
                }
                failing = true;
                if whole {
                    refresh.whole.store(true, Ordering::Release);
                }
                RETRY
            }
        };
        tokio::time::sleep(BREATH).await;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = refresh.wanted.notified() => {}
            // The cache lives as long as its task, which ends with the shutdown.
            _ = changes.changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_not_used_up_by_a_question_from_before_it() {
        let refresh = Refresh::default();
        let start = Instant::now();
        let later = start + WHOLE;
        // A partition is held between the question's instant and the question.
        let taken = refresh.take(later, || {
            refresh.whole();
            start
        });
        assert_eq!(taken, (false, start));
        assert_eq!(refresh.take(later, || start), (true, start), "the request still stands");
        assert_eq!(refresh.take(later, || start), (false, start), "once");
        assert_eq!(refresh.take(later, || later), (true, later), "and by time");
    }
}
