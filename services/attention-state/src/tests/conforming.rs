//! Both consumers pass kit's conformance suite on a real broker and fresh databases.

use std::sync::Arc;

use async_trait::async_trait;
use hilo_kit::conformance::{self, Candidate, Parts};
use hilo_kit::consumer::{BatchHandler, ConsumerSpec};
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::nats::{Nats, StreamKind};
use hilo_kit::outbox::OutboxRow;
use hilo_proto::attention::v1::SendMessageRequest;
use hilo_proto::delivery::v1::{DeliveryEnvelope, SendState};
use hilo_test_support::Postgres;
use prost::Message as _;
use uuid::Uuid;

use super::{House, Mail, fresh};
use crate::directory::testing::{apply, directory_of};
use crate::intake::{DELIVERY_CONSUMER, DeliveryHandler, INBOUND_CONSUMER, InboundHandler};

fn id(key: u32, sequence: i64) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{key}/{sequence}").as_bytes())
}

/// Mails `sequence` of customer `key`: the first begins an attention, the others answer it.
fn mail(key: u32, sequence: i64) -> Mail {
    let mail = Mail::from(&format!("c{key}@cliente.example")).id(&format!("m{key}-{sequence}@x"));
    let mail = if sequence > 1 { mail.answers(&[&format!("m{key}-1@x")]) } else { mail };
    Mail {
        delivery_id: id(key, sequence),
        ledger: id(key, sequence),
        conversation: id(key, 0),
        number: sequence,
        ..mail
    }
}

async fn prepare_directory(db: &Db) {
    apply(db, &directory_of(&[("soporte", &["ana"])], "")).await;
}

struct Intake;

#[async_trait]
impl Candidate for Intake {
    fn spec(&self) -> ConsumerSpec {
        ConsumerSpec::new(StreamKind::Inbound, INBOUND_CONSUMER)
    }

    async fn migrate(&self, database_url: &str) -> Result<(), Error> {
        crate::migrate(database_url).await
    }

    async fn prepare(&self, db: &Db) -> Result<(), Error> {
        prepare_directory(db).await;
        Ok(())
    }

    fn handler(&self, db: Db, nats: Nats) -> Arc<dyn BatchHandler> {
        Arc::new(InboundHandler::new(db, nats.subjects().clone()))
    }

    fn message(&self, key: u32, sequence: i64) -> OutboxRow {
        OutboxRow {
            id: id(key, sequence),
            stream: StreamKind::Inbound,
            subject: "hilo.inbound.email.soporte-mail".into(),
            key: id(key, 0),
            sequence,
            headers: vec![],
            payload: mail(key, sequence).envelope().encode_to_vec(),
        }
    }

    fn poison(&self) -> OutboxRow {
        OutboxRow { id: id(99, 1), key: id(99, 0), payload: b"\xff\xff".to_vec(), ..self.message(0, 1) }
    }

    async fn effects(&self, db: &Db) -> Result<Vec<Uuid>, Error> {
        let keys: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT key FROM attention.message_key JOIN attention.message USING (message_id)
             WHERE kind = 'external' ORDER BY message.attention_id, position",
        )
        .fetch_all(db.pool())
        .await?;
        Ok(keys.iter().map(|key| Uuid::from_slice(key).unwrap()).collect())
    }
}

struct Deliveries;

/// One attention with sends of known ids.
async fn conversation(house: &House, key: u32) {
    house.take(&[mail(key, 1)]).await;
    let interaction = house.attentions().await.last().unwrap().last_interaction;
    house.open_item("ana", interaction).await;
    for sequence in 1..=5 {
        let request = SendMessageRequest {
            interaction_id: interaction.to_string(),
            request_id: fresh(),
            text: "Hola".into(),
            ..SendMessageRequest::default()
        };
        let sent = house.actions.send(house.access("ana").await, request).await.unwrap().message.unwrap();
        let (old, new): (Uuid, Uuid) = (sent.message_id.parse().unwrap(), id(key, sequence));
        for sql in [
            "UPDATE attention.message SET message_id = $2 WHERE message_id = $1",
            "UPDATE attention.message_key SET message_id = $2, key = CASE kind WHEN 'send' THEN uuid_send($2) ELSE key END
             WHERE message_id = $1",
        ] {
            sqlx::query(sql).bind(old).bind(new).execute(house.db.pool()).await.unwrap();
        }
    }
}

#[async_trait]
impl Candidate for Deliveries {
    fn spec(&self) -> ConsumerSpec {
        ConsumerSpec::new(StreamKind::Delivery, DELIVERY_CONSUMER)
    }

    async fn migrate(&self, database_url: &str) -> Result<(), Error> {
        crate::migrate(database_url).await
    }

    async fn prepare(&self, db: &Db) -> Result<(), Error> {
        prepare_directory(db).await;
        let house = House::at(db.clone());
        for key in 0..4 {
            conversation(&house, key).await;
        }
        Ok(())
    }

    fn handler(&self, db: Db, nats: Nats) -> Arc<dyn BatchHandler> {
        Arc::new(DeliveryHandler::new(db, nats.subjects().clone()))
    }

    fn message(&self, key: u32, sequence: i64) -> OutboxRow {
        let envelope = DeliveryEnvelope {
            report_id: id(key, sequence).to_string(),
            send_id: id(key, sequence).to_string(),
            state: SendState::Sent.into(),
            ..DeliveryEnvelope::default()
        };
        OutboxRow {
            id: id(key, sequence),
            stream: StreamKind::Delivery,
            subject: "hilo.delivery.email.soporte-mail".into(),
            key: id(key, 0),
            sequence,
            headers: vec![],
            payload: envelope.encode_to_vec(),
        }
    }

    fn poison(&self) -> OutboxRow {
        OutboxRow { id: id(99, 1), key: id(99, 0), payload: b"\xff\xff".to_vec(), ..self.message(0, 1) }
    }

    async fn effects(&self, db: &Db) -> Result<Vec<Uuid>, Error> {
        let payloads: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT payload FROM kit.outbox_log WHERE subject LIKE '%.message_status_changed' ORDER BY position",
        )
        .fetch_all(db.pool())
        .await?;
        let message = |payload: &Vec<u8>| {
            let value: serde_json::Value = serde_json::from_slice(payload).unwrap();
            value["message"]["messageId"].as_str().unwrap().parse().unwrap()
        };
        Ok(payloads.iter().map(message).collect())
    }
}

async fn conforms(candidate: &dyn Candidate) {
    let servers = parking_lot::Mutex::new(Vec::new());
    conformance::run(candidate, || async {
        let nats = hilo_test_support::Nats::start().await.unwrap();
        let parts = Parts {
            database_url: Postgres::shared().await.unwrap().fresh_database().await.unwrap(),
            nats_url: nats.url(),
        };
        // Each lives until the suite is over.
        servers.lock().push(nats);
        parts
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn attention_intake_conforms() {
    conforms(&Intake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attention_delivery_conforms() {
    conforms(&Deliveries).await;
}
