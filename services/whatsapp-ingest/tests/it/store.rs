//! The ledger's guards: whose attempt it is, which doubt is over, which lease still holds.

use std::time::Duration;

use hilo_kit::config::DatabaseConfig;
use hilo_kit::db::Db;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{Acquired, Lease, acquire};
use hilo_kit::nats::Subjects;
use hilo_test_support::Postgres;
use hilo_whatsapp_ingest::domain::pace::PairPace;
use hilo_whatsapp_ingest::domain::send::Outcome;
use hilo_whatsapp_ingest::store::{AttemptResult, NewWebhook, Picked, Store};

use crate::rig::{CUSTOMER, send};

const PACE: PairPace = PairPace { interval: 0.001, burst: 1000 };
const NOBODY: &[Uuid] = &[];
const LONG: Duration = Duration::from_secs(600);

async fn store() -> Store {
    let url = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
    hilo_whatsapp_ingest::migrate(&url).await.unwrap();
    let db = Db::connect(&DatabaseConfig::new(url)).await.unwrap();
    Store::new(db, Subjects::new("hilo").unwrap())
}

async fn lease(store: &Store, name: &str, holder: &str) -> Lease {
    sqlx::query("UPDATE kit.lease SET expires_at = '-infinity'").execute(store.db().pool()).await.unwrap();
    match acquire(store.db(), name, holder, Duration::from_secs(60)).await.unwrap() {
        Acquired::Taken(lease) | Acquired::Kept(lease) => lease,
        Acquired::Other { holder, .. } => panic!("held by {holder}"),
    }
}

async fn begun(store: &Store, lease: &Lease) -> Picked {
    store.take(vec![(Uuid::now_v7(), send(Uuid::now_v7(), 1, CUSTOMER))]).await.unwrap();
    let mut begun = store.begin("ventas", lease, 10, PACE).await.unwrap();
    assert_eq!(begun.picked.len(), 1);
    begun.picked.remove(0)
}

fn result(outcome: Outcome) -> AttemptResult {
    AttemptResult { outcome, retry: Duration::from_millis(1), doubt: LONG, pace: PACE, jitter: 0.0 }
}

async fn state(store: &Store, picked: &Picked) -> String {
    let query = "SELECT state FROM whatsapp.send WHERE send_id = $1";
    sqlx::query_scalar(query).bind(picked.send_id).fetch_one(store.db().pool()).await.unwrap()
}

async fn count(store: &Store, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(store.db().pool()).await.unwrap()
}

#[tokio::test]
async fn only_what_nobody_works_on_is_doubted() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let (mine, left) = (begun(&store, &lease).await, begun(&store, &lease).await);
    assert_eq!(store.recover("otra", &lease, NOBODY, LONG).await.unwrap(), 0, "another account's");
    assert_eq!(store.recover("ventas", &lease, &[mine.send_id], LONG).await.unwrap(), 1);
    assert_eq!(
        (state(&store, &mine).await.as_str(), state(&store, &left).await.as_str()),
        ("attempting", "doubtful")
    );
    // The truth ends a doubt; a second end of the same attempt changes nothing.
    assert!(store.settle(&left, result(Outcome::Accepted("wamid.1".into()))).await.unwrap());
    let refused = Outcome::Refused { code: 100, text: String::new() };
    assert!(!store.settle(&left, result(refused)).await.unwrap());
    assert_eq!(state(&store, &left).await, "sent");
}

#[tokio::test]
async fn a_doubt_ends_when_its_time_is_over_and_not_before() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let (early, over) = (begun(&store, &lease).await, begun(&store, &lease).await);
    assert!(store.settle(&early, result(Outcome::NoAnswer("x".into()))).await.unwrap());
    let short = AttemptResult { doubt: Duration::ZERO, ..result(Outcome::NoAnswer("x".into())) };
    assert!(store.settle(&over, short).await.unwrap());
    assert_eq!(store.end_doubts("otra", &lease).await.unwrap(), 0, "another account's");
    assert_eq!(store.end_doubts("ventas", &lease).await.unwrap(), 1);
    assert_eq!(
        (state(&store, &early).await.as_str(), state(&store, &over).await.as_str()),
        ("doubtful", "unknown")
    );
    assert!(
        !store.settle(&over, result(Outcome::NoAnswer("y".into()))).await.unwrap(),
        "nothing better is known"
    );
}

