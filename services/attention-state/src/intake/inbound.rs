//! The handler of INBOUND: reads envelopes, runs each channel's transaction for the batch, falls back to one by one.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::nats::Subjects;
use hilo_proto::inbound::v1::InboundEnvelope;
use hilo_proto::inbound::v1::inbound_envelope::Content;
use prost::Message as _;
use sqlx::PgConnection;
use tracing::Instrument;
use uuid::Uuid;

use super::chat::{self, Item};
use super::failed;
use super::mail::{self, Mail};
use super::plan;

/// Takes messages in.
pub(crate) struct InboundHandler {
    db: Db,
    subjects: Subjects,
    patience: chat::Patience,
}

/// What one channel hands over.
#[async_trait]
trait Handed: Clone + Send + Sync + 'static {
    /// Key of the order it stands in.
    fn conversation(&self) -> Uuid;
    /// Takes a batch in; one answer each, in order.
    async fn take_in(
        tx: &mut PgConnection,
        subjects: &Subjects,
        batch: &[Self],
    ) -> Result<Vec<plan::Taken>, Error>;
}

#[async_trait]
impl Handed for Mail {
    fn conversation(&self) -> Uuid {
        self.conversation
    }

    async fn take_in(
        tx: &mut PgConnection,
        subjects: &Subjects,
        batch: &[Self],
    ) -> Result<Vec<plan::Taken>, Error> {
        plan::take_in(tx, subjects, batch).await
    }
}

#[async_trait]
impl Handed for Item {
    fn conversation(&self) -> Uuid {
        self.conversation
    }

    async fn take_in(
        tx: &mut PgConnection,
        subjects: &Subjects,
        batch: &[Self],
    ) -> Result<Vec<plan::Taken>, Error> {
        chat::take_in(tx, subjects, batch).await
    }
}

/// A message of either channel.
#[derive(Clone, Debug)]
enum Read {
    Mail(Box<Mail>),
    Item(Box<Item>),
}

impl InboundHandler {
    /// Writes to `db`, announces under `subjects`.
    pub(crate) fn new(db: Db, subjects: Subjects) -> Self {
        Self { db, subjects, patience: chat::Patience::default() }
    }

    /// As [`InboundHandler::new`], where answers that come before the report on what they answer wait for so long.
    #[cfg(test)]
    pub(crate) fn with_patience(self, lasts: std::time::Duration) -> Self {
        Self { patience: chat::Patience::of(lasts), ..self }
    }

    async fn take<H: Handed>(&self, batch: Vec<H>) -> Result<Vec<plan::Taken>, Error> {
        let span = tracing::info_span!("attention.intake.batch", messages = batch.len());
        crate::metrics::batch(batch.len());
        let (batch, subjects) = (Arc::new(batch), self.subjects.clone());
        let taken = self
            .db
            .transaction(move |tx| {
                let (batch, subjects) = (batch.clone(), subjects.clone());
                Box::pin(async move {
                    let taken = H::take_in(tx, &subjects, &batch).await?;
                    fault::point("attention.intake.before_commit").await;
                    Ok(taken)
                })
            })
            .instrument(span)
            .await?;
        fault::point("attention.intake.after_commit").await;
        Ok(taken)
    }

    /// Each by itself; after one that failed the later ones of its conversation wait.
    async fn one_by_one<H: Handed>(&self, batch: Vec<H>) -> Vec<Outcome> {
        let mut held: HashSet<Uuid> = HashSet::new();
        let mut outcomes = Vec::with_capacity(batch.len());
        for one in batch {
            let conversation = one.conversation();
            if held.contains(&conversation) {
                outcomes.push(Outcome::Busy);
                continue;
            }
            let outcome = match self.take(vec![one]).await {
                Ok(taken) => taken.into_iter().next().map_or(Outcome::Busy, outcome),
                Err(error) => failed(error),
            };
            if !matches!(outcome, Outcome::Ack | Outcome::Dead(_)) {
                held.insert(conversation);
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Those of one channel: all together, else one by one.
    async fn those<H: Handed>(&self, batch: Vec<H>) -> std::vec::IntoIter<Outcome> {
        let outcomes = match batch.len() {
            0 => Vec::new(),
            1 => self.one_by_one(batch).await,
            _ => match self.take(batch.clone()).await {
                Ok(taken) => taken.into_iter().map(outcome).collect(),
                Err(error) => {
                    tracing::debug!(error = %error.chain(), "a batch is tried one by one");
                    self.one_by_one(batch).await
                }
            },
        };
        outcomes.into_iter()
    }
}

fn outcome(taken: plan::Taken) -> Outcome {
    match taken {
        plan::Taken::Committed | plan::Taken::Known => Outcome::Ack,
        plan::Taken::Busy => Outcome::Busy,
        plan::Taken::Refused(error) => Outcome::Dead(error),
    }
}

/// Reads an envelope.
///
/// # Errors
/// Class corrupt or invalid: such a message can never succeed.
fn read(delivery: &Delivery) -> Result<Read, Error> {
    let mut envelope = InboundEnvelope::decode(delivery.payload().as_ref())?;
    match envelope.content.take() {
        Some(Content::Email(email)) => {
            mail::read(delivery, envelope, email).map(|mail| Read::Mail(Box::new(mail)))
        }
        Some(Content::Whatsapp(item)) => {
            chat::read(delivery, envelope, item).map(|item| Read::Item(Box::new(item)))
        }
        None => Err(Error::invalid("UNKNOWN_CONTENT", "the envelope has no content this release knows")),
    }
}

#[async_trait]
impl BatchHandler for InboundHandler {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let read: Vec<Result<Read, Error>> = batch.iter().map(read).collect();
        let (mut mails, mut items) = (Vec::new(), Vec::new());
        for one in read.iter().flatten().cloned() {
            match one {
                Read::Mail(mail) => mails.push(*mail),
                Read::Item(item) => items.push(Item { patient: self.patience.lasts(&item), ..*item }),
            }
        }
        let (mut mails, mut items) = (self.those(mails).await, self.those(items).await);
        let outcomes: Vec<Outcome> = read
            .into_iter()
            .map(|one| match one {
                Ok(Read::Mail(_)) => mails.next().unwrap_or(Outcome::Busy),
                Ok(Read::Item(_)) => items.next().unwrap_or(Outcome::Busy),
                Err(error) => Outcome::Dead(error),
            })
            .collect();
        let settled = batch.iter().zip(&outcomes).filter(|(_, outcome)| !matches!(outcome, Outcome::Busy));
        self.patience.ends(settled.map(|(delivery, _)| delivery.id()));
        outcomes
    }
}
