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
        let asked = Instant::now();
        let whole = refresh.whole.swap(false, Ordering::AcqRel) || asked >= whole_at;
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
