//! What must come to an end: a file that ends every process that reads it, and a body whose commit nobody learned of.

use hilo_kit::ids::Uuid;
use hilo_proto::inbound::v1::{Attachment, MediaKind};
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_proto::outbound::v1::{OutboundEnvelope, SendMedia, SendReadMark};
use hilo_whatsapp_ingest::domain::send::Outcome;
use hilo_whatsapp_ingest::store::{Ask, AttemptResult, Parsed, Picked, Store};

use crate::rig::{CUSTOMER, change, send};
use crate::store::{LONG, NOBODY, ask, batch, count, keep, lease, result, state, store};

const LETTERS: &str = "SELECT count(*) FROM kit.dead_letter";
const PAUSE: &str = "SELECT round(extract(epoch FROM next_at - changed_at))::bigint FROM whatsapp.send";
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
    store.begin("ventas", lease, ask(10)).await.unwrap().picked.pop()
}

/// Begun and cut off: the process ended there.
async fn cut_off(store: &Store, lease: &hilo_kit::lease::Lease) -> Picked {
    sqlx::query("UPDATE whatsapp.send SET next_at = now()").execute(store.db().pool()).await.unwrap();
    let picked = begun(store, lease).await.unwrap();
    assert_eq!(store.recover("ventas", lease, NOBODY, NOBODY, LONG).await.unwrap(), 1);
    picked
}

/// Half as long as usual to half as long again.
async fn paused_for(store: &Store, usual: i64) {
    let pause = count(store, PAUSE).await;
    assert!((usual / 2..=usual * 3 / 2 + 1).contains(&pause), "{pause} s, usually {usual} s");
}

/// Without the pause and the limit a service that such a send ends is started for nothing else.
#[tokio::test]
async fn what_ends_every_process_is_tried_later_each_time_and_fails_in_the_end() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    store.take(vec![(Uuid::now_v7(), with_a_file())]).await.unwrap();
    for pause in [1, 4, 16, 64, 256] {
        let picked = cut_off(&store, &lease).await;
        assert_eq!(state(&store, &picked).await, "planned");
        paused_for(&store, pause).await;
        assert!(pause < 16 || begun(&store, &lease).await.is_none(), "not at once");
    }
    let last = cut_off(&store, &lease).await;
    assert_eq!(state(&store, &last).await, "failed");
    let reason = "SELECT count(*) FROM whatsapp.send WHERE reason = 'CUT_OFF_TOO_OFTEN' AND next_at IS NULL";
    assert_eq!((count(&store, reason).await, count(&store, REPORTS).await), (1, 1), "and it is told");
}

/// Without `is_mark` in `again` a mark fails because of the file beside which it was begun; without its age one that is at fault itself
/// would come back for ever.
#[tokio::test]
async fn a_mark_that_is_cut_off_with_what_is_at_fault_ends_by_its_age_only() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let mark = of(Kind::ReadMark(SendReadMark { wamid: "wamid.1".into(), typing: false }));
    store.take(vec![(Uuid::now_v7(), mark)]).await.unwrap();
    for pause in [1, 4, 16, 64, 256, 300, 300, 300, 300, 300, 300, 300] {
        let picked = cut_off(&store, &lease).await;
        assert_eq!(state(&store, &picked).await, "planned");
        paused_for(&store, pause).await;
    }
    let old = "UPDATE whatsapp.send SET next_at = now(), taken_at = now() - interval '61 minutes'";
    sqlx::query(old).execute(store.db().pool()).await.unwrap();
    assert!(begun(&store, &lease).await.is_none());
    let ended = "SELECT count(*) FROM whatsapp.send WHERE state = 'failed' AND reason = 'MARK_TOO_LATE'";
    assert_eq!(count(&store, ended).await, 1);
}

/// Without the chance in the pauses sends of two numbers that one death of their process cut off come back together each time, and the
/// one that ends every process takes the other one along to its limit.
#[tokio::test]
async fn sends_of_two_numbers_that_were_cut_off_together_do_not_stay_in_step() {
    let store = store().await;
    let mut other = with_a_file();
    other.account_key = "otra".into();
    store.take(vec![(Uuid::now_v7(), with_a_file()), (Uuid::now_v7(), other)]).await.unwrap();
    for account in ["ventas", "otra"] {
        let lease = lease(&store, &format!("whatsapp-send/{account}"), "one").await;
        assert_eq!(store.begin(account, &lease, ask(10)).await.unwrap().picked.len(), 1, "{account}");
        assert_eq!(store.recover(account, &lease, NOBODY, NOBODY, LONG).await.unwrap(), 1, "{account}");
    }
    let pauses = "SELECT count(DISTINCT next_at - changed_at) FROM whatsapp.send WHERE cut_offs = 1";
    assert_eq!(count(&store, pauses).await, 2, "both after the same pause");
}

