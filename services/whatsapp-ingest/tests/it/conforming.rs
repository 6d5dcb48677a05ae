//! `whatsapp-sender` passes kit's conformance suite.

use std::sync::Arc;

use async_trait::async_trait;
use hilo_kit::conformance::{self, Candidate, Parts};
use hilo_kit::consumer::{BatchHandler, ConsumerSpec};
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::{Nats, StreamKind};
use hilo_kit::outbox::OutboxRow;
use hilo_test_support::Postgres;
use hilo_whatsapp_ingest::sending_consumer;
use prost::Message as _;

use crate::rig::{CUSTOMER, send};

struct Sender;

fn id(key: u32, sequence: i64) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{key}/{sequence}").as_bytes())
}

#[async_trait]
impl Candidate for Sender {
    fn spec(&self) -> ConsumerSpec {
        ConsumerSpec::new(StreamKind::Outbound, "whatsapp-sender")
    }

    async fn migrate(&self, database_url: &str) -> Result<(), Error> {
        hilo_whatsapp_ingest::migrate(database_url).await
    }

    fn handler(&self, db: Db, nats: Nats) -> Arc<dyn BatchHandler> {
        sending_consumer(db, nats.subjects().clone())
    }

    fn message(&self, key: u32, sequence: i64) -> OutboxRow {
        let conversation = id(key, 0);
        let mut envelope = send(conversation, sequence, CUSTOMER);
        // The same arguments give the same send.
        envelope.send_id = id(key, sequence).to_string();
        OutboxRow {
            id: id(key, sequence),
            stream: StreamKind::Outbound,
            subject: "hilo.outbound.whatsapp.ventas".into(),
            key: conversation,
            sequence,
            headers: vec![],
            payload: envelope.encode_to_vec(),
        }
    }

    fn poison(&self) -> OutboxRow {
        OutboxRow { id: id(99, 1), key: id(99, 0), payload: b"\xff\xff".to_vec(), ..self.message(0, 1) }
    }

    async fn effects(&self, db: &Db) -> Result<Vec<Uuid>, Error> {
        Ok(sqlx::query_scalar("SELECT send_id FROM whatsapp.send ORDER BY conversation_key, sequence")
            .fetch_all(db.pool())
            .await?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatsapp_sender_conforms() {
    let servers = parking_lot::Mutex::new(Vec::new());
    conformance::run(&Sender, || async {
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
