//! What must come to an end: a file that ends every process that reads it, and a body whose commit nobody learned of.

use hilo_kit::ids::Uuid;
use hilo_proto::inbound::v1::{Attachment, MediaKind};
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_proto::outbound::v1::{OutboundEnvelope, SendMedia, SendReadMark};
use hilo_whatsapp_ingest::domain::send::Outcome;
use hilo_whatsapp_ingest::store::{Parsed, Picked, Store};

use crate::rig::{CUSTOMER, change, send};
use crate::store::{LONG, NOBODY, PACE, batch, count, keep, lease, result, state, store};

const LETTERS: &str = "SELECT count(*) FROM kit.dead_letter";
const REPORTS: &str = "SELECT count(*) FROM kit.outbox_log WHERE stream = 'delivery'";

fn of(kind: Kind) -> OutboundEnvelope {
    let mut one = send(Uuid::now_v7(), 1, CUSTOMER);
    change(&mut one, |item| item.kind = Some(kind));
    one
}

fn with_a_file() -> OutboundEnvelope {
    let (sha256, media_type) = ("ab".repeat(32), "image/png".to_owned());
    let attachment = Attachment { sha256, media_type, size_bytes: 9, ..Attachment::default() };
    let kind = MediaKind::Image.into();
    of(Kind::Media(SendMedia { kind, attachment: Some(attachment), caption: String::new() }))
}

async fn begun(store: &Store, lease: &hilo_kit::lease::Lease) -> Option<Picked> {
    store.begin("ventas", lease, 10, PACE).await.unwrap().picked.pop()
}

/// Begun and cut off: the process ended there.
async fn cut_off(store: &Store, lease: &hilo_kit::lease::Lease) -> Picked {
    sqlx::query("UPDATE whatsapp.send SET next_at = now()").execute(store.db().pool()).await.unwrap();
    let picked = begun(store, lease).await.unwrap();
    assert_eq!(store.recover("ventas", lease, NOBODY, LONG).await.unwrap(), 1);
    picked
}

/// Without the pause and the limit a service that such a send ends is started for nothing else.
#[tokio::test]
async fn what_ends_every_process_is_tried_later_each_time_and_fails_in_the_end() {
    for one in [with_a_file(), of(Kind::ReadMark(SendReadMark { wamid: "wamid.1".into(), typing: false }))] {
        let store = store().await;
        let lease = lease(&store, "whatsapp-send/ventas", "one").await;
        store.take(vec![(Uuid::now_v7(), one)]).await.unwrap();
        for pause in [1, 4, 16, 64, 256] {
            let picked = cut_off(&store, &lease).await;
            assert_eq!(state(&store, &picked).await, "planned");
            let left = "SELECT extract(epoch FROM next_at - changed_at)::bigint FROM whatsapp.send";
            assert_eq!(count(&store, left).await, pause);
            assert!(pause < 16 || begun(&store, &lease).await.is_none(), "not at once");
        }
        let last = cut_off(&store, &lease).await;
        assert_eq!(state(&store, &last).await, "failed");
        let reason =
            "SELECT count(*) FROM whatsapp.send WHERE reason = 'CUT_OFF_TOO_OFTEN' AND next_at IS NULL";
        assert_eq!((count(&store, reason).await, count(&store, REPORTS).await), (1, 1), "and it is told");
    }
}

#[tokio::test]
async fn an_attempt_that_ends_by_itself_ends_the_row_of_those_that_were_cut_off() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    store.take(vec![(Uuid::now_v7(), with_a_file())]).await.unwrap();
    for _ in 0..5 {
        cut_off(&store, &lease).await;
    }
    sqlx::query("UPDATE whatsapp.send SET next_at = now()").execute(store.db().pool()).await.unwrap();
    let heard = begun(&store, &lease).await.unwrap();
    let away = Outcome::NotSent { reason: "GRAPH_UNREACHABLE", text: String::new() };
    assert!(store.settle(&heard, result(away)).await.unwrap());
    let again = cut_off(&store, &lease).await;
    assert_eq!(state(&store, &again).await, "planned");
}

/// Without the look at the queue a body is handed over and a dead letter as well, and an operator replays what everybody has.
#[tokio::test]
async fn a_body_is_handed_over_or_buried_and_never_both() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-parse", "one").await;
    let ids = keep(&store, 2).await;
    let claimed = store.claim(&lease, 10, 1).await.unwrap();
    let body = |n: usize| batch(vec![Parsed::of(&claimed[n])]);
    store.parsed(&lease, body(0), 1).await.unwrap();
    assert!(!store.quarantine(&lease, ids[0], 6, "COMMIT_UNKNOWN").await.unwrap());
    assert_eq!(count(&store, LETTERS).await, 0);
    // And the other way round: whoever comes late with a commit that nobody waits for any more commits nothing.
    assert!(store.quarantine(&lease, ids[1], 6, "COMMIT_UNKNOWN").await.unwrap());
    assert_eq!(count(&store, LETTERS).await, 1);
    assert_eq!(store.parsed(&lease, body(1), 1).await.unwrap_err().reason(), "BODY_ENDED");
}

/// Without it a database that was slow for more than six minutes costs every webhook of that time.
#[tokio::test]
async fn bodies_that_a_slow_database_could_not_take_come_back_for_a_day() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-parse", "one").await;
    let ids = keep(&store, 4).await;
    let reasons = ["STATEMENT_TIMEOUT", "WEBHOOK_UNREADABLE", "COMMIT_UNKNOWN", "TRANSACTION_TIMEOUT"];
    for (id, reason) in ids.iter().zip(reasons) {
        assert!(store.quarantine(&lease, *id, 6, reason).await.unwrap());
    }
    assert!(store.slow_strays().await.unwrap().is_empty(), "the database has had no time to recover");
    let age = "UPDATE kit.dead_letter SET created_at = now() - interval '11 minutes'";
    sqlx::query(age).execute(store.db().pool()).await.unwrap();
    let old = "UPDATE whatsapp.webhook SET received_at = now() - interval '25 hours' WHERE id = $1";
    sqlx::query(old).bind(ids[3]).execute(store.db().pool()).await.unwrap();
    let found = store.slow_strays().await.unwrap();
    assert_eq!(found.iter().map(|(_, webhook)| *webhook).collect::<Vec<_>>(), [ids[0], ids[2]]);
    store.replay(found[0].0, found[0].1).await.unwrap();
    assert_eq!(store.slow_strays().await.unwrap().len(), 1);
    assert_eq!(count(&store, "SELECT count(*) FROM whatsapp.parse_queue WHERE attempts = 0").await, 1);
}
