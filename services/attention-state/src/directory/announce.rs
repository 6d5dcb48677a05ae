//! Tells everybody that the directory or the list of revoked tokens changed: this process at once, the others by a ping in
//! the KV bucket. Nothing depends on it: who misses the ping compares versions every few seconds.

use std::time::Duration;

use hilo_kit::Error;
use hilo_kit::nats::{Bucket, Nats};
use tokio::sync::watch;

/// Key of the bucket `directory` that holds the version.
pub const VERSION_KEY: &str = "version";
/// A broker that does not take the ping by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Announces changes.
#[derive(Clone, Debug)]
pub struct Announcer {
    nats: Option<Nats>,
    changes: watch::Sender<u64>,
}

impl Announcer {
    /// Announces by the broker, or only in this process when there is none.
    pub fn new(nats: Option<Nats>) -> Self {
        Self { nats, changes: watch::Sender::new(0) }
    }

    /// Counts the changes announced by this process, for its own caches and reconcilers.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Announces a committed change with the version in force; the ping goes out in the background.
    pub fn announce(&self, version: i64) {
        self.changes.send_modify(|count| *count += 1);
        let Some(nats) = self.nats.clone() else { return };
        tokio::spawn(async move {
            match tokio::time::timeout(PATIENCE, ping(&nats, version)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => error.log("pinging the directory version"),
                Err(_) => tracing::warn!(version, "the broker did not take the directory ping"),
            }
        });
    }
}

async fn ping(nats: &Nats, version: i64) -> Result<(), Error> {
    let bucket = nats.ensure_bucket(Bucket::Directory, Duration::ZERO).await?;
    bucket.put(VERSION_KEY, version.to_string().into()).await.map_err(|error| {
        Error::unavailable("NATS_UNAVAILABLE", "the directory ping was refused").with_source(error)
    })?;
    Ok(())
}
