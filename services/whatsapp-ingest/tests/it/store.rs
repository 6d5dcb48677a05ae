//! The ledger's guards: whose attempt it is, which doubt is over, which lease still holds.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::config::DatabaseConfig;
use hilo_kit::db::Db;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{Acquired, Lease, acquire};
use hilo_kit::nats::Subjects;
use hilo_proto::inbound::v1::{Attachment, MediaKind};
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_proto::outbound::v1::{SendMedia, SendReadMark};
use hilo_test_support::Postgres;
use hilo_whatsapp_ingest::domain::outgoing::FileNeeded;
use hilo_whatsapp_ingest::domain::pace::PairPace;
use hilo_whatsapp_ingest::domain::send::Outcome;
use hilo_whatsapp_ingest::store::{
    Ask, AttemptResult, Held, NewWebhook, Parsed, Picked, Store, Uploaded, Waits,
};

use crate::rig::{CUSTOMER, send};
use crate::turns::{hold_pauses, longest_pause, now};

pub const PACE: PairPace = PairPace { interval: 0.001, burst: 1000 };
/// A beginning with room for that many.
pub fn ask(limit: usize) -> Ask {
    Ask { limit, files: limit, pace: PACE, begun_by: Uuid::now_v7() }
}

pub const NOBODY: &[Uuid] = &[];
pub const LONG: Duration = Duration::from_secs(600);

pub async fn store() -> Store {
    let url = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
    hilo_whatsapp_ingest::migrate(&url).await.unwrap();
    let db = Db::connect(&DatabaseConfig::new(url)).await.unwrap();
    Store::new(db, Subjects::new("hilo").unwrap())
}

pub async fn lease(store: &Store, name: &str, holder: &str) -> Lease {
    sqlx::query("UPDATE kit.lease SET expires_at = '-infinity'").execute(store.db().pool()).await.unwrap();
    match acquire(store.db(), name, holder, Duration::from_secs(60)).await.unwrap() {
        Acquired::Taken(lease) | Acquired::Kept(lease) => lease,
        Acquired::Other { holder, .. } => panic!("held by {holder}"),
    }
}

async fn begun(store: &Store, lease: &Lease) -> Picked {
    store.take(vec![(Uuid::now_v7(), send(Uuid::now_v7(), 1, CUSTOMER))]).await.unwrap();
    let mut begun = store.begin("ventas", lease, ask(10)).await.unwrap();
    assert_eq!(begun.picked.len(), 1);
    begun.picked.remove(0)
}

/// A batch as the parser commits it.
pub fn batch(bodies: Vec<Parsed>) -> Arc<[Arc<Parsed>]> {
    bodies.into_iter().map(Arc::new).collect()
}

pub fn result(outcome: Outcome) -> AttemptResult {
    AttemptResult { outcome, retry: Duration::from_millis(1), doubt: LONG, pace: PACE, jitter: 0.0 }
}

pub async fn state(store: &Store, picked: &Picked) -> String {
    let query = "SELECT state FROM whatsapp.send WHERE send_id = $1";
    sqlx::query_scalar(query).bind(picked.send_id).fetch_one(store.db().pool()).await.unwrap()
}

pub async fn count(store: &Store, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(store.db().pool()).await.unwrap()
}

#[tokio::test]
async fn only_what_nobody_works_on_is_doubted() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let (mine, left) = (begun(&store, &lease).await, begun(&store, &lease).await);
    assert_eq!(store.recover("otra", &lease, NOBODY, NOBODY, LONG).await.unwrap(), 0, "another account's");
    assert_eq!(store.recover("ventas", &lease, &[mine.send_id], NOBODY, LONG).await.unwrap(), 1);
    assert_eq!(
        (state(&store, &mine).await.as_str(), state(&store, &left).await.as_str()),
        ("attempting", "doubtful")
    );
    // The truth ends a doubt; a second end of the same attempt changes nothing.
    assert!(
        store
            .settle(&left, result(Outcome::Accepted { wamid: "wamid.1".into(), reached: None }))
            .await
            .unwrap()
    );
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
    let second = store.begin("ventas", &lease, ask(10)).await.unwrap().picked.remove(0);
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
    let paused = store.begin("ventas", &lease, ask(10)).await.unwrap();
    assert!(paused.paused.is_some_and(|left| left > Duration::from_secs(30)) && paused.picked.is_empty());
    assert!(store.begin("otra", &lease, ask(10)).await.unwrap().paused.is_none(), "another number goes on");
}

