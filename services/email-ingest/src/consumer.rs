//! OUTBOUND: a send is committed to the ledger and acknowledged at once; sending is another matter.
//!
//! A mail that was too large for the broker is fetched from the object store first: the ledger holds every mail whole, and what
//! happens to it from then on is the same for all.

use std::sync::Arc;

use async_trait::async_trait;
use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::error::{Class, Error};
use hilo_kit::fault;
use hilo_kit::ids::Uuid;
use hilo_kit::objects::{Digest256, Objects};
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope, StoredEmail};
use prost::Message as _;

use crate::domain::limits::STORED_MAIL_BYTES;
use crate::store::Store;

/// Takes sends into the ledger.
#[derive(Clone, Debug)]
pub struct SendIntake {
    store: Store,
    objects: Objects,
}

impl SendIntake {
    /// Over the ledger; large mails come from `objects`.
    pub fn new(store: Store, objects: Objects) -> Arc<Self> {
        Arc::new(Self { store, objects })
    }

    async fn take(&self, sends: Vec<(Uuid, OutboundEnvelope)>) -> Result<(), Error> {
        let taken = self.store.take(sends).await;
        fault::point("email.sender.after_commit").await;
        taken
    }

    async fn read(&self, delivery: &Delivery) -> Result<(Uuid, OutboundEnvelope), Error> {
        let unreadable = || Error::corrupt("SEND_UNREADABLE", "a send cannot be read");
        let mut envelope = OutboundEnvelope::decode(delivery.payload().clone()).map_err(|_| unreadable())?;
        if let Some(Content::StoredEmail(stored)) = &envelope.content {
            envelope.content = Some(Content::Email(self.fetch(stored).await?));
        }
        Ok((delivery.id(), envelope))
    }

    /// The mail was on disk before its send was handed over. One that is not there is looked for again a few times (a folder that
    /// is not mounted yet), and is then a dead letter to be replayed when the store is whole again.
    async fn fetch(&self, stored: &StoredEmail) -> Result<OutboundEmail, Error> {
        let unreadable =
            || Error::corrupt("SEND_UNREADABLE", "the reference to a stored mail cannot be read");
        let digest: Digest256 = stored.sha256.parse().map_err(|_| unreadable())?;
        if !(1..=STORED_MAIL_BYTES).contains(&stored.size_bytes) {
            return Err(unreadable());
        }
        let bytes = self.objects.get(digest).await?;
        let bytes = bytes.ok_or_else(|| {
            Error::internal("STORED_MAIL_MISSING", "the mail of a send is not in the object store")
        })?;
        OutboundEmail::decode(bytes).map_err(|_| unreadable())
    }
}

#[async_trait]
impl BatchHandler for SendIntake {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut read = Vec::with_capacity(batch.len());
        for delivery in batch {
            read.push(self.read(delivery).await);
        }
        let whole: Vec<_> = read.iter().filter_map(|one| one.as_ref().ok().cloned()).collect();
        if whole.len() == batch.len() && !whole.is_empty() {
            match self.take(whole).await {
                Ok(()) => return batch.iter().map(|_| Outcome::Ack).collect(),
                // The database is away: one by one would only ask it more often.
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
