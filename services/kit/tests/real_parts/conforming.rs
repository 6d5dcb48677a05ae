//! The conformance suite on a consumer made as it should be, and on some that are not: the suite must tell them apart.

use std::sync::Arc;

use async_trait::async_trait;
use hilo_kit::conformance::{self, Candidate};
use hilo_kit::consumer::{BatchHandler, ConsumerSpec, Delivery, Outcome};
use hilo_kit::db::{Db, migrate};
use hilo_kit::nats::{Nats, StreamKind};
use hilo_kit::outbox::{self, OutboxRow};
use hilo_kit::{Error, inbox};
use hilo_test_support::Postgres;
use uuid::Uuid;

use crate::parts::{event, inbound, no_migrations};

/// How the handler is made.
#[derive(Clone, Copy, PartialEq)]
enum Made {
    Right,
    WithoutInbox,
    WithoutDeadLetters,
}

struct Notes {
    made: Made,
    server: tokio::sync::Mutex<Vec<hilo_test_support::Nats>>,
}

impl Notes {
    fn new(made: Made) -> Self {
        Self { made, server: tokio::sync::Mutex::default() }
    }

    async fn parts(&self) -> conformance::Parts {
        let server = hilo_test_support::Nats::start().await.unwrap();
        let nats_url = server.url();
        self.server.lock().await.push(server);
        conformance::Parts {
            database_url: Postgres::shared().await.unwrap().fresh_database().await.unwrap(),
            nats_url,
        }
    }
}

fn id(key: u32, sequence: i64) -> Uuid {
    Uuid::from_u128(u128::from(key + 1) << 64 | u128::from(sequence.unsigned_abs()))
}

#[async_trait]
impl Candidate for Notes {
    fn spec(&self) -> ConsumerSpec {
        ConsumerSpec::new(StreamKind::Inbound, "notes")
    }

    async fn migrate(&self, url: &str) -> Result<(), Error> {
        migrate(url, &no_migrations()).await
    }

    async fn prepare(&self, db: &Db) -> Result<(), Error> {
        db.read(|conn| {
            Box::pin(async move {
                sqlx::query("CREATE TABLE note (n bigserial, id uuid)").execute(conn).await?;
                Ok(())
            })
        })
        .await
    }

    fn handler(&self, db: Db, _: Nats) -> Arc<dyn BatchHandler> {
        Arc::new(Handler { db, made: self.made })
    }

    fn message(&self, key: u32, sequence: i64) -> OutboxRow {
        OutboxRow { id: id(key, sequence), ..inbound(Uuid::from_u128(u128::from(key + 1)), sequence) }
    }

    fn poison(&self) -> OutboxRow {
        OutboxRow { payload: b"poison".to_vec(), ..inbound(Uuid::now_v7(), 1) }
    }

    async fn effects(&self, db: &Db) -> Result<Vec<Uuid>, Error> {
        db.read(|conn| {
            Box::pin(async move {
                Ok(sqlx::query_scalar("SELECT id FROM note ORDER BY n").fetch_all(conn).await?)
            })
        })
        .await
    }
}

struct Handler {
    db: Db,
    made: Made,
}

#[async_trait]
impl BatchHandler for Handler {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for delivery in batch {
            outcomes.push(match self.one(delivery).await {
                Ok(()) => Outcome::Ack,
                Err(_) if self.made == Made::WithoutDeadLetters => Outcome::Ack,
                Err(error) => Outcome::of(error),
            });
        }
        outcomes
    }
}

impl Handler {
    async fn one(&self, delivery: &Delivery) -> Result<(), Error> {
        if delivery.payload().as_ref() == b"poison" {
            return Err(Error::corrupt("UNDECODABLE", "poison"));
        }
        let (id, made) = (delivery.id(), self.made);
        self.db
            .transaction(move |tx| {
                Box::pin(async move {
                    if made != Made::WithoutInbox && inbox::take(tx, "notes", &[id]).await?.is_empty() {
                        return Ok(());
                    }
                    sqlx::query("INSERT INTO note (id) VALUES ($1)").bind(id).execute(&mut *tx).await?;
                    outbox::append(tx, &[event(id, 1)]).await
                })
            })
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_made_as_it_should_be_conforms() {
    let notes = Notes::new(Made::Right);
    conformance::run(&notes, || notes.parts()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_without_inbox_is_found_out() {
    let notes = Notes::new(Made::WithoutInbox);
    for error in [
        conformance::redelivery(&notes, notes.parts().await).await.unwrap_err(),
        conformance::reorder(&notes, notes.parts().await).await.unwrap_err(),
        conformance::crash_between_commit_and_ack(&notes, notes.parts().await).await.unwrap_err(),
    ] {
        assert!(error.message().contains("two effects"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_swallows_poison_is_found_out() {
    let notes = Notes::new(Made::WithoutDeadLetters);
    let error = conformance::poison(&notes, notes.parts().await).await.unwrap_err();
    assert!(error.message().contains("dead letter"), "{error}");
}
