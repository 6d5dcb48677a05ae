//! The wake-up: an event says that an interaction ended, so its thread is kept at once. What this misses, the sweep
//! finds.
//!
//! No inbox row is written: what makes a redelivery harmless is the version in the thread's own row, which the storing
//! transaction checks and writes.

use async_trait::async_trait;
use hilo_kit::consumer::{BatchHandler, ConsumerSpec, Delivery, Outcome};
use hilo_kit::error::Error;
use hilo_kit::nats::{StreamKind, Subjects};
use hilo_proto::event::v1::EventType;

use crate::app::{Ended, Keeper, Kept};
use crate::domain::InteractionId;

/// Durable consumer of the EVENTS stream; shared by all replicas.
pub const DURABLE: &str = "history";
/// Each message costs a call and a transaction, so batches stay small.
const MAX_BATCH: usize = 64;

/// The consumer's settings: only events of ended interactions, of every campaign.
pub fn spec(subjects: &Subjects) -> ConsumerSpec {
    let ended = format!("{}.attention.v1.*.interaction_ended", subjects.prefix());
    let mut spec = ConsumerSpec::new(StreamKind::Events, DURABLE).filters(vec![ended]);
    spec.max_batch = MAX_BATCH;
    spec
}

/// Keeps and confirms what events tell of.
pub struct WakeUp {
    keeper: Keeper,
}

impl WakeUp {
    /// With this keeper.
    pub fn new(keeper: Keeper) -> Self {
        Self { keeper }
    }

    /// Keeps, then confirms all at once. A failed confirmation is left to the sweep: the threads are stored.
    async fn keep(&self, ended: &[Ended]) -> Vec<Outcome> {
        let kept = match self.keeper.keep(ended).await {
            Ok(kept) => kept,
            Err(error) => {
                error.log("looking for stored threads");
                let again =
                    || Error::unavailable("STORE_UNAVAILABLE", "stored threads could not be looked up");
                return ended.iter().map(|_| Outcome::Retry(again())).collect();
            }
        };
        let stored: Vec<_> = ended
            .iter()
            .zip(&kept)
            .filter_map(|(one, kept)| match kept {
                Ok(Kept::At(version)) => Some((one.id, *version)),
                Ok(Kept::Gone) | Err(_) => None,
            })
            .collect();
        if !stored.is_empty()
            && let Err(error) = self.keeper.confirm(&stored).await
        {
            error.log("confirming stored threads");
        }
        kept.into_iter().map(|kept| kept.map_or_else(Outcome::of, |_| Outcome::Ack)).collect()
    }
}

#[async_trait]
impl BatchHandler for WakeUp {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let read: Vec<Result<Option<Ended>, Error>> = batch.iter().map(read).collect();
        let ended: Vec<Ended> = read.iter().filter_map(|one| one.as_ref().ok().cloned().flatten()).collect();
        let mut kept = self.keep(&ended).await.into_iter();
        let missing = || Outcome::Retry(Error::internal("NO_OUTCOME", "a thread got no outcome"));
        read.into_iter()
            .map(|one| match one {
                Ok(Some(_)) => kept.next().unwrap_or_else(missing),
                Ok(None) => Outcome::Ack,
                Err(error) => Outcome::Dead(error),
            })
            .collect()
    }
}

/// What an event tells; `None` for events of another type.
fn read(delivery: &Delivery) -> Result<Option<Ended>, Error> {
    let malformed = |why: &'static str| Error::corrupt("EVENT_MALFORMED", why);
    let event = hilo_proto::json::read_event(delivery.payload())
        .map_err(|error| malformed("an event does not fit its contract").with_source(error))?;
    if event.r#type() != EventType::InteractionEnded {
        return Ok(None);
    }
    let interaction =
        event.interaction.ok_or_else(|| malformed("an ended interaction is missing in its event"))?;
    let id = interaction.interaction_id.parse::<InteractionId>();
    let id = id.map_err(|error| malformed("an interaction id is not a UUID").with_source(error))?;
    Ok(Some(Ended {
        id,
        version: interaction.version,
        traceparent: delivery.traceparent().map(str::to_owned),
    }))
}
