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
pub struct SendIntake {
    store: Store,
}

impl SendIntake {
    /// Over the ledger.
    pub fn new(store: Store) -> Arc<Self> {
        Arc::new(Self { store })
    }

    async fn take(&self, sends: Vec<(Uuid, OutboundEnvelope)>) -> Result<(), Error> {
        let taken = self.store.take(sends).await;
        fault::point("email.sender.after_commit").await;
        taken
    }
}

#[async_trait]
impl BatchHandler for SendIntake {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let read: Vec<_> = batch.iter().map(read).collect();
        let whole: Result<Vec<_>, ()> = read.iter().map(|one| one.clone().map_err(drop)).collect();
        match whole {
            Ok(sends) if !sends.is_empty() => match self.take(sends).await {
                Ok(()) => return batch.iter().map(|_| Outcome::Ack).collect(),
                // The database is away: one by one would only ask it more often.
                Err(error)
                    if matches!(error.class(), Class::Unavailable | Class::Conflict) && batch.len() == 1 =>
                {
                    return vec![Outcome::of(error)];
                }
                Err(error) => error.log("taking a batch of sends; one by one now"),
            },
            Ok(_) | Err(()) => {}
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for one in read {
            outcomes.push(match one {
                Ok(send) => match self.take(vec![send]).await {
                    Ok(()) => Outcome::Ack,
                    Err(error) => Outcome::of(error),
                },
                Err(reason) => Outcome::Dead(Error::corrupt("SEND_UNREADABLE", reason)),
            });
        }
        outcomes
    }
}

fn read(delivery: &Delivery) -> Result<(Uuid, OutboundEnvelope), &'static str> {
    let envelope =
        OutboundEnvelope::decode(delivery.payload().clone()).map_err(|_| "a send cannot be read")?;
    Ok((delivery.id(), envelope))
}