#[tokio::test]
async fn who_lost_his_lease_changes_nothing() {
    let store = store().await;
    let old = lease(&store, "whatsapp-send/ventas", "one").await;
    begun(&store, &old).await;
    let new = lease(&store, "whatsapp-send/ventas", "two").await;
    assert!(new.epoch > old.epoch);
    let stale = "STALE_EPOCH";
    assert_eq!(store.begin("ventas", &old, ask(10)).await.unwrap_err().reason(), stale);
    assert_eq!(store.recover("ventas", &old, NOBODY, NOBODY, LONG).await.unwrap_err().reason(), stale);
    assert_eq!(store.end_doubts("ventas", &old).await.unwrap_err().reason(), stale);
    assert_eq!(store.hold("ventas", &old, Held::SwitchedOff).await.unwrap_err().reason(), stale);

    let (old, body) = (lease(&store, "whatsapp-parse", "one").await, bytes::Bytes::from_static(b"{}"));
    let webhook = NewWebhook { id: Uuid::now_v7(), body, signed_by: vec!["app".into()], traceparent: None };
    store.keep(vec![webhook]).await.unwrap();
    let new = lease(&store, "whatsapp-parse", "two").await;
    assert_eq!(store.claim(&old, 10, 1).await.unwrap_err().reason(), stale);
    assert_eq!(store.parsed(&old, batch(vec![]), 1).await.unwrap_err().reason(), stale);
    assert_eq!(store.claim(&new, 10, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_send_waits_for_its_predecessor_to_come() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let conversation = Uuid::now_v7();
    store.take(vec![(Uuid::now_v7(), send(conversation, 2, CUSTOMER))]).await.unwrap();
    assert!(store.begin("ventas", &lease, ask(10)).await.unwrap().picked.is_empty(), "the first is not here");
    let first = send(conversation, 1, CUSTOMER);
    store.take(vec![(Uuid::now_v7(), first.clone())]).await.unwrap();
    let begun = store.begin("ventas", &lease, ask(10)).await.unwrap().picked;
    assert_eq!(begun.iter().map(|one| one.send_id.to_string()).collect::<Vec<_>>(), [first.send_id]);
}

pub async fn keep(store: &Store, bodies: usize) -> Vec<Uuid> {
    let rows: Vec<NewWebhook> = (0..bodies)
        .map(|_| NewWebhook {
            id: Uuid::now_v7(),
            body: bytes::Bytes::from_static(b"{}"),
            signed_by: vec!["app".into()],
            traceparent: None,
        })
        .collect();
    let ids = rows.iter().map(|row| row.id).collect();
    store.keep(rows).await.unwrap();
    ids
}

async fn due_now(store: &Store) {
    sqlx::query("UPDATE whatsapp.parse_queue SET not_before = now()")
        .execute(store.db().pool())
        .await
        .unwrap();
}

/// Ids and counted attempts of a claim.
async fn claim(store: &Store, lease: &Lease) -> Vec<(Uuid, i32)> {
    let claimed = store.claim(lease, 10, 1).await.unwrap();
    claimed.iter().map(|one| (one.id, one.attempts)).collect()
}

#[tokio::test]
async fn only_who_comes_alone_is_counted_and_pauses_before_the_next_attempt() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-parse", "one").await;
    let ids = keep(&store, 3).await;
    let together = store.claim(&lease, 10, 1).await.unwrap();
    assert_eq!(together.iter().map(|one| (one.attempts, one.alone)).collect::<Vec<_>>(), [(0, false); 3]);
    // The process ended there: from now on each comes alone, none of them counted for what they went through together.
    for id in &ids {
        let before = now(&store).await;
        assert_eq!(claim(&store, &lease).await, [(*id, 1)], "those before it pause, it goes on");
        hold_pauses(&store, before).await;
    }
    assert!(claim(&store, &lease).await.is_empty());
    due_now(&store).await;
    let before = now(&store).await;
    assert_eq!(claim(&store, &lease).await, [(ids[0], 2)]);
    assert!(longest_pause(&store, before).await >= time::Duration::seconds(4), "it grows");
    // Who is not at fault is as he was before.
    let one = |attempts, alone| {
        Parsed::of(&hilo_whatsapp_ingest::store::Claimed {
            id: ids[0],
            attempts,
            alone,
            ..together[0].clone()
        })
    };
    store.put_back(&lease, &batch(vec![one(2, true)]), false).await.unwrap();
    let first = "SELECT attempts::bigint FROM whatsapp.parse_queue WHERE NOT alone AND not_before <= now()";
    assert_eq!(count(&store, first).await, 1);
    store.put_back(&lease, &batch(vec![one(1, false)]), true).await.unwrap();
    assert_eq!(claim(&store, &lease).await, [(ids[0], 2)]);
    assert_eq!(store.count_attempt(&lease, ids[0]).await.unwrap(), 3);
}

#[tokio::test]
async fn what_waits_for_a_directory_is_due_with_another_one_or_when_its_time_is_over() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-parse", "one").await;
    let id = keep(&store, 1).await[0];
    let claimed = store.claim(&lease, 10, 5).await.unwrap();
    let waits =
        |at_most| Parsed { waits: Some(Waits { directory_version: 5, at_most }), ..Parsed::of(&claimed[0]) };
    store.parsed(&lease, batch(vec![waits(LONG)]), 1).await.unwrap();
    assert!(store.claim(&lease, 10, 5).await.unwrap().is_empty());
    let due = store.claim(&lease, 10, 6).await.unwrap();
    assert_eq!(
        due.iter().map(|one| (one.id, one.attempts)).collect::<Vec<_>>(),
        [(id, 1)],
        "waiting is no attempt"
    );
    store.parsed(&lease, batch(vec![waits(Duration::ZERO)]), 1).await.unwrap();
    assert_eq!(store.claim(&lease, 10, 5).await.unwrap().len(), 1);
    store.parsed(&lease, batch(vec![Parsed::of(&claimed[0])]), 1).await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM whatsapp.parse_queue").await, 0);
}

