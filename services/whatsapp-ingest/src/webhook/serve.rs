//! The listener of the webhook: bounded connections, no waiting for slow heads, and a stop that finishes what has begun.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hilo_kit::lifecycle::Shutdown;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Connections at once; the next one waits in the socket's queue.
const CONNECTIONS: usize = 1_024;
/// Longest time for the head of a request; a connection that says nothing for so long is closed.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Longest time for what has begun when the service stops.
const DRAIN: Duration = Duration::from_secs(15);

/// Serves until the shutdown begins, then finishes the requests at work.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    while !shutdown.is_cancelled() {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection(stream, router, shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a webhook connection could not be accepted");
                shutdown.sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    drop(router);
    let drained =
        tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(left = connections.len(), "webhook requests did not end in time");
    }
}

async fn connection(stream: TcpStream, router: Router, shutdown: Shutdown) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a webhook connection is gone already");
        return;
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(64 * 1024);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a webhook connection ended");
    }
}