async fn all_due(store: &Store) {
    let due = "UPDATE whatsapp.send SET next_at = now() WHERE state = 'planned'";
    sqlx::query(due).execute(store.db().pool()).await.unwrap();
}

/// Without its turn alone a file that ends every process takes those along that are always begun with it.
#[tokio::test]
async fn of_two_that_were_cut_off_together_only_one_can_reach_the_limit() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    store.take(vec![(Uuid::now_v7(), with_a_file()), (Uuid::now_v7(), with_a_file())]).await.unwrap();
    let mut begun = Vec::new();
    for _ in 0..6 {
        all_due(&store).await;
        begun.push(store.begin("ventas", &lease, ask(10)).await.unwrap().picked.len());
        store.recover("ventas", &lease, NOBODY, NOBODY, LONG).await.unwrap();
    }
    assert_eq!(begun, [2, 1, 1, 1, 1, 1]);
    let failed = count(&store, "SELECT count(*) FROM whatsapp.send WHERE state = 'failed'").await;
    assert!(failed <= 1, "{failed}");
}

/// Without the look at what was cut off a new file begins beside it and is cut off with it; without its turn it waits for a gap.
#[tokio::test]
async fn what_was_cut_off_goes_before_other_files_and_alone_and_texts_go_all_the_while() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let begin = async || {
        let picked = store.begin("ventas", &lease, ask(10)).await.unwrap().picked;
        picked.into_iter().map(|one| one.send_id.to_string()).collect::<Vec<_>>()
    };
    let take = async |one: &OutboundEnvelope| {
        store.take(vec![(Uuid::now_v7(), one.clone())]).await.unwrap();
    };
    let (under_way, cut, new, text) =
        (with_a_file(), with_a_file(), with_a_file(), send(Uuid::now_v7(), 1, CUSTOMER));
    take(&cut).await;
    assert_eq!(begin().await, std::slice::from_ref(&cut.send_id));
    take(&under_way).await;
    let other = store.begin("ventas", &lease, ask(10)).await.unwrap().picked.remove(0);
    store.recover("ventas", &lease, &[other.send_id], NOBODY, LONG).await.unwrap();
    all_due(&store).await;
    take(&new).await;
    assert!(begin().await.is_empty(), "not beside the other, and no new one before it");
    take(&text).await;
    assert_eq!(begin().await, [text.send_id]);
    let away = Outcome::NotSent { reason: "GRAPH_UNREACHABLE", text: String::new() };
    let later = AttemptResult { retry: LONG, ..result(away.clone()) };
    assert!(store.settle(&other, later).await.unwrap());
    let alone = store.begin("ventas", &lease, ask(10)).await.unwrap().picked;
    assert_eq!(alone.iter().map(|one| one.send_id.to_string()).collect::<Vec<_>>(), [cut.send_id]);
    assert!(begin().await.is_empty(), "nothing with files begins beside it");
    let later = AttemptResult { retry: LONG, ..result(away) };
    assert!(store.settle(&alone[0], later).await.unwrap());
    assert_eq!(begin().await, [new.send_id]);
}

/// Without the place among those with files a few uploads that hang take every place of the number.
#[tokio::test]
async fn only_so_many_with_files_begin_and_those_behind_them_do_not_wait() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    for one in [with_a_file(), with_a_file(), with_a_file()] {
        store.take(vec![(Uuid::now_v7(), one)]).await.unwrap();
    }
    let text = send(Uuid::now_v7(), 1, CUSTOMER);
    store.take(vec![(Uuid::now_v7(), text.clone())]).await.unwrap();
    let room = |limit| Ask { files: 2, ..ask(limit) };
    let first = store.begin("ventas", &lease, room(3)).await.unwrap();
    assert_eq!((first.picked.len(), first.others), (2, 1), "there may be more behind the third");
    let second = store.begin("ventas", &lease, room(1)).await.unwrap().picked;
    assert_eq!(second.iter().map(|one| one.send_id.to_string()).collect::<Vec<_>>(), [text.send_id]);
    assert!(store.leaves_now(&first.picked[0]).await.unwrap());
    assert_eq!(store.begin("ventas", &lease, room(3)).await.unwrap().picked.len(), 1, "its file is at Meta");
}