#[tokio::test]
async fn only_young_strays_of_the_named_reasons_come_back_and_each_once() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-parse", "one").await;
    keep(&store, 3).await;
    let claimed = store.claim(&lease, 10, 1).await.unwrap();
    let stray = |reason: &'static str, n: usize| {
        let stray = hilo_whatsapp_ingest::store::StrayAt {
            reason,
            place: "/entry/0".into(),
            count: 1,
            numbers: vec!["9".into()],
        };
        Parsed { strays: vec![stray], ..Parsed::of(&claimed[n]) }
    };
    let strays = vec![stray("UNKNOWN_NUMBER", 0), stray("ITEM_UNREADABLE", 1), stray("UNKNOWN_NUMBER", 2)];
    store.parsed(&lease, batch(strays), 1).await.unwrap();
    let aged = "UPDATE kit.dead_letter SET created_at = now() - interval '25 hours' WHERE detail LIKE $1";
    sqlx::query(aged).bind(format!("%{}%", claimed[2].id)).execute(store.db().pool()).await.unwrap();
    let strays = async || store.strays(&["UNKNOWN_NUMBER"], None, 9).await.unwrap().found;
    let found = strays().await;
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (one.webhook, &one.numbers[..], &one.signed_by[..]),
        (claimed[0].id, &["9".to_owned()][..], &["app".to_owned()][..])
    );
    store.replay(one.dead_letter, one.webhook).await.unwrap();
    assert!(strays().await.is_empty());
    assert_eq!(claim(&store, &lease).await.len(), 1);
    store.parsed(&lease, batch(vec![Parsed::of(&claimed[0])]), 1).await.unwrap();
    store.replay(one.dead_letter, one.webhook).await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM whatsapp.parse_queue").await, 0, "settled already");
}

