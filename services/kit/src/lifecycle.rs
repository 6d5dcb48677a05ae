//! Start and stop of a process: one token that says "stop", one tracker that knows what still runs, a hard cap.

use std::collections::BTreeMap;
use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::Error;

/// The longest a stopping process may take: below Kubernetes' default grace of 30 s.
pub const HARD_CAP: Duration = Duration::from_secs(25);

/// Says "stop" to everything it was cloned into and knows which tasks still run.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<u64, String>>>,
    next: Arc<AtomicU64>,
    failed: Arc<AtomicBool>,
}

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drain {
    /// Every task ended.
    Clean,
    /// The hard cap passed; these tasks were still running.
    Capped(Vec<String>),
}

impl Shutdown {
    /// A shutdown nobody has begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// A shutdown that begins on SIGTERM or SIGINT; a second signal ends the process at once.
    pub fn on_signals() -> Self {
        let shutdown = Self::new();
        let handle = shutdown.clone();
        tokio::spawn(async move {
            wait_for_signal().await;
            tracing::info!("stopping on a signal");
            handle.begin();
            wait_for_signal().await;
            tracing::warn!("second signal: ending at once");
            std::process::exit(130);
        });
        shutdown
    }

    /// A shutdown with its own tasks that also begins when this one begins.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), ..Self::default() }
    }

    /// Starts a tracked task. A panic in it begins the shutdown: a silently missing task is worse than a restart.
    pub fn spawn<F>(&self, name: impl Into<String>, future: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.running.lock().insert(number, name.clone());
        let this = self.clone();
        self.tracker.spawn(async move {
            let outcome = std::panic::AssertUnwindSafe(future).catch_unwind().await;
            this.running.lock().remove(&number);
            if outcome.is_err() {
                tracing::error!(task = %name, "a background task panicked; stopping");
                this.failed.store(true, Ordering::Relaxed);
                this.begin();
            }
        })
    }

    /// Waits until the shutdown begins.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// The token itself, for APIs that want one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// True once begun.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// True when a task's panic began the shutdown.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Begins the shutdown; again is harmless.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Waits for the duration or the shutdown; `false` when the shutdown came first.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            () = self.token.cancelled() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }

    /// Waits for every tracked task, at most `hard_cap`, and logs the outcome with the names of those still running;
    /// nothing when there was none to wait for.
    pub async fn drain(&self, hard_cap: Duration) -> Drain {
        self.begin();
        self.tracker.close();
        if self.tracker.is_empty() {
            return Drain::Clean;
        }
        let started = Instant::now();
        let drained = tokio::time::timeout(hard_cap, self.tracker.wait()).await.is_ok();
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if drained {
            tracing::info!(elapsed_ms, "drained");
            return Drain::Clean;
        }
        let left: Vec<String> = self.running.lock().values().cloned().collect();
        tracing::warn!(elapsed_ms, tasks = ?left, "drain hit its hard cap");
        Drain::Capped(left)
    }
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; only SIGKILL stops this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Builds the runtime, runs the service until it ends or a signal comes, drains with [`HARD_CAP`], reports the result.
///
/// `body` gets the shutdown; it returns when the service has stopped. It initialises telemetry itself (it must read
/// the configuration first) and keeps the guard until the end, which flushes.
pub fn run_main<F, Fut>(name: &'static str, body: F) -> ExitCode
where
    F: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    crate::memory::return_freed_memory();
    crate::install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name(name).build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: the runtime could not be built: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        let shutdown = Shutdown::on_signals();
        let outcome = until_stopped(&shutdown, body(shutdown.clone())).await;
        let drain = shutdown.drain(HARD_CAP).await;
        match outcome {
            Some(Ok(())) if drain == Drain::Clean && !shutdown.failed() => ExitCode::SUCCESS,
            Some(Ok(())) => ExitCode::FAILURE,
            Some(Err(error)) => {
                tracing::error!(service = name, error = %error.chain(), "ended with an error");
                eprintln!("{name}: {error}");
                ExitCode::FAILURE
            }
            None => {
                eprintln!("{name}: did not stop within {} s", HARD_CAP.as_secs());
                ExitCode::FAILURE
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

/// `None` when the body was still running [`HARD_CAP`] after the shutdown began.
async fn until_stopped<Fut>(shutdown: &Shutdown, body: Fut) -> Option<Result<(), Error>>
where
    Fut: Future<Output = Result<(), Error>>,
{
    let capped = async {
        shutdown.cancelled().await;
        tokio::time::sleep(HARD_CAP).await;
    };
    tokio::select! {
        outcome = body => Some(outcome),
        () = capped => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drain_names_what_is_still_running() {
        let shutdown = Shutdown::new();
        shutdown.spawn("stuck", std::future::pending());
        let token = shutdown.clone();
        shutdown.spawn("polite", async move { token.cancelled().await });
        assert_eq!(shutdown.drain(Duration::from_secs(5)).await, Drain::Capped(vec!["stuck".to_owned()]));
    }

    #[tokio::test]
    async fn a_panicking_task_begins_the_shutdown() {
        let shutdown = Shutdown::new();
        shutdown.spawn("broken", async { panic!("on purpose") });
        shutdown.cancelled().await;
        assert!(shutdown.failed());
        assert_eq!(shutdown.drain(Duration::from_secs(60)).await, Drain::Clean);
    }
}
