//! What the tests share: a migrated database, a broker, rows to publish, and reading a stream to its end.

use std::collections::HashMap;
use std::time::Duration;

use hilo_kit::config::{DatabaseConfig, NatsConfig};
use hilo_kit::db::{Db, migrate};
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::{Nats, StreamKind};
use hilo_kit::outbox::{self, OutboxRow};
use hilo_test_support::Postgres;
use sqlx::migrate::Migrator;
use uuid::Uuid;

/// Tests wait for conditions, never for times; this is when they give up.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A migrated database of its own.
pub async fn database() -> (Db, String) {
    let url = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
    migrate(&url, &no_migrations()).await.unwrap();
    (Db::connect(&DatabaseConfig::new(url.clone())).await.unwrap(), url)
}

pub fn no_migrations() -> Migrator {
    Migrator::with_migrations(Vec::new())
}

pub fn nats_config(server: &hilo_test_support::Nats) -> NatsConfig {
    NatsConfig { url: server.url(), ..NatsConfig::default() }
}

pub async fn connect(server: &hilo_test_support::Nats) -> Nats {
    Nats::connect(&nats_config(server)).await.unwrap()
}

/// Database, broker, connection, shutdown.
pub struct Parts {
    pub db: Db,
    pub url: String,
    pub server: hilo_test_support::Nats,
    pub nats: Nats,
    pub shutdown: Shutdown,
}

pub async fn parts() -> Parts {
    // RUST_LOG shows what happened when a test fails.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let (db, url) = database().await;
    let server = hilo_test_support::Nats::start().await.unwrap();
    let nats = connect(&server).await;
    Parts { db, url, server, nats, shutdown: Shutdown::new() }
}

impl Parts {
    pub async fn stop(self) {
        self.shutdown.drain(Duration::from_secs(10)).await;
    }
}

/// An event row.
pub fn event(key: Uuid, sequence: i64) -> OutboxRow {
    OutboxRow {
        id: Uuid::now_v7(),
        stream: StreamKind::Events,
        subject: "hilo.attention.v1.ventas.interaction_queued".into(),
        key,
        sequence,
        headers: vec![("ce-type".into(), "hilo.interaction_queued".into())],
        payload: sequence.to_string().into_bytes(),
    }
}

/// A hand-over row.
pub fn inbound(key: Uuid, sequence: i64) -> OutboxRow {
    OutboxRow {
        stream: StreamKind::Inbound,
        subject: "hilo.inbound.email.ventas".into(),
        ..event(key, sequence)
    }
}

pub async fn append(db: &Db, rows: Vec<OutboxRow>) {
    db.transaction(move |tx| {
        let rows = rows.clone();
        Box::pin(async move { outbox::append(tx, &rows).await })
    })
    .await
    .unwrap();
}

pub async fn count(db: &Db, sql: &'static str) -> i64 {
    db.read(move |conn| Box::pin(async move { Ok(sqlx::query_scalar(sql).fetch_one(conn).await?) }))
        .await
        .unwrap()
}

/// (key, sequence, id) of everything in a stream, in its order; read one by one, which works for work queues as well.
pub async fn published(nats: &Nats, kind: StreamKind) -> Vec<(Uuid, i64, Uuid)> {
    let Ok(stream) = nats.jetstream().get_stream(nats.subjects().stream(kind)).await else { return vec![] };
    let state = stream.cached_info().state.clone();
    let mut all = Vec::new();
    for sequence in state.first_sequence..=state.last_sequence {
        // Deleted by a test, or by an acknowledgement.
        let Ok(message) = stream.get_raw_message(sequence).await else { continue };
        let header = |name: &str| message.headers.get(name).unwrap().as_str().to_owned();
        all.push((
            header(outbox::HEADER_KEY).parse().unwrap(),
            header(outbox::HEADER_SEQUENCE).parse().unwrap(),
            header(outbox::HEADER_ID).parse().unwrap(),
        ));
    }
    all
}

/// What a subscriber who follows the rules has: per key the sequences it took, ignoring those it has seen; a gap fails.
pub fn follow(all: &[(Uuid, i64, Uuid)]) -> HashMap<Uuid, i64> {
    let mut last: HashMap<Uuid, i64> = HashMap::new();
    for (key, sequence, _) in all {
        let seen = last.entry(*key).or_default();
        assert!(*sequence <= *seen + 1, "key {key}: {sequence} came after {seen}");
        *seen = (*seen).max(*sequence);
    }
    last
}
