//! Kit's conformance suite for the wake-up: redelivery, poison, reordering, death between commit and acknowledgement.
//!
//! Each message tells of an interaction of its own, whose id is the message's id, so that an effect is a written
//! version of a thread; a trigger keeps the list of all of them.

use std::sync::Arc;

use async_trait::async_trait;
use hilo_history::Metrics;
use hilo_history::app::Keeper;
use hilo_history::consumer::{self, WakeUp};
use hilo_history::domain::{InteractionId, Thread};
use hilo_history::store::Store;
use hilo_kit::conformance::{self, Candidate, Parts};
use hilo_kit::consumer::{BatchHandler, ConsumerSpec};
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::nats::{Nats, StreamKind, Subjects};
use hilo_kit::outbox::OutboxRow;
use hilo_test_support::Postgres;
use uuid::Uuid;

use crate::fake::Fake;
use crate::{sample, wake};

/// More keys and numbers than the suite uses.
const KEYS: u32 = 8;
const PER_KEY: i64 = 10;

struct History {
    fake: Fake,
}

fn id(key: u32, sequence: i64) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{key}/{sequence}").as_bytes())
}

fn thread(key: u32, sequence: i64) -> Thread {
    let mut thread = sample::thread("hola");
    thread.head.interaction_id = InteractionId(id(key, sequence));
    thread.head.attention_id = id(key, 0).into();
    thread
}

fn row(id: Uuid, key: Uuid, sequence: i64, payload: Vec<u8>) -> OutboxRow {
    OutboxRow {
        id,
        stream: StreamKind::Events,
        subject: "hilo.attention.v1.ventas.interaction_ended".to_owned(),
        key,
        sequence,
        headers: vec![("ce-id".to_owned(), id.to_string())],
        payload,
    }
}

#[async_trait]
impl Candidate for History {
    fn spec(&self) -> ConsumerSpec {
        consumer::spec(&Subjects::new("hilo").unwrap())
    }

    async fn migrate(&self, database_url: &str) -> Result<(), Error> {
        hilo_history::migrate(database_url).await
    }

    async fn prepare(&self, db: &Db) -> Result<(), Error> {
        for statement in [
            "CREATE TABLE effect (place bigserial PRIMARY KEY, interaction_id uuid NOT NULL)",
            "CREATE FUNCTION note_effect() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO effect (interaction_id) VALUES (NEW.interaction_id); RETURN NEW; END $$",
            "CREATE TRIGGER effects AFTER INSERT OR UPDATE ON thread FOR EACH ROW EXECUTE FUNCTION note_effect()",
        ] {
            sqlx::query(statement).execute(db.pool()).await?;
        }
        Ok(())
    }

    fn handler(&self, db: Db, _nats: Nats) -> Arc<dyn BatchHandler> {
        let keeper = Keeper::new(Store::new(db), self.fake.channel(), 4, Metrics::new());
        Arc::new(WakeUp::new(keeper))
    }

    fn message(&self, key: u32, sequence: i64) -> OutboxRow {
        let thread = thread(key, sequence);
        row(id(key, sequence), id(key, 0), sequence, wake::event(&thread))
    }

    fn poison(&self) -> OutboxRow {
        let id = Uuid::from_u128(7);
        row(id, id, 1, b"{\"type\": 17".to_vec())
    }

    async fn effects(&self, db: &Db) -> Result<Vec<Uuid>, Error> {
        Ok(sqlx::query_scalar("SELECT interaction_id FROM effect ORDER BY place")
            .fetch_all(db.pool())
            .await?)
    }
}

#[tokio::test]
async fn the_wake_up_conforms() {
    let history = History { fake: Fake::start().await };
    for (key, sequence) in (0..KEYS).flat_map(|key| (1..=PER_KEY).map(move |sequence| (key, sequence))) {
        history.fake.end(&thread(key, sequence));
    }
    // The brokers of all checks live until the end.
    let brokers = tokio::sync::Mutex::new(Vec::new());
    let parts = || async {
        let nats = hilo_test_support::Nats::start().await.unwrap();
        let parts = Parts {
            database_url: Postgres::shared().await.unwrap().fresh_database().await.unwrap(),
            nats_url: nats.url(),
        };
        brokers.lock().await.push(nats);
        parts
    };
    conformance::run(&history, parts).await.unwrap();
}
