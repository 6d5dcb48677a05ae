//! The guards of the ledger, each with a test that goes red without it.

use std::time::Duration;

use hilo_email_ingest::domain::send::{Outcome, Reply};
use hilo_email_ingest::store::{AttemptResult, CursorMove, Naming, NewMail, Source, Store, Stored};
use hilo_kit::config::DatabaseConfig;
use hilo_kit::db::Db;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{self, Acquired, Lease};
use hilo_kit::nats::Subjects;
use hilo_proto::inbound::v1::InboundEmail;
use hilo_test_support::Postgres;

use crate::rig::send;

/// Of a claim that does not end by itself while the test runs.
const LONG: Duration = Duration::from_secs(600);

pub async fn store() -> (Store, Db) {
    let url = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
    hilo_email_ingest::migrate(&url).await.unwrap();
    let db = Db::connect(&DatabaseConfig::new(url)).await.unwrap();
    (Store::new(db.clone(), Subjects::new("hilo").unwrap()), db)
}

pub fn mail(source: Source, digest: u8, key: Uuid) -> NewMail {
    NewMail {
        id: Uuid::now_v7(),
        account_key: "ventas".into(),
        source,
        digest: [digest; 32],
        size_bytes: 3,
        raw: Some(b"raw".to_vec()),
        naming: Naming::MessageId,
        unfit: None,
        envelope_sender: None,
        envelope_recipients: vec![],
        peer: None,
        helo: None,
        conversation_key: key,
        traceparent: None,
    }
}

fn imap(uid_validity: u32, uid: u32) -> Source {
    Source::Imap { mailbox: "INBOX".into(), uid_validity, uid }
}

fn cursor(uid_validity: u32, last_uid: u32) -> CursorMove {
    CursorMove { account_key: "ventas".into(), mailbox: "INBOX".into(), uid_validity, last_uid }
}

pub async fn acquire(db: &Db, name: &str, holder: &str) -> Lease {
    match lease::acquire(db, name, holder, Duration::from_millis(200)).await.unwrap() {
        Acquired::Taken(lease) | Acquired::Kept(lease) => lease,
        Acquired::Other { .. } => panic!("held by another"),
    }
}

/// The lease after another holder has taken it over.
pub async fn taken_over(db: &Db, name: &str) -> (Lease, Lease) {
    let old = acquire(db, name, "old").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    (old, acquire(db, name, "new").await)
}

async fn waiting(db: &Db) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM mail.parse_queue").fetch_one(db.pool()).await.unwrap()
}

#[tokio::test]
async fn the_same_smtp_mail_is_one_row_per_account() {
    let (store, db) = store().await;
    let key = Uuid::now_v7();
    let first = store.accept(vec![mail(Source::Smtp, 1, key)]).await.unwrap();
    let again = store.accept(vec![mail(Source::Smtp, 1, key)]).await.unwrap();
    assert_eq!(again, vec![Stored::Known(first.first().unwrap().id())]);
    let other = NewMail { account_key: "soporte".into(), ..mail(Source::Smtp, 1, key) };
    assert!(matches!(store.accept(vec![other]).await.unwrap().first(), Some(Stored::New(_))));
    assert_eq!(waiting(&db).await, 2);
}

