//! Inbound SMTP (RFC 5321) for forwarding set-ups and evaluation: takes mail for our accounts and nothing else.
//!
//! 250 is said only after the ledger's commit; without a database it is 451 and the sender tries again.

mod budget;
mod data;
mod line;
mod reply;
mod session;
mod transaction;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lifecycle::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::domain::accounts::Accounts;
use budget::Budget;

/// Running sessions get this long to finish their mail when the service stops.
const STOP_GRACE: Duration = Duration::from_secs(8);

/// Limits of the listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Our name.
    pub hostname: String,
    /// Largest mail.
    pub max_message_bytes: usize,
    /// Memory for the contents of all running mails together, in bytes.
    pub max_buffered_bytes: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// A silent client is let go after this time.
    pub idle: Duration,
}

/// A mail whose content has arrived completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMail {
    /// The mail.
    pub raw: Bytes,
    /// Envelope sender; empty is the null sender.
    pub envelope_sender: String,
    /// Per receiving account its key and the envelope recipients that belong to it.
    pub recipients: Vec<(String, Vec<String>)>,
    /// Address of the client.
    pub peer: IpAddr,
    /// Name it gave.
    pub helo: String,
}

/// What stands behind the listener.
#[async_trait]
pub trait MailIntake: Send + Sync + 'static {
    /// The accounts now; `None` while they are not known yet.
    fn accounts(&self) -> Option<Arc<Accounts>>;

    /// Commits the mail for every receiving account, all or none, and answers the ledger ids.
    ///
    /// # Errors
    /// Then nothing may be acknowledged.
    async fn accept(&self, mail: ReceivedMail) -> Result<Vec<Uuid>, Error>;
}

/// Serves until the shutdown begins; then running mails are finished and the rest is told to come back (421).
pub async fn serve(listener: TcpListener, intake: Arc<dyn MailIntake>, limits: Limits, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let budget = Budget::new(limits.max_buffered_bytes);
    let sessions = TaskTracker::new();
    let limits = Arc::new(limits);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, for instance: give running sessions time to end.
                tracing::warn!(%error, "a connection could not be accepted");
                shutdown.sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (intake, limits, stop) = (intake.clone(), limits.clone(), shutdown.clone());
        let budget = budget.clone();
        match places.clone().try_acquire_owned() {
            Ok(place) => {
                sessions.spawn(async move {
                    one(stream, peer.ip(), intake, &limits, budget, stop).await;
                    drop(place);
                });
            }
            Err(_) => {
                sessions.spawn(session::refuse(stream, limits));
            }
        }
    }
    drop(listener);
    sessions.close();
    if tokio::time::timeout(STOP_GRACE, sessions.wait()).await.is_err() {
        tracing::warn!(sessions = sessions.len(), "SMTP sessions were still running at the stop's end; cut");
    }
}

async fn one(
    stream: TcpStream,
    peer: IpAddr,
    intake: Arc<dyn MailIntake>,
    limits: &Limits,
    budget: Budget,
    stop: Shutdown,
) {
    // A reply is one small packet; waiting to fill it would cost 40 ms per command.
    let _ = stream.set_nodelay(true);
    let session = session::run(stream, peer, intake, limits, budget, stop);
    let span = tracing::debug_span!("smtp.session");
    // One hostile client must not end the listener.
    if std::panic::AssertUnwindSafe(session.instrument(span)).catch_unwind().await.is_err() {
        tracing::error!("an SMTP session panicked");
    }
}

#[cfg(test)]
mod tests;
