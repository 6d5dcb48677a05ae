//! Hints between replicas over core NATS: an agent changed his status, here is his state.
//!
//! A lost hint only means that the others learn of it with the next reading of the configuration.

use bytes::Bytes;
use futures::StreamExt;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::Nats;
use hilo_proto::internal::v1::RoutingAgent;
use prost::Message as _;
use std::time::Duration;
use tokio::sync::mpsc;

use crate::router::Message;

fn subject(nats: &Nats) -> String {
    format!("{}.wake.routing.agent", nats.subjects().prefix())
}

/// Tells the other replicas.
pub async fn tell(nats: &Nats, agent: &RoutingAgent) {
    if let Err(error) = nats.client().publish(subject(nats), Bytes::from(agent.encode_to_vec())).await {
        tracing::debug!(%error, "a hint was not sent");
    }
}

/// Listens until the shutdown begins.
pub async fn listen(nats: Nats, router: mpsc::Sender<Message>, stop: Shutdown) {
    while !stop.is_cancelled() {
        match nats.client().subscribe(subject(&nats)).await {
            Ok(mut hints) => loop {
                let hint = tokio::select! {
                    hint = hints.next() => hint,
                    () = stop.cancelled() => return,
                };
                let Some(hint) = hint else { break };
                // Not ours, or of a newer release: the configuration brings it.
                let Ok(agent) = RoutingAgent::decode(hint.payload) else { continue };
                if router.send(Message::Agents(vec![agent])).await.is_err() {
                    return;
                }
            },
            Err(error) => tracing::debug!(%error, "hints are away"),
        }
        stop.sleep(Duration::from_secs(1)).await;
    }
}
