//! OUTBOUND: a send is committed to the ledger and acknowledged at once; sending is another matter.

use std::sync::Arc;

use async_trait::async_trait;
use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::error::{Class, Error};
use hilo_kit::fault;
use hilo_kit::ids::Uuid;
use hilo_proto::outbound::v1::OutboundEnvelope;
use prost::Message as _;

use crate::store::Store;

/// Takes sends into the ledger.
#[derive(Clone, Debug)]
pub struct SendIntake(Store);

impl SendIntake {
    /// Over the ledger.
    pub fn new(store: Store) -> Arc<Self> {
        Arc::new(Self(store))
    }

    async fn take(&self, sends: Vec<(Uuid, OutboundEnvelope)>) -> Result<(), Error> {
        let taken = self.0.take(sends).await;
        fault::point("whatsapp.sender.after_commit").await;
        taken
    }
}

fn read(delivery: &Delivery) -> Result<(Uuid, OutboundEnvelope), Error> {
    let envelope = OutboundEnvelope::decode(delivery.payload().clone())
        .map_err(|_| Error::corrupt("SEND_UNREADABLE", "a send cannot be read"))?;
    Ok((delivery.id(), envelope))
}

#[async_trait]
impl BatchHandler for SendIntake {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let read: Vec<_> = batch.iter().map(read).collect();
        let whole: Vec<_> = read.iter().filter_map(|one| one.as_ref().ok().cloned()).collect();
        if whole.len() == batch.len() && !whole.is_empty() {
            match self.take(whole).await {
                Ok(()) => return batch.iter().map(|_| Outcome::Ack).collect(),
                Err(error)
                    if matches!(error.class(), Class::Unavailable | Class::Conflict) && batch.len() == 1 =>
                {
                    return vec![Outcome::of(error)];
                }
                Err(error) => error.log("taking a batch of sends; one by one now"),
            }
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for one in read {
            let taken = match one {
                Ok(send) => self.take(vec![send]).await,
                Err(error) => Err(error),
            };
            outcomes.push(taken.map_or_else(Outcome::of, |()| Outcome::Ack));
        }
        outcomes
    }
}
