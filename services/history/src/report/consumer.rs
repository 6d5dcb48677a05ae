//! The durable reader of all events for reports. No inbox row is written: a fact's key is (attention, sequence), and what
//! is known of an interaction is computed from all of its facts, so redeliveries and any order are harmless.

use std::time::Duration;

use async_trait::async_trait;
use hilo_kit::consumer::{BatchHandler, ConsumerSpec, Delivery, Outcome};
use hilo_kit::error::{Class, Error};
use hilo_kit::nats::StreamKind;

use super::contract;
use crate::domain::report::Fact;
use crate::store::Store;

/// Durable consumer of the EVENTS stream; shared by all replicas.
pub const DURABLE: &str = "history-reports";
const MAX_BATCH: usize = 256;
/// Nobody waits for a report; a commit for each of some hundred events a second would cost more than what it records.
const LINGER: Duration = Duration::from_millis(100);

/// The consumer's settings: every event of every campaign, several of one attention in a batch.
pub fn spec() -> ConsumerSpec {
    let mut spec = ConsumerSpec::new(StreamKind::Events, DURABLE);
    spec.max_batch = MAX_BATCH;
    spec.linger = LINGER;
    spec.one_per_key = false;
    spec
}

/// Records what events tell.
pub struct Recorder {
    store: Store,
}

impl Recorder {
    /// Into `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// All facts in one transaction; when that fails for another reason than the database's state, one by one, so that
    /// none suffers for another.
    async fn record(&self, facts: Vec<Fact>) -> Vec<Result<(), Error>> {
        match self.store.record(facts.clone()).await {
            Ok(()) => return facts.iter().map(|_| Ok(())).collect(),
            Err(error) if facts.len() < 2 => return vec![Err(error)],
            Err(error)
                if matches!(error.class(), Class::Unavailable | Class::Conflict | Class::Exhausted) =>
            {
                error.log("recording events for reports");
                let again = || Error::unavailable("STORE_UNAVAILABLE", "events could not be recorded");
                return facts.iter().map(|_| Err(again())).collect();
            }
            Err(error) => error.log("recording a batch of events for reports; one by one now"),
        }
        let mut outcomes = Vec::with_capacity(facts.len());
        for fact in facts {
            outcomes.push(self.store.record(vec![fact]).await);
        }
        outcomes
    }
}

#[async_trait]
impl BatchHandler for Recorder {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let read: Vec<Result<Option<Fact>, Error>> = batch.iter().map(read).collect();
        let facts: Vec<Fact> = read.iter().filter_map(|one| one.as_ref().ok().cloned().flatten()).collect();
        let mut recorded = self.record(facts).await.into_iter();
        let missing = || Outcome::Retry(Error::internal("NO_OUTCOME", "an event got no outcome"));
        read.into_iter()
            .map(|one| match one {
                Ok(Some(_)) => recorded
                    .next()
                    .map_or_else(missing, |one| one.map_or_else(Outcome::of, |()| Outcome::Ack)),
                Ok(None) => Outcome::Ack,
                Err(error) => Outcome::Dead(error),
            })
            .collect()
    }
}

fn read(delivery: &Delivery) -> Result<Option<Fact>, Error> {
    let event = hilo_proto::json::read_event(delivery.payload()).map_err(|error| {
        Error::corrupt("EVENT_MALFORMED", "an event does not fit its contract").with_source(error)
    })?;
    contract::fact(event)
}
