//! Real parts for tests: a private PostgreSQL and a private nats-server on free ports, child processes that cannot
//! outlive the test, and waiting for a condition instead of a time.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use hilo_test_support::{Nats, Postgres};
//! let url = Postgres::shared().await?.fresh_database().await?; // a new, empty database on one server per test process
//! let nats = Nats::start().await?;                             // a server of its own, gone when dropped
//! # let _ = (url, nats.url()); Ok(()) }
//! ```

mod dovecot;
mod nats;
mod oidc;
mod ports;
mod postgres;
mod process;
mod reading;

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Result;

pub use dovecot::Dovecot;
pub use nats::Nats;
pub use oidc::OidcIssuer;
pub use ports::free_port;
pub use postgres::Postgres;
pub use process::{Launch, Process};
pub use reading::Reader;

/// What a question that is asked at the end of the deadline gets beyond it.
const LAST_QUESTION: Duration = Duration::from_secs(10);

/// Waits until `condition` answers true, asking every ten milliseconds. A question that is never answered does not outlive the
/// deadline by more than ten seconds.
///
/// # Errors
/// When it has not before the deadline; the message says what was waited for.
pub async fn eventually<F>(what: &str, deadline: Duration, mut condition: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = bool>,
{
    let started = Instant::now();
    loop {
        let patience = deadline.saturating_sub(started.elapsed()) + LAST_QUESTION;
        let answer = tokio::time::timeout(patience, condition()).await;
        let holds =
            answer.map_err(|_| anyhow::anyhow!("asked without an answer for {patience:?}: {what}"))?;
        if holds {
            return Ok(());
        }
        anyhow::ensure!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
