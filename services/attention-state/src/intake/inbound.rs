//! The handler of INBOUND: reads envelopes, runs the batch's transaction, falls back to one by one.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::nats::Subjects;
use tracing::Instrument;
use uuid::Uuid;

use super::failed;
use super::mail::{self, Mail};
use super::plan;

/// Takes mails in.
pub(crate) struct InboundHandler {
    db: Db,
    subjects: Subjects,
}

impl InboundHandler {
    /// Writes to `db`, announces under `subjects`.
    pub(crate) fn new(db: Db, subjects: Subjects) -> Self {
        Self { db, subjects }
    }

    async fn take(&self, mails: Vec<Mail>) -> Result<Vec<plan::Taken>, Error> {
        let span = tracing::info_span!("attention.intake.batch", mails = mails.len());
        crate::metrics::batch(mails.len());
        let (mails, subjects) = (Arc::new(mails), self.subjects.clone());
        let taken = self
            .db
            .transaction(move |tx| {
                let (mails, subjects) = (mails.clone(), subjects.clone());
                Box::pin(async move {
                    let taken = plan::take_in(tx, &subjects, &mails).await?;
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
    async fn one_by_one(&self, mails: Vec<Mail>) -> Vec<Outcome> {
        let mut held: HashSet<Uuid> = HashSet::new();
        let mut outcomes = Vec::with_capacity(mails.len());
        for mail in mails {
            let conversation = mail.conversation;
            if held.contains(&conversation) {
                outcomes.push(Outcome::Busy);
                continue;
            }
            let outcome = match self.take(vec![mail]).await {
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
}

fn outcome(taken: plan::Taken) -> Outcome {
    match taken {
        plan::Taken::Committed | plan::Taken::Known => Outcome::Ack,
        plan::Taken::Busy => Outcome::Busy,
        plan::Taken::Refused(error) => Outcome::Dead(error),
    }
}

#[async_trait]
impl BatchHandler for InboundHandler {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let read: Vec<Result<Mail, Error>> = batch.iter().map(mail::read).collect();
        let mails: Vec<Mail> = read.iter().filter_map(|one| one.as_ref().ok().cloned()).collect();
        let outcomes = match mails.len() {
            0 => Vec::new(),
            1 => self.one_by_one(mails).await,
            _ => match self.take(mails.clone()).await {
                Ok(taken) => taken.into_iter().map(outcome).collect(),
                Err(error) => {
                    tracing::debug!(error = %error.chain(), "a batch is tried one by one");
                    self.one_by_one(mails).await
                }
            },
        };
        let mut outcomes = outcomes.into_iter();
        read.into_iter()
            .map(|one| match one {
                Ok(_) => outcomes.next().unwrap_or(Outcome::Busy),
                Err(error) => Outcome::Dead(error),
            })
            .collect()
    }
}