#[tokio::test]
async fn what_was_cut_off_with_its_files_is_no_doubt_and_what_left_is_one() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let file = |n: usize| {
        let mut with = send(Uuid::now_v7(), 1, &format!("5190000000{n}"));
        let attachment = Attachment {
            sha256: "ab".repeat(32),
            media_type: "image/png".into(),
            size_bytes: 9,
            ..Attachment::default()
        };
        let media =
            SendMedia { kind: MediaKind::Image.into(), attachment: Some(attachment), caption: String::new() };
        crate::rig::change(&mut with, |item| item.kind = Some(Kind::Media(media)));
        with
    };
    let mut mark = send(Uuid::now_v7(), 1, CUSTOMER);
    crate::rig::change(&mut mark, |item| {
        item.kind = Some(Kind::ReadMark(SendReadMark { wamid: "wamid.1".into(), typing: false }))
    });
    let sends = [file(1), file(2), mark, send(Uuid::now_v7(), 1, CUSTOMER)];
    store.take(sends.iter().map(|one| (Uuid::now_v7(), one.clone())).collect()).await.unwrap();
    let begun = store.begin("ventas", &lease, ask(10)).await.unwrap().picked;
    assert_eq!(begun.len(), 4);
    let of = |n: usize| begun.iter().find(|one| one.send_id.to_string() == sends[n].send_id).unwrap();
    assert!(store.leaves_now(of(1)).await.unwrap());
    let other = |attempts, epoch| Picked { attempts, epoch, ..of(0).clone() };
    assert!(!store.leaves_now(&other(of(0).attempts + 1, lease.epoch)).await.unwrap());
    assert!(!store.leaves_now(&other(of(0).attempts, lease.epoch + 1)).await.unwrap());
    assert_eq!(store.recover("ventas", &lease, NOBODY, NOBODY, LONG).await.unwrap(), 4);
    let states = [
        state(&store, of(0)).await,
        state(&store, of(1)).await,
        state(&store, of(2)).await,
        state(&store, of(3)).await,
    ];
    assert_eq!(states, ["planned", "doubtful", "planned", "doubtful"]);
    assert!(!store.leaves_now(of(0)).await.unwrap(), "it is not this attempt's any more");
    let due = "UPDATE whatsapp.send SET next_at = now() WHERE state = 'planned'";
    sqlx::query(due).execute(store.db().pool()).await.unwrap();
    assert_eq!(store.begin("ventas", &lease, ask(10)).await.unwrap().picked.len(), 2);
}

#[tokio::test]
async fn an_upload_is_known_for_its_number_content_and_type_while_meta_keeps_it() {
    let store = store().await;
    let file = FileNeeded {
        pointer: "/image/id".into(),
        sha256: "ab".repeat(32),
        media_type: "image/png".into(),
        file_name: "a".into(),
        size: 9,
        sticker: false,
    };
    store.keep_upload("1", &file, "m1").await.unwrap();
    let known = |media_id: &str| Some(Uploaded { media_id: media_id.into(), old: false });
    assert_eq!(store.uploaded("1", &file).await.unwrap(), known("m1"));
    assert_eq!(store.uploaded("2", &file).await.unwrap(), None);
    assert_eq!(
        store.uploaded("1", &FileNeeded { media_type: "image/jpeg".into(), ..file.clone() }).await.unwrap(),
        None
    );
    assert_eq!(
        store.uploaded("1", &FileNeeded { sha256: "cd".repeat(32), ..file.clone() }).await.unwrap(),
        None
    );
    store.keep_upload("1", &file, "m2").await.unwrap();
    store.forget_uploads("2", vec!["m2".into()]).await.unwrap();
    store.forget_uploads("1", vec!["m1".into()]).await.unwrap();
    assert_eq!(store.uploaded("1", &file).await.unwrap(), known("m2"));
    let age = "UPDATE whatsapp.uploaded SET uploaded_at = now() - interval '61 minutes'";
    sqlx::query(age).execute(store.db().pool()).await.unwrap();
    assert!(
        store.uploaded("1", &file).await.unwrap().is_some_and(|known| known.old),
        "Meta may have lost it"
    );
    let age = "UPDATE whatsapp.uploaded SET uploaded_at = now() - interval '31 days'";
    sqlx::query(age).execute(store.db().pool()).await.unwrap();
    assert_eq!(store.uploaded("1", &file).await.unwrap(), None);
    store.keep_upload("2", &file, "m3").await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM whatsapp.uploaded").await, 1, "the old one is forgotten");
    store.forget_uploads("2", vec!["m3".into()]).await.unwrap();
    assert_eq!(store.uploaded("2", &file).await.unwrap(), None);
}
