//! The fence of every write a relay makes: with the guard deleted, a stale owner's writes go through and these fail.

use std::time::Duration;

use hilo_test_support::Postgres;
use sqlx::migrate::Migrator;
use uuid::Uuid;

use super::rows::{self, Acked};
use super::{OutboxRow, append, heal, partition_of, reconcile};
use crate::config::DatabaseConfig;
use crate::db::{Db, migrate};
use crate::lease::{self, Acquired, Lease};
use crate::nats::StreamKind;

struct Setup {
    db: Db,
    stale: Lease,
    current: Lease,
    row: OutboxRow,
}

fn lease_of(acquired: Acquired) -> Lease {
    match acquired {
        Acquired::Taken(lease) | Acquired::Kept(lease) => lease,
        Acquired::Other { .. } => panic!("held by another"),
    }
}

/// One pending row, an owner that was taken over from and the one that took over.
async fn setup() -> Setup {
    let url = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
    migrate(&url, &Migrator::with_migrations(Vec::new())).await.unwrap();
    let db = Db::connect(&DatabaseConfig::new(url)).await.unwrap();
    let row = OutboxRow {
        id: Uuid::now_v7(),
        stream: StreamKind::Inbound,
        subject: "hilo.inbound.email.a".into(),
        key: Uuid::now_v7(),
        sequence: 1,
        headers: vec![],
        payload: vec![1],
    };
    let appended = row.clone();
    db.transaction(move |tx| {
        let row = appended.clone();
        Box::pin(async move { append(tx, &[row]).await })
    })
    .await
    .unwrap();
    let stale = lease_of(lease::acquire(&db, "outbox/0", "old", Duration::from_millis(1)).await.unwrap());
    tokio::time::sleep(Duration::from_millis(5)).await;
    let current = lease_of(lease::acquire(&db, "outbox/0", "new", Duration::from_secs(60)).await.unwrap());
    Setup { db, stale, current, row }
}

impl Setup {
    fn acked(&self) -> Vec<Acked> {
        vec![Acked {
            id: self.row.id,
            stream: self.row.stream,
            broker_sequence: 1,
            incarnation: "now".into(),
        }]
    }

    async fn count(&self, sql: &'static str) -> i64 {
        self.db
            .read(move |conn| Box::pin(async move { Ok(sqlx::query_scalar(sql).fetch_one(conn).await?) }))
            .await
            .unwrap()
    }

    async fn pending(&self) -> i64 {
        self.count("SELECT count(*) FROM kit.outbox_pending").await
    }
}

#[tokio::test]
async fn a_stale_owner_cannot_settle() {
    let setup = setup().await;
    let partition = partition_of(setup.row.key);
    let refused = rows::settle(&setup.db, setup.stale.clone(), partition, setup.acked()).await.unwrap_err();
    assert_eq!(refused.reason(), "STALE_EPOCH");
    assert_eq!(setup.pending().await, 1);
    rows::settle(&setup.db, setup.current.clone(), partition, setup.acked()).await.unwrap();
    assert_eq!(setup.pending().await, 0);
    assert_eq!(
        setup.count("SELECT count(*) FROM kit.outbox_unconfirmed").await,
        1,
        "a hand-over row waits for its reader"
    );
}

#[tokio::test]
async fn a_stale_owner_cannot_put_rows_back() {
    let setup = setup().await;
    rows::settle(&setup.db, setup.current.clone(), 0, setup.acked()).await.unwrap();
    let id = setup.row.id;
    let refused = reconcile::put_back(&setup.db, &setup.stale, vec![id]).await.unwrap_err();
    assert_eq!(refused.reason(), "STALE_EPOCH");
    assert_eq!(setup.pending().await, 0);
    reconcile::put_back(&setup.db, &setup.current, vec![id]).await.unwrap();
    assert_eq!(setup.pending().await, 1);
    assert_eq!(setup.count("SELECT round::bigint FROM kit.outbox_pending").await, 1, "a fresh Msg-Id");
}

#[tokio::test]
async fn a_stale_owner_cannot_heal() {
    let setup = setup().await;
    let rows = || {
        vec![heal::Logged {
            id: Uuid::now_v7(),
            day: time::Date::from_ordinal_date(2026, 1).unwrap(),
            position: 7,
            key: setup.row.key,
            sequence: 1,
            pending: false,
        }]
    };
    let refused = heal::requeue(&setup.db, &setup.stale, 0, rows()).await.unwrap_err();
    assert_eq!(refused.reason(), "STALE_EPOCH");
    assert_eq!(setup.pending().await, 1);
    heal::requeue(&setup.db, &setup.current, 0, rows()).await.unwrap();
    assert_eq!(setup.pending().await, 2);
}
