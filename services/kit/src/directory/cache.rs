//! Keeps the directory fresh: asks attention-state every two seconds by version, and at once after a ping in the KV.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use hilo_proto::internal::v1::GetDirectoryRequest;
use hilo_proto::internal::v1::directory_feed_service_client::DirectoryFeedServiceClient;
use tokio::sync::{Notify, watch};

use super::Directory;
use crate::auth::ServiceTokens;
use crate::config::Endpoints;
use crate::error::Error;
use crate::grpc::{self, InternalChannel, with_deadline};
use crate::lifecycle::Shutdown;
use crate::nats::{Bucket, Nats};

const REFRESH: Duration = Duration::from_secs(2);
/// A whole directory may be larger than an ordinary message.
const MAX_DIRECTORY: usize = 64 * 1024 * 1024;

/// Feeds a [`Directory`] to this service.
#[derive(Clone, Debug)]
pub struct DirectoryCache {
    current: watch::Receiver<Arc<Directory>>,
}

impl DirectoryCache {
    /// Starts refreshing. Until the first answer the directory is empty and [`Directory::is_loaded`] is false.
    ///
    /// # Errors
    /// `INVALID_ENDPOINT`.
    pub fn start(
        endpoints: &Endpoints,
        tokens: &ServiceTokens,
        nats: &Nats,
        shutdown: &Shutdown,
    ) -> Result<Self, Error> {
        Self::start_every(REFRESH, endpoints, tokens, nats, shutdown)
    }

    /// Like [`Self::start`], asking every `refresh` when no ping comes: a test of the ping sets it so long that only the
    /// ping can have brought a change.
    ///
    /// # Errors
    /// `INVALID_ENDPOINT`.
    pub fn start_every(
        refresh: Duration,
        endpoints: &Endpoints,
        tokens: &ServiceTokens,
        nats: &Nats,
        shutdown: &Shutdown,
    ) -> Result<Self, Error> {
        let client = DirectoryFeedServiceClient::new(grpc::internal(&endpoints.attention_state, tokens)?)
            .max_decoding_message_size(MAX_DIRECTORY);
        let (sender, current) = watch::channel(Arc::new(Directory::default()));
        let pinged = Arc::new(Notify::new());
        let (nats, heard, stop) = (nats.clone(), pinged.clone(), shutdown.clone());
        shutdown.spawn("directory ping", async move { listen(&nats, &heard, &stop).await });
        let stop = shutdown.clone();
        shutdown.spawn("directory cache", async move {
            ask_again(client, &sender, &pinged, &stop, refresh).await;
        });
        Ok(Self { current })
    }

    /// A cache that never changes, for tests.
    pub fn fixed(directory: Directory) -> Self {
        Self { current: watch::channel(Arc::new(directory)).1 }
    }

    /// A cache fed by the caller: attention-state itself, and tests.
    pub fn fed(current: watch::Receiver<Arc<Directory>>) -> Self {
        Self { current }
    }

    /// The directory now.
    pub fn current(&self) -> Arc<Directory> {
        self.current.borrow().clone()
    }

    /// Follows the directory.
    pub fn watch(&self) -> watch::Receiver<Arc<Directory>> {
        self.current.clone()
    }

    /// Waits until a directory was read.
    pub async fn loaded(&self) {
        // A closed channel is a fixed directory or a stopping process.
        let _ = self.current.clone().wait_for(|directory| directory.is_loaded()).await;
    }
}

async fn ask_again(
    mut client: DirectoryFeedServiceClient<InternalChannel>,
    sender: &watch::Sender<Arc<Directory>>,
    pinged: &Notify,
    stop: &Shutdown,
    refresh: Duration,
) {
    let mut failing = false;
    loop {
        match ask(&mut client, sender).await {
            Ok(()) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::info!(error = %error.chain(), "the directory cannot be refreshed; the last one stays");
                }
                failing = true;
            }
        }
        let pause = if sender.borrow().is_loaded() { refresh } else { REFRESH / 10 };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = pinged.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn ask(
    client: &mut DirectoryFeedServiceClient<InternalChannel>,
    sender: &watch::Sender<Arc<Directory>>,
) -> Result<(), Error> {
    let known_version = sender.borrow().version();
    let request = with_deadline(GetDirectoryRequest { known_version }, Duration::from_secs(5));
    let answer = client.get_directory(request).await?.into_inner();
    if let Some(directory) = answer.directory.filter(|_| answer.changed) {
        tracing::info!(version = answer.version, "directory read");
        let read = Directory::new(answer.version, directory, answer.revoked_token_ids);
        sender.send_replace(Arc::new(read));
        return Ok(());
    }
    // Tokens are revoked without a new version of the directory.
    let newer = sender.borrow().with_revoked(answer.revoked_token_ids);
    if let Some(newer) = newer {
        sender.send_replace(Arc::new(newer));
    }
    Ok(())
}

/// The ping only makes the refresh sooner, so every failure here is harmless.
async fn listen(nats: &Nats, heard: &Notify, stop: &Shutdown) {
    while !stop.is_cancelled() {
        let watching = async {
            let bucket = nats.ensure_bucket(Bucket::Directory, Duration::ZERO).await?;
            let mut changes = bucket
                .watch("version")
                .await
                .map_err(|error| Error::unavailable("NATS_UNAVAILABLE", "no watch").with_source(error))?;
            while changes.next().await.is_some_and(|change| change.is_ok()) {
                heard.notify_one();
            }
            Ok::<(), Error>(())
        };
        tokio::select! {
            ended = watching => if let Err(error) = ended {
                tracing::debug!(error = %error.chain(), "the directory ping is away");
            },
            () = stop.cancelled() => return,
        }
        stop.sleep(Duration::from_secs(2)).await;
    }
}