#[tokio::test]
async fn a_fetched_mail_is_one_row_also_under_a_new_uidvalidity_and_only_the_owner_stores() {
    let (store, db) = store().await;
    let key = Uuid::now_v7();
    let lease = acquire(&db, "email-imap/ventas", "me").await;
    let fetch =
        |mail: NewMail, cursor: CursorMove, lease: &Lease| store.fetched(Some(mail), cursor, lease.clone());
    let first = fetch(mail(imap(1, 5), 1, key), cursor(1, 5), &lease).await.unwrap().unwrap();
    assert!(matches!(first, Stored::New(_)));
    // Two mails with equal bytes in one mailbox are two.
    assert!(matches!(
        fetch(mail(imap(1, 6), 1, key), cursor(1, 6), &lease).await.unwrap(),
        Some(Stored::New(_))
    ));
    // The same UID again is the same mail, whatever its bytes are now.
    assert_eq!(
        fetch(mail(imap(1, 5), 9, key), cursor(1, 5), &lease).await.unwrap().unwrap().id(),
        first.id()
    );
    // The cursor never moves back.
    assert_eq!(store.cursor("ventas", "INBOX", 1).await.unwrap(), 6);
    assert!(matches!(
        fetch(mail(imap(2, 1), 1, key), cursor(2, 1), &lease).await.unwrap(),
        Some(Stored::Known(_))
    ));
    assert_eq!(store.cursor("ventas", "INBOX", 2).await.unwrap(), 1);
    assert_eq!(waiting(&db).await, 2);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let new = acquire(&db, "email-imap/ventas", "other").await;
    let refused = fetch(mail(imap(1, 7), 3, key), cursor(1, 7), &lease).await.unwrap_err();
    assert_eq!(refused.reason(), "STALE_EPOCH");
    assert_eq!(store.cursor("ventas", "INBOX", 1).await.unwrap(), 6);
    assert!(fetch(mail(imap(1, 7), 3, key), cursor(1, 7), &new).await.is_ok());
}

#[tokio::test]
async fn only_the_oldest_of_an_author_is_claimed_and_a_lost_claim_commits_nothing() {
    let (store, db) = store().await;
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    for (digest, key) in [(1, one), (2, one), (3, two)] {
        store.accept(vec![mail(Source::Smtp, digest, key)]).await.unwrap();
    }
    let claimed = store.claim(10, LONG).await.unwrap();
    let digests: Vec<u8> = claimed.iter().map(|mail| mail.digest[0]).collect();
    assert_eq!(digests, vec![1, 3]);
    assert!(store.claim(10, LONG).await.unwrap().is_empty());
    // The claims ended by time; another worker has them now.
    sqlx::query("UPDATE mail.parse_queue SET not_before = now()").execute(db.pool()).await.unwrap();
    let again = store.claim(10, LONG).await.unwrap();
    assert_eq!(again.iter().map(|mail| mail.claim.attempts).collect::<Vec<_>>(), vec![2, 2]);
    let late = claimed.first().unwrap();
    assert!(!store.parsed(late, InboundEmail::default(), None, 1).await.unwrap());
    assert!(!store.quarantine(late, "X", "x").await.unwrap());
    store.put_back(&late.claim, Duration::ZERO, true).await.unwrap();
    store.extend(vec![late.claim.clone()], Duration::ZERO).await.unwrap();
    assert!(store.claim(10, LONG).await.unwrap().is_empty(), "the late worker changed the claim");
    let now = again.first().unwrap();
    assert!(store.parsed(now, InboundEmail::default(), None, 1).await.unwrap());
    assert!(!store.parsed(now, InboundEmail::default(), None, 1).await.unwrap());
    let next = store.claim(10, LONG).await.unwrap();
    assert_eq!(next.iter().map(|mail| mail.digest[0]).collect::<Vec<_>>(), vec![2]);
    assert!(store.parsed(next.first().unwrap(), InboundEmail::default(), None, 1).await.unwrap());
    let sequences: Vec<i64> =
        sqlx::query_scalar("SELECT sequence FROM mail.parsed WHERE conversation_key = $1 ORDER BY sequence")
            .bind(one)
            .fetch_all(db.pool())
            .await
            .unwrap();
    assert_eq!(sequences, vec![1, 2]);
}

/// Waits for no pause.
pub async fn due_now(db: &Db) {
    sqlx::query("UPDATE mail.send SET next_at = now() WHERE next_at IS NOT NULL")
        .execute(db.pool())
        .await
        .unwrap();
}

pub fn accepted(result: Outcome) -> AttemptResult {
    AttemptResult { outcomes: vec![(0, result)], unknown_retry: Some(Duration::from_secs(60)), jitter: 0.0 }
}

