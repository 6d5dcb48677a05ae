//! The floor under the assignments: as many rows and bytes as a run wrote per message, in batches of the same size and as many
//! publications, by the shortest SQL and a publish loop, on the same servers. No rules, no order, no indexes but the key.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, StorageType};
use futures::StreamExt as _;
use hilo_end_to_end::Installation;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// Messages of a batch, as attention-state takes them in.
const BATCH: usize = 64;
/// Batches at work at once: as many as the outbox has partitions.
const AT_ONCE: usize = 4;
/// Publications of a batch without an acknowledgement.
const IN_FLIGHT: usize = 256;

/// What a run wrote and published per message.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Shape {
    /// Rows inserted.
    pub inserts: f64,
    /// Rows changed.
    pub updates: f64,
    /// Rows deleted.
    pub deletes: f64,
    /// Bytes the tables grew by, per row inserted.
    pub row_bytes: f64,
    /// Publications.
    pub events: f64,
    /// Bytes of each.
    pub event_bytes: f64,
}

/// Counts of the servers at an instant.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    inserts: i64,
    updates: i64,
    deletes: i64,
    bytes: i64,
    events: u64,
    event_bytes: u64,
}

impl Counts {
    /// As they are now.
    ///
    /// # Errors
    /// When a server does not answer.
    pub async fn read(installation: &Installation) -> Result<Self> {
        let mut session = PgConnection::connect(&installation.database("hilo_attention")).await?;
        let (inserts, updates, deletes, bytes): (i64, i64, i64, i64) = sqlx::query_as(
            "SELECT sum(n_tup_ins)::bigint, sum(n_tup_upd)::bigint, sum(n_tup_del)::bigint,
               sum(pg_table_size(relid))::bigint FROM pg_stat_user_tables",
        )
        .fetch_one(&mut session)
        .await?;
        let client = async_nats::connect(installation.nats_url()).await?;
        let name = format!("{}_EVENTS", installation.prefix().to_uppercase());
        let state = jetstream::new(client).get_stream(name).await?.cached_info().state.clone();
        Ok(Self { inserts, updates, deletes, bytes, events: state.messages, event_bytes: state.bytes })
    }

    /// What was written between two looks, per message.
    pub fn shape(before: &Self, after: &Self, messages: usize) -> Shape {
        let per = |before: i64, after: i64| (after - before).max(0) as f64 / messages.max(1) as f64;
        let (inserts, events) =
            (per(before.inserts, after.inserts), after.events.saturating_sub(before.events) as f64);
        Shape {
            inserts,
            updates: per(before.updates, after.updates),
            deletes: per(before.deletes, after.deletes),
            row_bytes: per(before.bytes, after.bytes) / inserts.max(1.0),
            events: events / messages.max(1) as f64,
            event_bytes: after.event_bytes.saturating_sub(before.event_bytes) as f64 / events.max(1.0),
        }
    }
}

/// Messages per second of the floor.
///
/// # Errors
/// When a server cannot be used.
pub async fn floor(installation: &Installation, shape: Shape, lasting: Duration) -> Result<f64> {
    let url = installation.database("postgres");
    let mut session = PgConnection::connect(&url).await?;
    for statement in
        ["DROP TABLE IF EXISTS load_floor", "CREATE TABLE load_floor (id uuid PRIMARY KEY, body bytea)"]
    {
        sqlx::query(statement).execute(&mut session).await?;
    }
    let broker = jetstream::new(async_nats::connect(installation.nats_url()).await?);
    let config = Config {
        name: "LOAD_FLOOR".to_owned(),
        subjects: vec!["load.floor.>".to_owned()],
        storage: StorageType::File,
        ..Config::default()
    };
    broker.create_stream(config).await?;
    let until = Instant::now() + lasting;
    let workers = (0..AT_ONCE).map(|_| tokio::spawn(work(url.clone(), broker.clone(), shape, until)));
    let mut batches = 0;
    for worker in workers.collect::<Vec<_>>() {
        batches += worker.await??;
    }
    broker.delete_stream("LOAD_FLOOR").await?;
    Ok((batches * BATCH) as f64 / lasting.as_secs_f64())
}

async fn work(url: String, broker: jetstream::Context, shape: Shape, until: Instant) -> Result<usize> {
    let mut session = PgConnection::connect(&url).await?;
    let many = |each: f64| (each * BATCH as f64).round() as usize;
    let (row, event) =
        (vec![7_u8; shape.row_bytes as usize], bytes::Bytes::from(vec![b'x'; shape.event_bytes as usize]));
    let mut batches = 0;
    while Instant::now() < until {
        let ids: Vec<Uuid> = (0..many(shape.inserts)).map(|_| Uuid::now_v7()).collect();
        let some = |count: usize| ids.iter().copied().take(count).collect::<Vec<_>>();
        sqlx::query("INSERT INTO load_floor SELECT id, $2 FROM unnest($1::uuid[]) AS id")
            .bind(&ids)
            .bind(&row)
            .execute(&mut session)
            .await?;
        sqlx::query("UPDATE load_floor SET body = $2 WHERE id = ANY($1)")
            .bind(some(many(shape.updates)))
            .bind(&row)
            .execute(&mut session)
            .await?;
        let published = futures::stream::iter(0..many(shape.events)).map(|_| {
            let (broker, event) = (broker.clone(), event.clone());
            async move { anyhow::Ok(broker.publish("load.floor.event", event).await?.await?) }
        });
        let acks: Vec<Result<_>> = published.buffer_unordered(IN_FLIGHT).collect().await;
        acks.into_iter().collect::<Result<Vec<_>>>().context("publishing")?;
        sqlx::query("DELETE FROM load_floor WHERE id = ANY($1)")
            .bind(some(many(shape.deletes)))
            .execute(&mut session)
            .await?;
        batches += 1;
    }
    Ok(batches)
}
