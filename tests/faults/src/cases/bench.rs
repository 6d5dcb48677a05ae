//! What the cases about outbox and consumers share: a migrated database, a broker, rows to publish, reading a stream.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::StreamExt;
use hilo_kit::config::{DatabaseConfig, NatsConfig};
use hilo_kit::db::{Db, migrate};
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::{Nats, StreamKind};
use hilo_kit::outbox::{HEADER_KEY, HEADER_SEQUENCE, OutboxRow, append};
use hilo_test_support::Postgres;
use sqlx::migrate::Migrator;
use uuid::Uuid;

/// Longest wait for a condition.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Database, broker, connections.
pub struct Bench {
    pub db: Db,
    pub url: String,
    pub server: hilo_test_support::Nats,
    pub nats: Nats,
    pub shutdown: Shutdown,
}

impl Bench {
    /// With a pool of `connections`.
    pub async fn start(connections: u32) -> Result<Self> {
        hilo_kit::install_crypto();
        let url = Postgres::shared().await?.fresh_database().await?;
        migrate(&url, &Migrator::with_migrations(Vec::new())).await.context("migrate")?;
        let config = DatabaseConfig { max_connections: connections, ..DatabaseConfig::new(url.clone()) };
        let db = Db::connect(&config).await.context("database")?;
        let server = hilo_test_support::Nats::start().await?;
        let nats = connect(&server.url()).await?;
        Ok(Self { db, url, server, nats, shutdown: Shutdown::new() })
    }

    /// Runs statements without parameters.
    pub async fn run(&self, sql: &'static str) -> Result<()> {
        let done = self
            .db
            .read(move |conn| Box::pin(async move { Ok(sqlx::raw_sql(sql).execute(conn).await.map(drop)?) }));
        done.await.context(sql)
    }

    /// A number.
    pub async fn count(&self, sql: &'static str) -> Result<i64> {
        let counted = self
            .db
            .read(move |conn| Box::pin(async move { Ok(sqlx::query_scalar(sql).fetch_one(conn).await?) }));
        counted.await.context(sql)
    }

    /// Commits rows.
    pub async fn append(&self, rows: Vec<OutboxRow>) -> Result<()> {
        let done = self.db.transaction(move |tx| {
            let rows = rows.clone();
            Box::pin(async move { append(tx, &rows).await })
        });
        done.await.context("append")
    }

    /// Waits until the number is zero.
    pub async fn until_none(&self, what: &str, sql: &'static str, deadline: Duration) -> Result<()> {
        let none = || async { self.count(sql).await.is_ok_and(|count| count == 0) };
        hilo_test_support::eventually(what, deadline, none).await
    }

    pub async fn stop(self) {
        self.shutdown.drain(Duration::from_secs(10)).await;
    }
}

pub async fn connect(url: &str) -> Result<Nats> {
    let config = NatsConfig { url: url.to_owned(), ..NatsConfig::default() };
    Nats::connect(&config).await.context("broker")
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

/// What a subscriber who follows the rules makes of a stream.
#[derive(Debug, Default)]
pub struct Followed {
    /// Last sequence by key.
    pub last: BTreeMap<Uuid, i64>,
    /// Messages whose sequence it had seen.
    pub repeats: usize,
    /// Sequences that came before their predecessor.
    pub out_of_order: usize,
    /// Distinct ids.
    pub ids: HashSet<String>,
}

/// Reads a stream of events from its first to its last message.
pub async fn follow(nats: &Nats) -> Result<Followed> {
    let mut followed = Followed::default();
    let mut stream = nats.jetstream().get_stream(nats.subjects().stream(StreamKind::Events)).await?;
    let state = stream.info().await?.state.clone();
    if state.messages == 0 {
        return Ok(followed);
    }
    let config = pull::OrderedConfig {
        headers_only: true,
        deliver_policy: DeliverPolicy::All,
        ..pull::OrderedConfig::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    loop {
        let message =
            tokio::time::timeout(PATIENCE, messages.next()).await?.context("the scan ended early")??;
        let headers = message.headers.as_ref().context("a message without headers")?;
        let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned()).context("header");
        let (key, sequence): (Uuid, i64) = (header(HEADER_KEY)?.parse()?, header(HEADER_SEQUENCE)?.parse()?);
        followed.ids.insert(header(hilo_kit::outbox::HEADER_ID)?);
        let last = followed.last.entry(key).or_default();
        match sequence {
            next if next == *last + 1 => *last = next,
            seen if seen <= *last => followed.repeats += 1,
            _ => followed.out_of_order += 1,
        }
        let at = message.info().map_err(|error| anyhow::anyhow!("{error}"))?.stream_sequence;
        if at >= state.last_sequence {
            return Ok(followed);
        }
    }
}