#[tokio::test]
async fn an_attempt_of_an_older_epoch_becomes_unknown_and_cannot_be_settled_by_its_old_owner() {
    let (store, db) = store().await;
    let mail = send(Uuid::now_v7(), 1, &["ana@cliente.example"]);
    store.take(vec![(Uuid::now_v7(), mail.clone())]).await.unwrap();
    let old = acquire(&db, "email-send/ventas", "old").await;
    let picked = store.begin("ventas", &old, 10).await.unwrap();
    assert_eq!(picked.len(), 1);
    assert!(store.release_dot(picked.first().unwrap()).await.unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let new = acquire(&db, "email-send/ventas", "new").await;
    assert_eq!(store.begin("ventas", &old, 10).await.unwrap_err().reason(), "STALE_EPOCH");
    assert_eq!(store.recover("ventas", &old, &[], Duration::ZERO).await.unwrap_err().reason(), "STALE_EPOCH");
    assert_eq!(store.recover("ventas", &new, &[], Duration::ZERO).await.unwrap(), 1);
    assert_eq!(store.recover("ventas", &new, &[], Duration::ZERO).await.unwrap(), 0);
    let first = picked.first().unwrap();
    assert!(!store.settle(first, accepted(Outcome::Unknown(Reply::default()))).await.unwrap());
    let state: String = sqlx::query_scalar("SELECT state FROM mail.send").fetch_one(db.pool()).await.unwrap();
    assert_eq!(state, "unknown");
    // The one repetition, and after it no further one.
    let again = store.begin("ventas", &new, 10).await.unwrap();
    assert_eq!(again.first().map(|one| one.attempts), Some(2));
    assert!(!store.settle(first, accepted(Outcome::Accepted(Reply::default()))).await.unwrap());
    assert!(
        store.settle(again.first().unwrap(), accepted(Outcome::Unknown(Reply::default()))).await.unwrap()
    );
    assert!(store.begin("ventas", &new, 10).await.unwrap().is_empty());
    let reports: i64 = sqlx::query_scalar("SELECT count(*) FROM kit.outbox_log WHERE stream = 'delivery'")
        .fetch_one(db.pool())
        .await
        .unwrap();
    assert_eq!(reports, 2);
}

/// Guard: `state = 'unknown'` of `settle`. A database that was away for longer than a lease lasts lets a new epoch begin
/// while the answer to the final dot is already here.
#[tokio::test]
async fn an_answered_mail_is_not_repeated_because_a_new_owner_doubted_it() {
    let (store, db) = store().await;
    store.take(vec![(Uuid::now_v7(), send(Uuid::now_v7(), 1, &["ana@cliente.example"]))]).await.unwrap();
    let (old, new) = taken_over_after_begin(&store, &db).await;
    assert_eq!(store.recover("ventas", &new, &[], Duration::ZERO).await.unwrap(), 1);
    assert!(store.settle(&old, accepted(Outcome::Accepted(Reply::default()))).await.unwrap());
    assert!(store.begin("ventas", &new, 10).await.unwrap().is_empty(), "it would be sent a second time");
    let state: String = sqlx::query_scalar("SELECT state FROM mail.send").fetch_one(db.pool()).await.unwrap();
    assert_eq!(state, "sent");
}

/// Guards: `epoch <= $2` and `send_id <> ALL($3)` of `recover`. The beginning committed and its answer got lost, while the
/// lease goes on.
#[tokio::test]
async fn an_attempt_begun_by_a_lost_answer_is_found_under_the_same_epoch_and_a_running_one_is_left_alone() {
    let (store, db) = store().await;
    for _ in 0..2 {
        store.take(vec![(Uuid::now_v7(), send(Uuid::now_v7(), 1, &["ana@cliente.example"]))]).await.unwrap();
    }
    let lease = acquire(&db, "email-send/ventas", "me").await;
    let begun = store.begin("ventas", &lease, 10).await.unwrap();
    let running = begun.first().unwrap();
    assert_eq!(store.recover("ventas", &lease, &[running.send_id], Duration::ZERO).await.unwrap(), 1);
    // It never had the permission to finish, so it is simply made again.
    due_now(&db).await;
    let again = store.begin("ventas", &lease, 10).await.unwrap();
    assert_eq!(again.iter().map(|one| one.send_id).collect::<Vec<_>>(), vec![begun.get(1).unwrap().send_id]);
    assert!(store.settle(running, accepted(Outcome::Accepted(Reply::default()))).await.unwrap());
}

#[tokio::test]
async fn a_late_result_under_the_own_epoch_still_counts() {
    let (store, db) = store().await;
    store.take(vec![(Uuid::now_v7(), send(Uuid::now_v7(), 1, &["ana@cliente.example"]))]).await.unwrap();
    let (old, _) = taken_over_after_begin(&store, &db).await;
    // Nobody has called it unknown yet: the truth is better than doubt.
    assert!(store.settle(&old, accepted(Outcome::Accepted(Reply::default()))).await.unwrap());
    let state: String = sqlx::query_scalar("SELECT state FROM mail.send").fetch_one(db.pool()).await.unwrap();
    assert_eq!(state, "sent");
}

async fn taken_over_after_begin(store: &Store, db: &Db) -> (hilo_email_ingest::store::Picked, Lease) {
    let old = acquire(db, "email-send/ventas", "old").await;
    let picked = store.begin("ventas", &old, 10).await.unwrap();
    assert!(store.release_dot(picked.first().unwrap()).await.unwrap());
    let (_, new) = taken_over(db, "email-send/ventas").await;
    (picked.into_iter().next().unwrap(), new)
}

#[tokio::test]
async fn a_send_is_taken_once_and_its_place_belongs_to_it() {
    let (store, db) = store().await;
    let conversation = Uuid::now_v7();
    let (message, mail) = (Uuid::now_v7(), send(conversation, 1, &["ana@cliente.example"]));
    for _ in 0..3 {
        store.take(vec![(message, mail.clone())]).await.unwrap();
    }
    let impostor =
        store.take(vec![(Uuid::now_v7(), send(conversation, 1, &["x@cliente.example"]))]).await.unwrap_err();
    assert_eq!(impostor.reason(), "SEND_PLACE_TAKEN");
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM mail.send").fetch_one(db.pool()).await.unwrap();
    assert_eq!(rows, 1);
}

/// Guard: the dead letter is settled by the transaction that queues the mail, so that no crash can leave it in neither.
#[tokio::test]
async fn a_replay_that_cannot_queue_the_mail_leaves_its_dead_letter_to_be_replayed() {
    let (store, db) = store().await;
    store.accept(vec![mail(Source::Smtp, 1, Uuid::now_v7())]).await.unwrap();
    let claimed = store.claim(1, LONG).await.unwrap();
    assert!(store.quarantine(claimed.first().unwrap(), "X", "x").await.unwrap());
    let letter: Uuid = sqlx::query_scalar("UPDATE kit.dead_letter SET state = 'replaying' RETURNING id")
        .fetch_one(db.pool())
        .await
        .unwrap();
    let id = claimed.first().unwrap().claim.id;
    // Stands for the crash in between.
    sqlx::query("ALTER TABLE mail.parse_queue ADD CONSTRAINT crash CHECK (false)")
        .execute(db.pool())
        .await
        .unwrap();
    assert!(store.replay(letter, id).await.is_err());
    let state = || sqlx::query_scalar::<_, String>("SELECT state FROM kit.dead_letter").fetch_one(db.pool());
    assert_eq!((state().await.unwrap().as_str(), waiting(&db).await), ("replaying", 0));
    sqlx::query("ALTER TABLE mail.parse_queue DROP CONSTRAINT crash").execute(db.pool()).await.unwrap();
    store.replay(letter, id).await.unwrap();
    assert_eq!((state().await.unwrap().as_str(), waiting(&db).await), ("replayed", 1));
}

/// Guard: `size_bytes == 0`. Mails that could not be fetched have no bytes to be recognised by.
#[tokio::test]
async fn two_mails_that_could_not_be_fetched_are_two_also_under_a_new_uidvalidity() {
    let (store, db) = store().await;
    let lease = acquire(&db, "email-imap/ventas", "me").await;
    for (uid_validity, uid) in [(1, 5), (2, 9)] {
        let unfit = Some("MAIL_NOT_FETCHABLE".to_owned());
        let mail = NewMail { unfit, size_bytes: 0, ..mail(imap(uid_validity, uid), 0, Uuid::now_v7()) };
        let stored = store.fetched(Some(mail), cursor(uid_validity, uid), lease.clone()).await.unwrap();
        assert!(matches!(stored, Some(Stored::New(_))), "uid {uid} would be dropped without a trace");
    }
    assert_eq!(waiting(&db).await, 2);
}
