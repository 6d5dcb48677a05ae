//! The overflow into another campaign, committed by the one writer.

use hilo_kit::db::Db;
use hilo_proto::event::v1::{AttentionEvent, EventType, InteractionSnapshot};
use hilo_proto::internal::v1::AssignmentOutcome::{Applied, Conflict, TooEarly};
use hilo_proto::internal::v1::AssignmentResult;
use uuid::Uuid;

use super::{apply, batch, load_of, offer, open, outcomes, overflow, queue};
use crate::attention::domain::InteractionId;
use crate::directory::testing::{self, database, directory_of};

/// Campaigns `a` and `b` overflow into each other; `ana` serves `a`, `rosa` serves `b`.
async fn each_into_the_other() -> Db {
    let db = database().await;
    let yaml = directory_of(&[("a", &["ana"]), ("b", &["rosa"])], "");
    let overflows = |yaml: String, key: &str, to: &str| {
        let rule = format!("overflow_seconds: 60, overflow_mode: send_to_campaign, overflow_campaign: {to}");
        yaml.replace(&format!("name: {key}, channel"), &format!("name: {key}, {rule}, channel"))
    };
    testing::apply(&db, &overflows(overflows(yaml, "a", "b"), "b", "a")).await;
    db
}

async fn waited(db: &Db, id: InteractionId) {
    sqlx::query(
        "UPDATE attention.interaction SET waiting_since = waiting_since - interval '61 seconds',
             queued_at = queued_at - interval '61 seconds' WHERE interaction_id = $1",
    )
    .bind(id.uuid())
    .execute(db.pool())
    .await
    .unwrap();
}

fn state(results: &[AssignmentResult]) -> InteractionSnapshot {
    results[0].current.clone().unwrap().interaction.unwrap()
}

/// Event types of the attention with the campaign each was told to.
async fn events(db: &Db, attention: &str) -> Vec<(EventType, String, i64)> {
    let payloads: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT payload FROM kit.outbox_log WHERE key = $1 ORDER BY sequence")
            .bind(Uuid::parse_str(attention).unwrap())
            .fetch_all(db.pool())
            .await
            .unwrap();
    let read = |payload: Vec<u8>| -> AttentionEvent {
        hilo_proto::json::from_json("hilo.event.v1.AttentionEvent", &payload).unwrap()
    };
    let line = |event: AttentionEvent| (event.r#type(), event.campaign_key.clone(), event.sequence);
    payloads.into_iter().map(|payload| line(read(payload))).collect()
}

#[tokio::test]
async fn it_moves_when_its_time_has_come_and_what_rings_is_withdrawn() {
    let db = each_into_the_other().await;
    let id = queue(&db, "a", 1).await[0];
    apply(&db, batch("a", vec![offer(id, 1, "ana")])).await.unwrap();
    let early = apply(&db, batch("a", vec![overflow(id, 2)])).await.unwrap();
    assert_eq!(outcomes(&early), [TooEarly]);
    let before = state(&early);
    assert_eq!((before.campaign_key.as_str(), load_of(&db, "ana").await), ("a", 1));
    waited(&db, id).await;
    let results = apply(&db, batch("a", vec![overflow(id, 2)])).await.unwrap();
    assert_eq!(outcomes(&results), [Applied]);
    let moved = state(&results);
    assert_eq!((moved.campaign_key.as_str(), moved.version, moved.offer.as_ref()), ("b", 5, None));
    assert_eq!((moved.overflowed, moved.overflowed_from.as_slice()), (false, &["a".to_owned()][..]));
    assert_eq!(load_of(&db, "ana").await, 0);
    let seconds = moved.queued_at.unwrap().seconds - moved.waiting_since.unwrap().seconds;
    assert!((60..=120).contains(&seconds), "queued anew, still waiting: {seconds} s");
    let told = events(&db, &results[0].current.as_ref().unwrap().attention_id).await;
    let last: Vec<_> = told[3..].iter().map(|(kind, campaign, at)| (*kind, campaign.as_str(), *at)).collect();
    assert_eq!(
        last,
        [
            (EventType::InteractionOffered, "a", 4),
            (EventType::OfferWithdrawn, "a", 5),
            (EventType::InteractionTransferredOut, "a", 6),
            (EventType::InteractionTransferredIn, "b", 7),
        ]
    );
    // The offer in the new campaign is committed like any other.
    let rings = apply(&db, batch("a", vec![offer(id, 5, "rosa")])).await.unwrap();
    assert_eq!((outcomes(&rings), load_of(&db, "rosa").await), (vec![Applied], 1));
}

#[tokio::test]
async fn it_returns_to_no_campaign_it_overflowed_from_until_somebody_opened_it() {
    let db = each_into_the_other().await;
    let id = queue(&db, "a", 1).await[0];
    waited(&db, id).await;
    assert_eq!(outcomes(&apply(&db, batch("a", vec![overflow(id, 1)])).await.unwrap()), [Applied]);
    waited(&db, id).await;
    let refused = apply(&db, batch("a", vec![overflow(id, 3)])).await.unwrap();
    assert_eq!((outcomes(&refused), state(&refused).campaign_key.as_str()), (vec![Conflict], "b"));
    open(&db, id, "rosa").await;
    let release =
        crate::attention::domain::Command::Release { agent: crate::attention::domain::UserKey::new("rosa") };
    super::command(&db, id, release).await;
    waited(&db, id).await;
    let again = apply(&db, batch("a", vec![overflow(id, 5)])).await.unwrap();
    assert_eq!((outcomes(&again), state(&again).campaign_key.as_str()), (vec![Applied], "a"));
}

/// Red without `forget_kept_forms`: the other campaign's agent would be shown, and asked for, a form that is not his.
#[tokio::test]
async fn a_thread_that_was_opened_again_gets_the_form_of_the_campaign_it_overflows_into() {
    let db = each_into_the_other().await;
    let id = queue(&db, "a", 1).await[0];
    sqlx::query(
        "INSERT INTO attention.form_answer (interaction_id, form_key, form_version, version, answers, kept)
                   VALUES ($1, 'consulta', 1, 1, '{}', true)",
    )
    .bind(id.uuid())
    .execute(db.pool())
    .await
    .unwrap();
    let kept = async || -> bool {
        sqlx::query_scalar("SELECT kept FROM attention.form_answer WHERE interaction_id = $1")
            .bind(id.uuid())
            .fetch_one(db.pool())
            .await
            .unwrap()
    };
    apply(&db, batch("a", vec![offer(id, 1, "ana")])).await.unwrap();
    assert!(kept().await, "what stays in its campaign keeps it");
    waited(&db, id).await;
    let results = apply(&db, batch("a", vec![overflow(id, 2)])).await.unwrap();
    assert_eq!(outcomes(&results), [Applied]);
    assert!(!kept().await);
}
