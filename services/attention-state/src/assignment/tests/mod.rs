//! Tests of what routing asks of the one writer, on a real database.

mod demand;
mod leases;
mod offers;
mod orphans;
mod overflow;
mod presence;
mod queues;
mod rate;
mod release;
mod service;
mod together;
mod transferred;
mod views;
mod weights;

use std::sync::Arc;

use hilo_kit::Error;
use hilo_kit::db::Db;
use hilo_kit::nats::Subjects;
use hilo_proto::internal::v1::assignment_change::Change;
use hilo_proto::internal::v1::{
    ApplyOffersRequest, AssignmentChange, AssignmentOutcome, AssignmentResult, DecisionRecord, ExpireOffer,
    MakeOffer, Overflow,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::assignment::offers::Batch;
use crate::assignment::together::Together;
use crate::attention::domain::{
    AccountKey, AttentionId, CampaignKey, Channel, Command, ContactId, InteractionId, MessageId, MessageKind,
    MessageSummary, Opening, UserKey,
};
use crate::attention::store::{Head, Wait};
use crate::attention::work::{Actor, Work};
use crate::directory::domain::groups::partition_of;

/// Subjects as in production.
pub(super) fn subjects() -> Arc<Subjects> {
    Arc::new(Subjects::new("hilo").unwrap())
}

/// Lets `count` customers write to the campaign: that many queued interactions, oldest first.
pub(super) async fn queue(db: &Db, campaign: &str, count: usize) -> Vec<InteractionId> {
    let campaign = campaign.to_owned();
    db.transaction(move |tx| {
        let campaign = campaign.clone();
        Box::pin(async move {
            let mut work = Work::lock(tx, &[], Wait::Block).await?;
            let mut ids = Vec::new();
            for _ in 0..count {
                let contact = Uuid::now_v7();
                sqlx::query("INSERT INTO contact.contact (contact_id) VALUES ($1)")
                    .bind(contact)
                    .execute(&mut *tx)
                    .await?;
                let number: i64 = sqlx::query_scalar("SELECT nextval('attention.attention_number')")
                    .fetch_one(&mut *tx)
                    .await?;
                let (command, id, attention) = arrival(&campaign, contact, number, work.now());
                let head = Head {
                    customer_address: "cliente@ejemplo.pe".to_owned(),
                    subject: String::new(),
                    lineage: attention,
                    participants: Vec::new(),
                };
                work.begin(command, head, "00-trace", "").map_err(Error::from)?;
                ids.push(id);
            }
            work.write(tx, &subjects()).await?;
            Ok(ids)
        })
    })
    .await
    .unwrap()
}

fn arrival(
    campaign: &str,
    contact: Uuid,
    number: i64,
    now: OffsetDateTime,
) -> (Command, InteractionId, Uuid) {
    let (interaction, attention) = (InteractionId::new(), AttentionId::new());
    let command = Command::ReceiveMessage {
        message: MessageSummary {
            id: MessageId::new(),
            occurred_at: now,
            attachments: 0,
            kind: MessageKind::Inbound { class: None, sender_verified: true },
        },
        waiting_since: now,
        interaction,
        campaign: CampaignKey::new(campaign),
        opening: Some(Opening {
            attention,
            number,
            channel: Channel::Email,
            account: AccountKey::new(format!("{campaign}-mail")),
            contact: ContactId(contact),
            linked: None,
        }),
    };
    (command, interaction, attention.uuid())
}

/// A command of a person or the system, committed.
pub(super) async fn command(db: &Db, id: InteractionId, command: Command) {
    db.transaction(move |tx| {
        let command = command.clone();
        Box::pin(async move {
            let mut work = Work::lock(tx, &[id], Wait::Block).await?;
            work.decide(id, command, &Actor::System).map_err(Error::from)?;
            work.write(tx, &subjects()).await
        })
    })
    .await
    .unwrap();
}

/// Opens an interaction for an agent.
pub(super) async fn open(db: &Db, id: InteractionId, agent: &str) {
    command(db, id, Command::Open { agent: UserKey::new(agent) }).await;
}

/// A change that offers to an agent; an empty key rings at everyone.
pub(super) fn offer(id: InteractionId, version: i64, agent: &str) -> AssignmentChange {
    let make = MakeOffer { agent_key: agent.to_owned(), rotation_pointer: agent.to_owned() };
    let decision = DecisionRecord { winner: agent.to_owned(), candidates: 2, ..DecisionRecord::default() };
    AssignmentChange {
        interaction_id: id.to_string(),
        version,
        change: Some(Change::Offer(make)),
        decision: Some(decision),
    }
}

/// A change that ends an offer.
pub(super) fn expire(id: InteractionId, version: i64, offer: &str, reason: &str) -> AssignmentChange {
    let expire = ExpireOffer { offer_id: offer.to_owned(), reason: reason.to_owned() };
    let interaction_id = id.to_string();
    AssignmentChange { interaction_id, version, change: Some(Change::Expire(expire)), decision: None }
}

/// A change that lets the overflow take effect.
pub(super) fn overflow(id: InteractionId, version: i64) -> AssignmentChange {
    let interaction_id = id.to_string();
    AssignmentChange { interaction_id, version, change: Some(Change::Overflow(Overflow {})), decision: None }
}

/// A batch for the partition of a group, at epoch 0 and the newest configuration.
pub(super) fn batch(group: &str, changes: Vec<AssignmentChange>) -> ApplyOffersRequest {
    ApplyOffersRequest { partition: partition_of(group), epoch: 0, config_version: 1_000, changes }
}

/// Applies a batch, as the RPC does.
pub(super) async fn apply(db: &Db, request: ApplyOffersRequest) -> Result<Vec<AssignmentResult>, Error> {
    Together::new(db.clone(), subjects()).apply(Batch::read(request)?).await
}

/// The outcomes of a batch.
pub(super) fn outcomes(results: &[AssignmentResult]) -> Vec<AssignmentOutcome> {
    results.iter().map(AssignmentResult::outcome).collect()
}

/// Load of an agent in email.
pub(super) async fn load_of(db: &Db, agent: &str) -> i32 {
    sqlx::query_scalar("SELECT load FROM assignment.agent_load WHERE agent_key = $1 AND channel = 'email'")
        .bind(agent)
        .fetch_one(db.pool())
        .await
        .unwrap()
}
