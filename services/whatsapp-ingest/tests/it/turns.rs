//! Whose turn it is: at a number, at a body; and what is too old to go out.

use hilo_kit::ids::Uuid;
use hilo_proto::outbound::v1::SendReadMark;
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_whatsapp_ingest::store::{Parsed, Store};

use crate::rig::{CUSTOMER, send};
use crate::store::{ask, batch, count, keep, lease, store};

/// Without `bulk` first in the order of `due` a list of numbers goes before whoever waits for an answer.
#[tokio::test]
async fn what_people_wrote_leaves_before_the_rows_of_a_dialer() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let row = |bulk: bool| {
        let mut one = send(Uuid::now_v7(), 1, CUSTOMER);
        if let Some(Content::Whatsapp(item)) = &mut one.content {
            item.bulk = bulk;
        }
        one
    };
    let written = row(false);
    for one in [row(true), row(true), written.clone()] {
        store.take(vec![(Uuid::now_v7(), one)]).await.unwrap();
    }
    let first = store.begin("ventas", &lease, ask(1)).await.unwrap().picked.remove(0);
    assert_eq!(first.send_id.to_string(), written.send_id);
    assert_eq!(store.begin("ventas", &lease, ask(10)).await.unwrap().picked.len(), 2, "then the list");
}

/// Without the look at its age a customer sees "typing" for an answer of an hour ago, and the marks of an outage go before answers.
#[tokio::test]
async fn a_sign_of_writing_that_waited_is_not_shown_and_a_read_mark_is_for_an_hour() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let mark = |typing: bool| {
        let mut one = send(Uuid::now_v7(), 1, CUSTOMER);
        if let Some(Content::Whatsapp(item)) = &mut one.content {
            item.kind = Some(Kind::ReadMark(SendReadMark { wamid: "wamid.1".into(), typing }));
        }
        one
    };
    let (typing, read, late) = (mark(true), mark(false), mark(false));
    for (one, seconds) in [(&typing, 61.0), (&read, 3540.0), (&late, 3601.0)] {
        store.take(vec![(Uuid::now_v7(), one.clone())]).await.unwrap();
        let wait =
            "UPDATE whatsapp.send SET taken_at = now() - make_interval(secs => $2) WHERE send_id = $1::uuid";
        let wait = sqlx::query(wait).bind(&one.send_id).bind(seconds);
        wait.execute(store.db().pool()).await.unwrap();
    }
    let begun = store.begin("ventas", &lease, ask(10)).await.unwrap();
    let picked: Vec<String> = begun.picked.iter().map(|one| one.send_id.to_string()).collect();
    assert_eq!((picked, begun.others), (vec![read.send_id], 2));
    for (one, expected) in [(typing, "failed TYPING_TOO_LATE"), (late, "failed MARK_TOO_LATE")] {
        let ended = "SELECT state || ' ' || reason FROM whatsapp.send WHERE send_id = $1::uuid";
        let ended = sqlx::query_scalar(ended).bind(&one.send_id).fetch_one(store.db().pool());
        assert_eq!(ended.await.map(|ended: String| ended).unwrap(), expected);
    }
}

/// Without the lease's guard a parser that lost it frees, counts or buries what its successor works on.
#[tokio::test]
async fn whoever_lost_the_lease_leaves_the_bodies_to_his_successor() {
    let store = store().await;
    let old = lease(&store, "whatsapp-parse", "one").await;
    let id = keep(&store, 1).await[0];
    let claimed = store.claim(&old, 10, 1).await.unwrap();
    lease(&store, "whatsapp-parse", "two").await;
    let before = queue(&store).await;
    let errors = [
        store.put_back(&old, &batch(vec![Parsed::of(&claimed[0])]), false).await.unwrap_err(),
        store.count_attempt(&old, id).await.unwrap_err(),
        store.quarantine(&old, id, 1, "PARSER_PANICKED").await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.reason(), "STALE_EPOCH");
    }
    assert_eq!(
        (queue(&store).await, count(&store, "SELECT count(*) FROM kit.dead_letter").await),
        (before, 0)
    );
}

async fn queue(store: &Store) -> String {
    let rows = "SELECT string_agg(q::text, ' ') FROM whatsapp.parse_queue AS q";
    sqlx::query_scalar(rows).fetch_one(store.db().pool()).await.unwrap()
}

/// Makes pauses of at least a second that began after this instant endless, so that none ends while a slow machine goes on.
pub async fn hold_pauses(store: &Store, since: time::OffsetDateTime) {
    let hold = "UPDATE whatsapp.parse_queue SET not_before = 'infinity' WHERE not_before >= $1 + interval '1 second'";
    sqlx::query(hold).bind(since).execute(store.db().pool()).await.unwrap();
}

/// The instant of the database.
pub async fn now(store: &Store) -> time::OffsetDateTime {
    sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(store.db().pool()).await.unwrap()
}

/// The longest pause, counted from this instant.
pub async fn longest_pause(store: &Store, since: time::OffsetDateTime) -> time::Duration {
    let last = "SELECT max(not_before) FROM whatsapp.parse_queue";
    let last: time::OffsetDateTime = sqlx::query_scalar(last).fetch_one(store.db().pool()).await.unwrap();
    last - since
}
