//! Outbox: order with concurrent writers, crash between ack and delete, size limit, confirmation of hand-over rows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hilo_kit::Error;
use hilo_kit::config::DatabaseConfig;
use hilo_kit::db::Db;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::StreamKind;
use hilo_kit::outbox::{self, HandoverPeer, MAX_PAYLOAD, OutboxRow, Relay, RelayConfig};
use hilo_test_support::eventually;
use parking_lot::Mutex;
use rand::Rng;
use uuid::Uuid;

use crate::parts::{DEADLINE, Parts, append, count, event, follow, inbound, parts, published};

const NONE_PENDING: &str = "SELECT count(*) FROM kit.outbox_pending";

pub async fn all_published(db: &Db) {
    eventually("nothing is pending", DEADLINE, || async { count(db, NONE_PENDING).await == 0 })
        .await
        .unwrap();
}

/// Writes `rows` numbered events to random keys, each number made under the key's row lock, commits delayed at random.
async fn write(db: Db, keys: Arc<Vec<Uuid>>, rows: usize) {
    for _ in 0..rows {
        let key = keys[rand::rng().random_range(0..keys.len())];
        let (before, after) = (rand::rng().random_range(0..4), rand::rng().random_range(0..12));
        db.transaction(move |tx| {
            Box::pin(async move {
                let sequence: i64 =
                    sqlx::query_scalar("UPDATE numbered SET last = last + 1 WHERE key = $1 RETURNING last")
                        .bind(key)
                        .fetch_one(&mut *tx)
                        .await?;
                tokio::time::sleep(Duration::from_millis(before)).await;
                outbox::append(tx, &[event(key, sequence)]).await?;
                tokio::time::sleep(Duration::from_millis(after)).await;
                Ok(())
            })
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_published_in_order_whatever_the_commit_order() {
    let parts = parts().await;
    Relay::spawn(
        parts.db.clone(),
        parts.nats.clone(),
        RelayConfig::new("test", [StreamKind::Events]),
        &parts.shutdown,
    );
    let wide = DatabaseConfig { max_connections: 30, ..DatabaseConfig::new(parts.url.clone()) };
    let writers = Db::connect(&wide).await.unwrap();
    let keys: Arc<Vec<Uuid>> = Arc::new((0..40).map(|_| Uuid::now_v7()).collect());
    let numbered = keys.clone();
    writers
        .transaction(move |tx| {
            let keys = numbered.to_vec();
            Box::pin(async move {
                sqlx::query("CREATE TABLE numbered (key uuid PRIMARY KEY, last bigint NOT NULL)")
                    .execute(&mut *tx)
                    .await?;
                sqlx::query("INSERT INTO numbered SELECT key, 0 FROM unnest($1::uuid[]) AS key")
                    .bind(keys)
                    .execute(tx)
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
    let tasks: Vec<_> = (0..24).map(|_| tokio::spawn(write(writers.clone(), keys.clone(), 40))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    all_published(&parts.db).await;
    let all = published(&parts.nats, StreamKind::Events).await;
    assert_eq!(all.len(), 24 * 40, "each once");
    assert_eq!(follow(&all).values().sum::<i64>(), 24 * 40);
    parts.stop().await;
}

#[tokio::test]
async fn too_large_rows_are_refused_and_block_nothing() {
    let parts = parts().await;
    let key = Uuid::now_v7();
    let refused = parts
        .db
        .transaction(move |tx| {
            Box::pin(async move {
                let row = OutboxRow { payload: vec![0; MAX_PAYLOAD + 1], ..event(key, 1) };
                outbox::append(tx, &[row]).await
            })
        })
        .await
        .unwrap_err();
    assert_eq!(refused.reason(), "PAYLOAD_TOO_LARGE");
    assert_eq!(count(&parts.db, "SELECT count(*) FROM kit.outbox_log").await, 0);
    // The largest that is allowed fits the broker, with headers.
    let config = RelayConfig::new("test", [StreamKind::Events]);
    Relay::spawn(parts.db.clone(), parts.nats.clone(), config, &parts.shutdown);
    append(&parts.db, vec![OutboxRow { payload: vec![0; MAX_PAYLOAD], ..event(key, 1) }]).await;
    all_published(&parts.db).await;
    assert_eq!(published(&parts.nats, StreamKind::Events).await.len(), 1);
    parts.stop().await;
}

/// Runs in a process of its own, which the test below kills.
#[tokio::test]
#[ignore = "the child of a_relay_killed_between_ack_and_delete_loses_nothing"]
async fn child_relay() {
    let (Ok(url), Ok(nats)) = (std::env::var("CHILD_DATABASE"), std::env::var("CHILD_NATS")) else { return };
    let db = Db::connect(&DatabaseConfig::new(url)).await.unwrap();
    let config = hilo_kit::config::NatsConfig { url: nats, ..Default::default() };
    let nats = hilo_kit::nats::Nats::connect(&config).await.unwrap();
    Relay::spawn(db, nats, RelayConfig::new("test", [StreamKind::Events]), &Shutdown::new());
    std::future::pending::<()>().await;
}

fn child(parts: &Parts, faults: &std::path::Path) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["publishing::child_relay", "--exact", "--ignored"])
        .env("CHILD_DATABASE", &parts.url)
        .env("CHILD_NATS", parts.server.url())
        .env("HILO_FAULT_DIR", faults)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_between_ack_and_delete_loses_nothing() {
    let parts = parts().await;
    let keys: Vec<Uuid> = (0..8).map(|_| Uuid::now_v7()).collect();
    let mut sequence = 0;
    let mut landed = 0;
    for point in ["test.outbox.before_publish", "test.outbox.after_publish", "test.outbox.before_settle"] {
        let faults = tempfile::tempdir().unwrap();
        std::fs::write(faults.path().join(format!("{point}.armed")), "").unwrap();
        let mut relay = child(&parts, faults.path());
        for _ in 0..5 {
            sequence += 1;
            append(&parts.db, keys.iter().map(|key| event(*key, sequence)).collect()).await;
        }
        let reached = faults.path().join(format!("{point}.reached"));
        eventually("the relay stops at its point", DEADLINE, || async { reached.exists() }).await.unwrap();
        relay.kill().unwrap();
        relay.wait().unwrap();
        landed += 1;
    }
    assert_eq!(landed, 3);
    assert!(count(&parts.db, NONE_PENDING).await > 0, "the kills left work behind");
    let faults = tempfile::tempdir().unwrap();
    let mut relay = child(&parts, faults.path());
    all_published(&parts.db).await;
    relay.kill().unwrap();
    relay.wait().unwrap();
    let all = published(&parts.nats, StreamKind::Events).await;
    let followed = follow(&all);
    assert_eq!(followed.len(), keys.len());
    assert!(followed.values().all(|last| *last == sequence), "{followed:?}");
    parts.stop().await;
}

#[tokio::test]
async fn old_days_are_dropped_only_when_every_row_is_published_and_confirmed() {
    let (db, _) = crate::parts::database().await;
    let run = |sql: &'static str| {
        let db = db.clone();
        async move {
            db.read(move |conn| {
                Box::pin(async move { Ok(sqlx::raw_sql(sql).execute(conn).await.map(drop)?) })
            })
            .await
            .unwrap();
        }
    };
    // Three old days: one done, one with a pending row, one with a row its reader has not confirmed.
    run("DO $$ DECLARE d date; n int := 0; BEGIN
           FOREACH d IN ARRAY ARRAY[current_date - 20, current_date - 21, current_date - 22] LOOP
             n := n + 1;
             EXECUTE format('CREATE TABLE kit.outbox_log_%s PARTITION OF kit.outbox_log FOR VALUES FROM (%L) TO (%L)',
                            to_char(d, 'YYYYMMDD'), d, d + 1);
             INSERT INTO kit.outbox_log (id, day, partition, stream, subject, key, sequence, headers, payload)
             VALUES (gen_random_uuid(), d, 0, 'inbound', 's', gen_random_uuid(), n, '[]', '');
           END LOOP;
           INSERT INTO kit.outbox_pending (id, day, position, partition, stream, key, sequence)
             SELECT id, day, position, partition, stream, key, sequence FROM kit.outbox_log WHERE sequence = 2;
           INSERT INTO kit.outbox_unconfirmed (id, day, position, partition, stream, key, sequence, round, broker_sequence)
             SELECT id, day, position, partition, stream, key, sequence, 0, 1 FROM kit.outbox_log WHERE sequence = 3;
         END $$")
    .await;
    assert_eq!(outbox::maintain(&db).await.unwrap(), 1);
    assert_eq!(count(&db, "SELECT count(*) FROM kit.outbox_log").await, 2);
    run("DELETE FROM kit.outbox_pending; DELETE FROM kit.outbox_unconfirmed").await;
    assert_eq!(outbox::maintain(&db).await.unwrap(), 2);
    assert_eq!(count(&db, "SELECT count(*) FROM kit.outbox_log").await, 0);
    // Today and the days ahead are there.
    append(&db, vec![event(Uuid::now_v7(), 1)]).await;
    let ahead = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'kit.outbox_log'::regclass";
    assert!(count(&db, ahead).await >= 14);
}

/// A reader that knows what it is told to know.
#[derive(Default)]
struct Peer {
    known: Mutex<HashSet<Uuid>>,
    asked: Mutex<HashSet<Uuid>>,
}

#[async_trait]
impl HandoverPeer for Peer {
    async fn known(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        self.asked.lock().extend(ids);
        let known = self.known.lock();
        Ok(ids.iter().copied().filter(|id| known.contains(id)).collect())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handover_rows_stay_until_the_reader_knows_them_and_go_again_when_nobody_has_them() {
    let parts = parts().await;
    let peer = Arc::new(Peer::default());
    let config = RelayConfig {
        confirm_after: Duration::from_millis(200),
        reconcile_every: Duration::from_millis(100),
        ..RelayConfig::new("test", [StreamKind::Inbound]).peer(StreamKind::Inbound, peer.clone())
    };
    Relay::spawn(parts.db.clone(), parts.nats.clone(), config, &parts.shutdown);
    let rows: Vec<OutboxRow> = (1..=3).map(|sequence| inbound(Uuid::from_u128(7), sequence)).collect();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    append(&parts.db, rows).await;
    all_published(&parts.db).await;
    let unconfirmed = || count(&parts.db, "SELECT count(*) FROM kit.outbox_unconfirmed");
    eventually("all were asked about", DEADLINE, || async { peer.asked.lock().len() == 3 }).await.unwrap();
    assert_eq!(unconfirmed().await, 3, "nobody has committed them yet");

    peer.known.lock().insert(ids[0]);
    eventually("the first is confirmed", DEADLINE, || async { unconfirmed().await == 2 }).await.unwrap();
    assert_eq!(
        published(&parts.nats, StreamKind::Inbound).await.len(),
        3,
        "still in the stream, so not again"
    );

    // The broker forgets the second one, which nobody has committed.
    let stream = parts.nats.jetstream().get_stream("HILO_INBOUND").await.unwrap();
    stream.delete_message(2).await.unwrap();
    eventually("the second is published again", DEADLINE, || async {
        let all = published(&parts.nats, StreamKind::Inbound).await;
        all.iter().filter(|(_, _, id)| *id == ids[1]).count() == 1 && all.len() == 3
    })
    .await
    .unwrap();
    peer.known.lock().extend(ids);
    eventually("all are confirmed", DEADLINE, || async { unconfirmed().await == 0 }).await.unwrap();
    parts.stop().await;
}

/// The service of a channel that is down.
struct Away;

#[async_trait]
impl HandoverPeer for Away {
    async fn known(&self, _: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        Err(Error::unavailable("AWAY", "the reader is away"))
    }
}

/// Without the channel in the reconciler's page the rows of both wait for the one that is away.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_whose_reader_is_away_keeps_only_its_own_rows_waiting() {
    let parts = parts().await;
    let peer = Arc::new(Peer::default());
    let config = RelayConfig {
        confirm_after: Duration::ZERO,
        reconcile_every: Duration::from_millis(100),
        ..RelayConfig::new("test", [StreamKind::Inbound])
            .peer_of(StreamKind::Inbound, "whatsapp", Arc::new(Away))
            .peer_of(StreamKind::Inbound, "email", peer.clone())
    };
    let mail = inbound(Uuid::from_u128(7), 1);
    let mut item = inbound(Uuid::from_u128(8), 1);
    assert!(item.subject.contains(".email."), "{}", item.subject);
    item.subject = item.subject.replace(".email.", ".whatsapp.");
    peer.known.lock().extend([mail.id, item.id]);
    let (mail_id, item_id) = (mail.id, item.id);
    Relay::spawn(parts.db.clone(), parts.nats.clone(), config, &parts.shutdown);
    append(&parts.db, vec![mail, item]).await;
    all_published(&parts.db).await;
    let left = || async {
        parts
            .db
            .read(|conn| {
                Box::pin(async move {
                    let left = sqlx::query_scalar::<_, Uuid>("SELECT id FROM kit.outbox_unconfirmed");
                    Ok(left.fetch_all(conn).await?)
                })
            })
            .await
            .unwrap()
    };
    eventually("the mail is confirmed", DEADLINE, || async { left().await == vec![item_id] }).await.unwrap();
    assert_eq!(*peer.asked.lock(), HashSet::from([mail_id]), "each is asked about its own");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: prints rows per second of the relay and of a consumer"]
async fn how_fast() {
    let parts = parts().await;
    let rows = 20_000;
    let started = std::time::Instant::now();
    for batch in 0..rows / 200 {
        append(&parts.db, (0..200).map(|n| inbound(Uuid::now_v7(), i64::from(batch * 200 + n))).collect())
            .await;
    }
    println!("append: {:.0} rows/s, 200 each", f64::from(rows) / started.elapsed().as_secs_f64());
    let started = std::time::Instant::now();
    let config = RelayConfig::new("test", [StreamKind::Inbound]);
    Relay::spawn(parts.db.clone(), parts.nats.clone(), config, &parts.shutdown);
    all_published(&parts.db).await;
    println!("relay: {:.0} rows/s", f64::from(rows) / started.elapsed().as_secs_f64());
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handover_rows_of_a_wiped_broker_go_again_without_waiting() {
    let mut parts = parts().await;
    let peer = Arc::new(Peer::default());
    let config = RelayConfig {
        confirm_after: Duration::from_secs(3600),
        reconcile_every: Duration::from_millis(100),
        ..RelayConfig::new("test", [StreamKind::Inbound]).peer(StreamKind::Inbound, peer.clone())
    };
    Relay::spawn(parts.db.clone(), parts.nats.clone(), config, &parts.shutdown);
    let rows: Vec<OutboxRow> =
        (1..=50i64).map(|n| inbound(Uuid::from_u128(u128::from(n.unsigned_abs()) % 7), n)).collect();
    peer.known.lock().insert(rows[0].id);
    append(&parts.db, rows).await;
    all_published(&parts.db).await;
    parts.server.wipe().unwrap();
    parts.server.restart().await.unwrap();
    eventually("all but the known one are in the new stream, in order", DEADLINE, || async {
        let all = published(&parts.nats, StreamKind::Inbound).await;
        let mut last = std::collections::HashMap::new();
        all.len() == 49
            && all.iter().all(|(key, sequence, _)| {
                last.insert(*key, *sequence).is_none_or(|before| before < *sequence)
            })
    })
    .await
    .unwrap();
    parts.stop().await;
}
