//! `email-sender` passes kit's conformance suite.

use std::sync::Arc;

use async_trait::async_trait;
use hilo_email_ingest::sending_consumer;
use hilo_kit::config::ObjectsConfig;
use hilo_kit::conformance::{self, Candidate, Parts};
use hilo_kit::consumer::{BatchHandler, ConsumerSpec};
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::{Nats, StreamKind};
use hilo_kit::objects::Objects;
use hilo_kit::outbox::OutboxRow;
use hilo_test_support::Postgres;
use prost::Message as _;

use crate::rig::send;

struct Sender {
    objects: Objects,
}

fn id(key: u32, sequence: i64) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{key}/{sequence}").as_bytes())
}

#[async_trait]
impl Candidate for Sender {
    fn spec(&self) -> ConsumerSpec {
        ConsumerSpec::new(StreamKind::Outbound, "email-sender")
    }

    async fn migrate(&self, database_url: &str) -> Result<(), Error> {
        hilo_email_ingest::migrate(database_url).await
    }

    fn handler(&self, db: Db, nats: Nats) -> Arc<dyn BatchHandler> {
        sending_consumer(db, nats.subjects().clone(), self.objects.clone())
    }

    fn message(&self, key: u32, sequence: i64) -> OutboxRow {
        let conversation = id(key, 0);
        let mut envelope = send(conversation, sequence, &["ana@cliente.example"]);
        // The same arguments give the same send.
        envelope.send_id = id(key, sequence).to_string();
        OutboxRow {
            id: id(key, sequence),
            stream: StreamKind::Outbound,
            subject: "hilo.outbound.email.ventas".into(),
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
        Ok(sqlx::query_scalar("SELECT send_id FROM mail.send ORDER BY conversation_key, sequence")
            .fetch_all(db.pool())
            .await?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn email_sender_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let config = ObjectsConfig { path: folder.path().to_owned(), ..ObjectsConfig::default() };
    let sender = Sender { objects: Objects::open(&config).await.unwrap() };
    let servers = parking_lot::Mutex::new(Vec::new());
    conformance::run(&sender, || async {
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
