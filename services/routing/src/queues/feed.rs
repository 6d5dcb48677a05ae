//! One reading for all who watch at this replica: taken when something may have changed, at most twice a second, and only
//! while somebody watches.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::lifecycle::Shutdown;
use hilo_proto::internal::v1::ReadQueuesResponse;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::WINDOW_SECONDS;
use crate::attention::AttentionState;

/// Two readings never begin closer than this; also what a watcher is promised at most.
const BREATH: Duration = Duration::from_millis(500);
/// Without any news a reading is taken this often, because items become overdue and the window moves on by themselves.
const LONGEST: Duration = Duration::from_secs(5);

/// The latest reading.
pub type Reading = Option<Arc<ReadQueuesResponse>>;

/// The shared reader; clones share it.
#[derive(Clone, Debug)]
pub struct Feed {
    attention: AttentionState,
    touched: Arc<Notify>,
    joined: Arc<Notify>,
    latest: watch::Sender<Reading>,
}

impl Feed {
    /// `touched` is told whenever something may have changed.
    pub fn new(attention: AttentionState, touched: Arc<Notify>) -> Self {
        Self { attention, touched, joined: Arc::default(), latest: watch::Sender::new(None) }
    }

    /// Follows the readings; the first one comes at once.
    pub fn join(&self) -> watch::Receiver<Reading> {
        let mut readings = self.latest.subscribe();
        // What was read before nobody may have refreshed since.
        readings.mark_unchanged();
        self.joined.notify_one();
        readings
    }

    /// One reading; one that failed is taken again soon while somebody watches.
    async fn read(&self, failing: &mut bool) {
        match self.attention.queues(WINDOW_SECONDS).await {
            Ok(reading) => {
                *failing = false;
                self.latest.send_replace(Some(Arc::new(reading)));
            }
            Err(error) => {
                if !*failing {
                    error.log("reading queues");
                }
                *failing = true;
                if self.latest.receiver_count() > 0 {
                    self.joined.notify_one();
                }
            }
        }
    }

    /// Reads until the shutdown begins.
    pub async fn run(self, stop: Shutdown) {
        let mut failing = false;
        loop {
            let wanted = async {
                if self.latest.receiver_count() == 0 {
                    self.joined.notified().await;
                    return;
                }
                tokio::select! {
                    () = self.touched.notified() => {}
                    () = self.joined.notified() => {}
                    () = tokio::time::sleep(LONGEST) => {}
                }
            };
            tokio::select! {
                () = wanted => {}
                () = stop.cancelled() => return,
            }
            let begun = Instant::now();
            self.read(&mut failing).await;
            // A reading that takes long is not begun again at once: half of the time belongs to others.
            let pause = BREATH.max(begun.elapsed() * 2).saturating_sub(begun.elapsed());
            if !stop.sleep(pause).await {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use hilo_kit::auth::{ServiceTokens, generate_keys};
    use hilo_kit::grpc;

    use super::*;
    use crate::clock::DatabaseClock;

    impl Feed {
        /// Every reading fails.
        pub(crate) fn without_answers() -> Self {
            let tokens = ServiceTokens::new(&generate_keys().unwrap().auth_config("hilo"), "routing");
            let nobody = grpc::internal("http://127.0.0.1:1", &tokens).unwrap();
            Self::new(AttentionState::new(nobody, DatabaseClock::default()), Arc::default())
        }
    }

    #[tokio::test]
    async fn a_failed_reading_is_taken_again_only_for_those_who_watch() {
        let (feed, mut failing) = (Feed::without_answers(), false);
        feed.read(&mut failing).await;
        assert!(failing);
        assert_eq!(feed.joined.notified().now_or_never(), None, "nobody watches");
        let _readings = feed.join();
        feed.joined.notified().await;
        feed.read(&mut failing).await;
        assert_eq!(feed.joined.notified().now_or_never(), Some(()));
    }
}
