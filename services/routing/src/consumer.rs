//! The events of all attentions: one durable consumer per replica, handed on to the router in batches.
//!
//! The consumer is at the broker before any snapshot is read, so whatever is missing from a snapshot comes as an event.
//! Nothing is remembered here: an event that cannot be read raises an alarm (kit's `AlarmSink`) and its attention is
//! fetched again from attention-state.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hilo_kit::consumer::{AlarmSink, BatchHandler, Consumer, ConsumerSpec, Delivery, Outcome};
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::{Deliver, Nats, StreamKind};
use hilo_proto::event::v1::AttentionEvent;
use tokio::sync::mpsc;

use crate::event;
use crate::metrics::Metrics;
use crate::router::Message;

/// Events in one batch.
const BATCH: usize = 512;
/// Events out at once; a router that stalls longer than this is fed again from the snapshot.
const MAX_OUT: i64 = 8_192;
/// A replica that does not come back within this time has its consumer forgotten by the broker.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);

/// An event with the trace it belongs to.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The event.
    pub event: AttentionEvent,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// Starts the consumer `routing-<replica>`.
pub fn start(
    nats: &Nats,
    replica: &str,
    router: mpsc::Sender<Message>,
    metrics: Metrics,
    shutdown: &Shutdown,
) -> Consumer {
    let spec = ConsumerSpec {
        max_batch: BATCH,
        // The handler only hands on, in order; it never skips a message.
        one_per_key: false,
        max_ack_pending: MAX_OUT,
        inactive_threshold: FORGOTTEN_AFTER,
        deliver: Deliver::New,
        ..ConsumerSpec::new(StreamKind::Events, format!("routing-{replica}"))
    };
    let handler = Arc::new(Handler { router, metrics });
    Consumer::spawn(nats.clone(), spec, handler, Arc::new(AlarmSink::default()), shutdown)
}

struct Handler {
    router: mpsc::Sender<Message>,
    metrics: Metrics,
}

#[async_trait]
impl BatchHandler for Handler {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let (mut events, mut unreadable, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        for delivery in batch {
            match read(delivery) {
                Ok(event) => {
                    events.push(Arrived { event, traceparent: delivery.traceparent().map(str::to_owned) });
                    outcomes.push(Outcome::Ack);
                }
                Err(error) => {
                    self.metrics.poison.add(1, &[]);
                    unreadable.extend(delivery.header("ce-subject").map(str::to_owned));
                    outcomes.push(Outcome::Dead(error));
                }
            }
        }
        if !unreadable.is_empty() && self.router.send(Message::Unreadable(unreadable)).await.is_err() {
            return Vec::new();
        }
        if !events.is_empty() && self.router.send(Message::Events(events)).await.is_err() {
            // The router has ended: the process stops, nothing may be acknowledged.
            return Vec::new();
        }
        outcomes
    }
}

fn read(delivery: &Delivery) -> Result<AttentionEvent, Error> {
    event::decode(delivery.payload()).map_err(|error| {
        Error::corrupt("UNREADABLE_EVENT", "an event does not fit its contract").with_source(error)
    })
}
