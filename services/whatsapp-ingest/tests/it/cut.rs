//! Fetches whose process does not live to end them: they come to an end, and take no other file along.

use std::time::Duration;

use hilo_kit::nats::Subjects;
use hilo_simulators::{Effect, Endpoint, Fault, Say};
use hilo_whatsapp_ingest::domain::media::Trouble;
use hilo_whatsapp_ingest::store::{Again, Store};

use crate::files::{due, picture, quick, started};
use crate::rig::{NUMBER, Rig};

const LONG: Duration = Duration::from_secs(600);
const HANDED: &str = "SELECT count(*) FROM kit.outbox_log WHERE stream = 'inbound'";

async fn all_due(rig: &Rig) {
    let due = "UPDATE whatsapp.media SET next_at = now() WHERE state = 'waiting'";
    sqlx::query(due).execute(rig.db.pool()).await.unwrap();
}

/// Without the count of claims that nobody ended a file that ends every process that fetches it does so for seven days.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_ends_every_process_ends_at_a_limit_and_is_told_once() {
    let (mut rig, simulator, phone) = started(quick()).await;
    let store = due(&mut rig, &simulator, &phone).await;
    let before = rig.count(HANDED).await;
    for times in 1..=6 {
        assert_eq!(store.claim_files("ventas", 9, LONG).await.unwrap().len(), 1, "claim {times}");
        all_due(&rig).await;
        if (2..6).contains(&times) {
            assert!(store.claim_files("ventas", 9, LONG).await.unwrap().is_empty(), "not at once");
            let pause = "SELECT extract(epoch FROM next_at - changed_at)::bigint FROM whatsapp.media";
            let (pause, usual) = (rig.count(pause).await, 4_i64.pow(times - 1).min(300));
            assert!((usual / 2..=usual * 3 / 2).contains(&pause), "{pause} s, usually {usual} s");
            all_due(&rig).await;
        }
    }
    assert!(store.claim_files("ventas", 9, LONG).await.unwrap().is_empty());
    let failed = "SELECT count(*) FROM whatsapp.media WHERE state = 'failed' AND reason = 'MEDIA_UNAVAILABLE' AND claim IS NULL";
    assert_eq!((rig.count(failed).await, rig.count(HANDED).await), (1, before + 1));
    assert!(store.accounts_with_due_files().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_file_that_meta_has_no_more_ends_and_a_try_that_ends_by_itself_begins_anew() {
    let (mut rig, simulator, phone) = started(quick()).await;
    let store = due(&mut rig, &simulator, &phone).await;
    for _ in 0..2 {
        assert_eq!(store.claim_files("ventas", 9, LONG).await.unwrap().len(), 1);
        all_due(&rig).await;
        let again = Again { trouble: Trouble::Away, after: Duration::ZERO, error_answer: false };
        let wanted = store.claim_files("ventas", 9, LONG).await.unwrap().remove(0);
        assert_eq!(rig.count("SELECT cut_offs::bigint FROM whatsapp.media").await, 1);
        assert!(store.file_again(&wanted, again).await.unwrap());
        assert_eq!(rig.count("SELECT cut_offs::bigint FROM whatsapp.media").await, 0);
    }
    assert_eq!(store.claim_files("ventas", 9, LONG).await.unwrap().len(), 1);
    let old = "UPDATE whatsapp.media SET received_at = now() - interval '7 days'";
    sqlx::query(old).execute(rig.db.pool()).await.unwrap();
    all_due(&rig).await;
    assert!(store.claim_files("ventas", 9, LONG).await.unwrap().is_empty());
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.media WHERE state = 'failed'").await, 1);
}

/// Without its turn alone a file that ends every process takes the four beside it along to their limit.
#[tokio::test(flavor = "multi_thread")]
async fn of_files_that_were_cut_off_together_each_goes_alone_and_before_any_new_one() {
    let (mut rig, simulator, phone) = started(quick()).await;
    simulator.fault(Fault::new(Endpoint::MediaInfo, 1, Effect::HangBefore { ms: 60_000 }).lasting());
    for _ in 0..3 {
        phone.says(NUMBER, &Say::media("image", picture())).unwrap();
    }
    rig.counts("SELECT count(*) FROM whatsapp.media", 3).await;
    rig.stop().await;
    let store = Store::new(rig.db.clone(), Subjects::new("hilo").unwrap());
    let claim = async || store.claim_files("ventas", 9, LONG).await.unwrap();
    let first = claim().await;
    assert_eq!(first.len(), 3);
    // One of them is still under way at another replica, the process of the others ended.
    let cut = "UPDATE whatsapp.media SET next_at = now() WHERE item_id <> $1";
    sqlx::query(cut).bind(first[0].item_id).execute(rig.db.pool()).await.unwrap();
    assert!(claim().await.is_empty(), "not beside one that is under way");
    store.file_put_back(&first[0]).await.unwrap();
    let mut alone = Vec::new();
    for _ in 0..2 {
        let one = claim().await;
        assert_eq!(one.len(), 1);
        assert!(claim().await.is_empty(), "nobody goes beside it");
        let away = Again { trouble: Trouble::Away, after: LONG, error_answer: false };
        assert!(store.file_again(&one[0], away).await.unwrap());
        alone.push(one[0].item_id);
    }
    assert!(!alone.contains(&first[0].item_id), "{alone:?}");
    assert_eq!(claim().await.iter().map(|one| one.item_id).collect::<Vec<_>>(), [first[0].item_id]);
}

/// Files of two accounts, cut off by one death of their process: without the chance in the pauses they come back together each time, and
/// the one that ends every process takes the other one along to its limit.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_two_accounts_that_were_cut_off_together_do_not_stay_in_step() {
    let (mut rig, simulator, phone) = started(quick()).await;
    simulator.fault(Fault::new(Endpoint::MediaInfo, 1, Effect::HangBefore { ms: 60_000 }).lasting());
    for _ in 0..2 {
        phone.says(NUMBER, &Say::media("image", picture())).unwrap();
    }
    rig.counts("SELECT count(*) FROM whatsapp.media", 2).await;
    rig.stop().await;
    let other = "UPDATE whatsapp.media SET account_key = 'otra' WHERE item_id = (SELECT item_id FROM whatsapp.media LIMIT 1)";
    sqlx::query(other).execute(rig.db.pool()).await.unwrap();
    let store = Store::new(rig.db.clone(), Subjects::new("hilo").unwrap());
    let both = async || {
        let one = store.claim_files("ventas", 9, LONG).await.unwrap().len();
        one + store.claim_files("otra", 9, LONG).await.unwrap().len()
    };
    for death in 0..2 {
        all_due(&rig).await;
        assert_eq!(both().await, 2, "{death}");
    }
    all_due(&rig).await;
    assert_eq!(both().await, 0, "they wait after the second");
    let pauses = "SELECT count(DISTINCT next_at - changed_at) FROM whatsapp.media WHERE cut_offs = 2";
    assert_eq!(rig.count(pauses).await, 2, "both after the same pause");
}