#[tokio::test]
async fn an_attempt_of_before_does_not_end_the_one_of_now() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let first = begun(&store, &lease).await;
    let refused = |code| result(Outcome::Refused { code, text: String::new() });
    assert!(store.settle(&first, refused(131_000)).await.unwrap());
    sqlx::query("UPDATE whatsapp.send SET next_at = now()").execute(store.db().pool()).await.unwrap();
    let second = store.begin("ventas", &lease, 10, PACE).await.unwrap().picked.remove(0);
    assert_eq!((second.send_id, second.attempts), (first.send_id, 2));
    assert!(!store.settle(&first, refused(100)).await.unwrap());
    assert_eq!(state(&store, &second).await, "attempting");
    let other_epoch = Picked { epoch: second.epoch + 1, ..second.clone() };
    assert!(!store.settle(&other_epoch, refused(100)).await.unwrap());
    assert_eq!(state(&store, &second).await, "attempting");
}

#[tokio::test]
async fn many_refusals_at_once_are_one_pause() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let attempts = [begun(&store, &lease).await, begun(&store, &lease).await, begun(&store, &lease).await];
    for attempt in &attempts {
        let refused = Outcome::Refused { code: 190, text: String::new() };
        assert!(store.settle(attempt, result(refused)).await.unwrap());
    }
    assert_eq!(count(&store, "SELECT times::bigint FROM whatsapp.pause").await, 1);
    let paused = store.begin("ventas", &lease, 10, PACE).await.unwrap();
    assert!(paused.paused.is_some_and(|left| left > Duration::from_secs(30)) && paused.picked.is_empty());
    assert!(store.begin("otra", &lease, 10, PACE).await.unwrap().paused.is_none(), "another number goes on");
}

#[tokio::test]
async fn who_lost_his_lease_changes_nothing() {
    let store = store().await;
    let old = lease(&store, "whatsapp-send/ventas", "one").await;
    begun(&store, &old).await;
    let new = lease(&store, "whatsapp-send/ventas", "two").await;
    assert!(new.epoch > old.epoch);
    let stale = "STALE_EPOCH";
    assert_eq!(store.begin("ventas", &old, 10, PACE).await.unwrap_err().reason(), stale);
    assert_eq!(store.recover("ventas", &old, NOBODY, LONG).await.unwrap_err().reason(), stale);
    assert_eq!(store.end_doubts("ventas", &old).await.unwrap_err().reason(), stale);

    let (old, body) = (lease(&store, "whatsapp-parse", "one").await, bytes::Bytes::from_static(b"{}"));
    let webhook = NewWebhook { id: Uuid::now_v7(), body, signed_by: vec!["app".into()], traceparent: None };
    store.keep(vec![webhook]).await.unwrap();
    let new = lease(&store, "whatsapp-parse", "two").await;
    assert_eq!(store.claim(&old, 10).await.unwrap_err().reason(), stale);
    assert_eq!(store.parsed(&old, vec![], 1).await.unwrap_err().reason(), stale);
    let claimed = store.claim(&new, 10).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.attempts).collect::<Vec<_>>(), [1]);
    store.put_back(vec![claimed[0].id], LONG).await.unwrap();
    assert!(store.claim(&new, 10).await.unwrap().is_empty(), "put back for a while");
    store.put_back(vec![claimed[0].id], Duration::ZERO).await.unwrap();
    assert_eq!(store.claim(&new, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_send_waits_for_its_predecessor_to_come() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let conversation = Uuid::now_v7();
    store.take(vec![(Uuid::now_v7(), send(conversation, 2, CUSTOMER))]).await.unwrap();
    assert!(
        store.begin("ventas", &lease, 10, PACE).await.unwrap().picked.is_empty(),
        "the first is not here"
    );
    let first = send(conversation, 1, CUSTOMER);
    store.take(vec![(Uuid::now_v7(), first.clone())]).await.unwrap();
    let begun = store.begin("ventas", &lease, 10, PACE).await.unwrap().picked;
    assert_eq!(begun.iter().map(|one| one.send_id.to_string()).collect::<Vec<_>>(), [first.send_id]);
}
