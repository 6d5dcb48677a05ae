//! Holding partitions: a lease that attention-state grants by its database's clock, renewed every second.
//!
//! The epoch is the fence: a holder that was paused and writes late is refused by attention-state. Giving up early by the
//! monotonic clock is only politeness, so that two replicas do not decide the same things for nothing.

use std::time::Duration;

use hilo_kit::lifecycle::Shutdown;
use hilo_proto::internal::v1::HoldPartitionsRequest;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::attention::AttentionState;
use crate::config::RoutingSection;
use crate::router::Message;

/// After a failed renewal.
const RETRY: Duration = Duration::from_millis(200);
/// The release on shutdown is tried no longer than this; then the lease expires by itself.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// The lease's settings.
#[derive(Clone, Debug)]
pub struct Terms {
    replica: String,
    term_millis: i64,
    renew: Duration,
    give_up: Duration,
}

impl Terms {
    /// As configured, for this replica.
    pub fn new(replica: &str, section: &RoutingSection) -> Self {
        Self {
            replica: replica.to_owned(),
            term_millis: i64::try_from(section.partition_term_millis).unwrap_or(i64::MAX),
            renew: section.partition_renew(),
            give_up: section.partition_give_up(),
        }
    }

    fn request(&self, release: bool) -> HoldPartitionsRequest {
        HoldPartitionsRequest { replica_id: self.replica.clone(), release, term_millis: self.term_millis }
    }
}

/// Renews until the shutdown begins, then releases. The router is told what is held and until when.
pub async fn hold(attention: AttentionState, terms: Terms, router: mpsc::Sender<Message>, stop: Shutdown) {
    let mut failing = false;
    while !stop.is_cancelled() {
        let asked = Instant::now();
        let answer = tokio::select! {
            answer = attention.hold(terms.request(false)) => answer,
            () = stop.cancelled() => break,
        };
        let pause = match answer {
            Ok(answer) => {
                failing = false;
                let granted = u64::try_from(answer.term_millis).unwrap_or(0);
                // The answer's term counts from the moment of asking; a shorter one than asked for is kept in proportion.
                let valid = terms.give_up.min(Duration::from_millis(granted).mul_f64(0.75));
                let held = Message::Held { partitions: answer.partitions, until: asked + valid };
                if router.send(held).await.is_err() {
                    break;
                }
                (asked + terms.renew).saturating_duration_since(Instant::now())
            }
            Err(error) => {
                if !failing {
                    error.log("renewing the lease on partitions");
                }
                failing = true;
                RETRY
            }
        };
        stop.sleep(pause).await;
    }
    // The router stops deciding first, then the partitions are free at once.
    let _ = router.send(Message::Held { partitions: Vec::new(), until: Instant::now() }).await;
    match tokio::time::timeout(RELEASE_LIMIT, attention.hold(terms.request(true))).await {
        Ok(Ok(_)) => tracing::info!("partitions released"),
        Ok(Err(error)) => error.log("releasing partitions"),
        Err(_) => tracing::warn!("partitions were not released in time; their lease expires"),
    }
}