/// Without the name of the beginning sends that certainly did not leave are doubted and end as unknown.
#[tokio::test]
async fn what_was_begun_and_nobody_learned_of_is_planned_again_whenever_its_commit_came() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let (lost, known) = (ask(1), ask(1));
    for _ in 0..2 {
        store.take(vec![(Uuid::now_v7(), send(Uuid::now_v7(), 1, CUSTOMER))]).await.unwrap();
    }
    let recover = async |at_work: &[Uuid]| {
        store.recover("ventas", &lease, at_work, &[lost.begun_by], LONG).await.unwrap()
    };
    assert_eq!(recover(NOBODY).await, 0, "not committed yet");
    let begun = store.begin("ventas", &lease, lost).await.unwrap().picked.remove(0);
    let other = store.begin("ventas", &lease, known).await.unwrap().picked.remove(0);
    assert_eq!(recover(&[other.send_id]).await, 0);
    assert_eq!(state(&store, &begun).await, "planned");
    let kept =
        "SELECT count(*) FROM whatsapp.send WHERE state = 'planned' AND cut_offs = 0 AND next_at <= now()";
    assert_eq!(count(&store, kept).await, 1);
    // Begun once more it is at work; whoever recovers late with the old name only doubts what is not.
    let again = store.begin("ventas", &lease, ask(1)).await.unwrap().picked.remove(0);
    assert_eq!((again.send_id, again.attempts), (begun.send_id, 2));
    assert_eq!(recover(NOBODY).await, 2);
    assert_eq!(
        (state(&store, &again).await, state(&store, &other).await),
        ("doubtful".into(), "doubtful".into())
    );
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

/// Without the look at what people wrote a dialer's file that was cut off keeps every agent's file waiting.
#[tokio::test]
async fn what_a_dialer_s_file_was_cut_off_for_bars_no_file_of_a_person() {
    let store = store().await;
    let lease = lease(&store, "whatsapp-send/ventas", "one").await;
    let begin = async || {
        let picked = store.begin("ventas", &lease, ask(10)).await.unwrap().picked;
        picked.into_iter().map(|one| one.send_id).collect::<Vec<_>>()
    };
    let mut row = with_a_file();
    change(&mut row, |item| item.bulk = true);
    store.take(vec![(Uuid::now_v7(), row.clone())]).await.unwrap();
    cut_off(&store, &lease).await;
    all_due(&store).await;
    let person = with_a_file();
    store.take(vec![(Uuid::now_v7(), person.clone())]).await.unwrap();
    assert_eq!(begin().await, [person.send_id.parse::<Uuid>().unwrap()]);
    assert!(begin().await.is_empty(), "the other one goes alone");
    sqlx::query("UPDATE whatsapp.send SET state = 'sent', epoch = NULL, uploading = false WHERE NOT bulk")
        .execute(store.db().pool())
        .await
        .unwrap();
    assert_eq!(begin().await, [row.send_id.parse::<Uuid>().unwrap()]);
}

/// Whoever lost a beginning may not own the number any more when he learns of it: without his word another owner's doubt ends as
/// unknown, of what certainly did not leave.
#[tokio::test]
async fn whoever_lost_a_beginning_takes_it_back_also_from_another_owner() {
    let store = store().await;
    let one = lease(&store, "whatsapp-send/ventas", "one").await;
    let (lost, known) = (ask(1), ask(1));
    for _ in 0..2 {
        store.take(vec![(Uuid::now_v7(), send(Uuid::now_v7(), 1, CUSTOMER))]).await.unwrap();
    }
    let begun = store.begin("ventas", &one, lost).await.unwrap().picked.remove(0);
    let left = store.begin("ventas", &one, known).await.unwrap().picked.remove(0);
    let other = lease(&store, "whatsapp-send/ventas", "other").await;
    assert_eq!(store.recover("ventas", &other, NOBODY, NOBODY, LONG).await.unwrap(), 2);
    let states = async || (state(&store, &begun).await, state(&store, &left).await);
    assert_eq!(states().await, ("doubtful".into(), "doubtful".into()));
    assert_eq!(store.never_left("ventas", &[lost.begun_by]).await.unwrap(), 1);
    assert_eq!(states().await, ("planned".into(), "doubtful".into()));
    let again = store.begin("ventas", &other, ask(1)).await.unwrap().picked.remove(0);
    assert_eq!(again.send_id, begun.send_id);
    assert_eq!(
        store.never_left("ventas", &[lost.begun_by]).await.unwrap(),
        0,
        "it is at work by another beginning"
    );
}
