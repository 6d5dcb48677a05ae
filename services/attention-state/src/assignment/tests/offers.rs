//! What of a batch is committed and what is refused, and that two batches never assign one interaction twice.

use hilo_kit::error::Class;
use hilo_proto::internal::v1::AssignmentOutcome::{
    Applied, Busy, Conflict, Gone, NoCapacity, NotAvailable, TooEarly,
};
use hilo_proto::internal::v1::{AssignmentResult, PresenceReport};
use sqlx::Connection;

use super::{apply, batch, command, expire, load_of, offer, open, outcomes, overflow, queue};
use crate::assignment::{agents, decisions};
use crate::attention::domain::{Command, InteractionId, UserKey};
use crate::directory::testing::{self, database, directory_of};
use hilo_kit::db::Db;

async fn with_campaign(more: &str) -> Db {
    let db = database().await;
    testing::apply(&db, &directory_of(&[("a", &["ana", "luis"]), ("b", &["rosa"])], more)).await;
    db
}

fn version(result: &AssignmentResult) -> i64 {
    result.current.as_ref().unwrap().interaction.as_ref().unwrap().version
}

fn offer_id(result: &AssignmentResult) -> String {
    result.current.as_ref().unwrap().interaction.as_ref().unwrap().offer.as_ref().unwrap().offer_id.clone()
}

async fn end(db: &Db, id: InteractionId, agent: &str) {
    open(db, id, agent).await;
    command(db, id, Command::End { agent: UserKey::new(agent), close: false, problems: Vec::new() }).await;
}

#[tokio::test]
async fn an_offer_is_committed_with_load_pointer_instant_and_record() {
    let db = with_campaign(", accept_timeout_seconds: 30").await;
    let ids = queue(&db, "a", 2).await;
    let results = apply(&db, batch("a", vec![offer(ids[0], 1, "ana"), offer(ids[1], 1, "")])).await.unwrap();
    assert_eq!(outcomes(&results), [Applied, Applied]);
    let current = results[0].current.as_ref().unwrap();
    assert_eq!((current.channel.as_str(), current.traceparent.as_str()), ("email", "00-trace"));
    let made = current.interaction.as_ref().unwrap().offer.as_ref().unwrap();
    assert_eq!(made.agent_key, "ana");
    let seconds = made.deadline_at.as_ref().unwrap().seconds - made.offered_at.as_ref().unwrap().seconds;
    assert_eq!(seconds, 30);
    let everyone = results[1].current.as_ref().unwrap().interaction.as_ref().unwrap().offer.as_ref().unwrap();
    assert_eq!((everyone.agent_key.as_str(), everyone.deadline_at), ("", None));
    assert_eq!((load_of(&db, "ana").await, load_of(&db, "luis").await), (1, 0));
    let (pointer, offered): (String, bool) = sqlx::query_as(
        "SELECT (SELECT pointer FROM assignment.rotation WHERE campaign_key = 'a'),
                (SELECT last_offered_at IS NOT NULL FROM assignment.agent_load WHERE agent_key = 'ana' AND channel = 'email')",
    )
    .fetch_one(db.pool())
    .await
    .unwrap();
    assert_eq!((pointer.as_str(), offered), ("ana", true));
    let id = ids[0].uuid();
    let records =
        db.read(move |conn| Box::pin(async move { decisions::list(conn, id).await })).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].offer_id, made.offer_id);
    assert_eq!(records[0].decision.as_ref().unwrap().winner, "ana");
    let events: i64 = sqlx::query_scalar("SELECT max(sequence) FROM attention.attention")
        .fetch_one(db.pool())
        .await
        .unwrap();
    assert_eq!(events, current.sequence, "the offer is the attention's last event");
}

#[tokio::test]
async fn surplus_over_capacity_is_refused_also_within_one_batch() {
    let db = with_campaign("").await;
    let ids = queue(&db, "a", 7).await;
    open(&db, ids[0], "ana").await;
    let changes = ids[1..].iter().map(|id| offer(*id, 1, "ana")).collect();
    let results = apply(&db, batch("a", changes)).await.unwrap();
    assert_eq!(outcomes(&results), [Applied, Applied, Applied, Applied, NoCapacity, NoCapacity]);
    assert_eq!(load_of(&db, "ana").await, 5);
    // An expiry in the same batch gives room for the next.
    let freed = expire(ids[1], 2, &offer_id(&results[0]), "agent_paused");
    let again =
        apply(&db, batch("a", vec![offer(ids[5], 1, "ana"), freed, offer(ids[6], 1, "ana")])).await.unwrap();
    assert_eq!(outcomes(&again), [NoCapacity, Applied, Applied]);
    assert_eq!(load_of(&db, "ana").await, 5);
    // A person's own choice is not bound by it.
    open(&db, ids[5], "ana").await;
    assert_eq!(load_of(&db, "ana").await, 6);
}

#[tokio::test]
async fn two_batches_for_the_same_interactions_make_exactly_one_offer_each() {
    let db = with_campaign("").await;
    for round in 0..20 {
        let ids = queue(&db, "a", 4).await;
        let of = |agent: &str| batch("a", ids.iter().map(|id| offer(*id, 1, agent)).collect());
        let (one, two) = (of("ana"), of("luis"));
        let (first, second) = (db.clone(), db.clone());
        let one = tokio::spawn(async move { apply(&first, one).await.unwrap() });
        let two = tokio::spawn(async move { apply(&second, two).await.unwrap() });
        let (one, two) = (outcomes(&one.await.unwrap()), outcomes(&two.await.unwrap()));
        for (one, two) in one.iter().zip(&two) {
            let won = [one, two].iter().filter(|outcome| ***outcome == Applied).count();
            assert_eq!(won, 1, "round {round}: {one:?} {two:?}");
            let lost = if *one == Applied { two } else { one };
            assert!([Conflict, Busy].contains(lost), "round {round}: {lost:?}");
        }
        assert_eq!(load_of(&db, "ana").await + load_of(&db, "luis").await, 4, "round {round}");
        for id in ids {
            end(&db, id, "ana").await;
        }
        assert_eq!((load_of(&db, "ana").await, load_of(&db, "luis").await), (0, 0));
    }
}

#[tokio::test]
async fn a_locked_attention_is_busy_and_holds_up_nothing_else() {
    let db = with_campaign("").await;
    let ids = queue(&db, "a", 2).await;
    let mut session = db.dedicated().await.unwrap();
    let mut tx = session.begin().await.unwrap();
    sqlx::query(
        "SELECT 1 FROM attention.attention JOIN attention.interaction USING (attention_id)
         WHERE interaction_id = $1 FOR UPDATE OF attention",
    )
    .bind(ids[0].uuid())
    .execute(&mut *tx)
    .await
    .unwrap();
    let changes = vec![offer(ids[0], 1, "ana"), offer(ids[1], 1, "ana")];
    let results = apply(&db, batch("a", changes.clone())).await.unwrap();
    assert_eq!(outcomes(&results), [Busy, Applied]);
    assert!(results[0].current.is_none());
    tx.rollback().await.unwrap();
    assert_eq!(outcomes(&apply(&db, batch("a", changes)).await.unwrap()), [Applied, Conflict]);
}

#[tokio::test]
async fn what_no_longer_fits_is_refused_with_the_state_as_it_is() {
    let db = with_campaign(", accept_timeout_seconds: 30").await;
    let ids = queue(&db, "a", 4).await;
    open(&db, ids[0], "luis").await;
    end(&db, ids[1], "luis").await;
    let foreign = queue(&db, "b", 1).await[0];
    let unknown = InteractionId::new();
    let changes = vec![
        offer(ids[0], 1, "ana"),  // opened by a person meanwhile
        offer(ids[1], 3, "ana"),  // ended meanwhile
        offer(unknown, 1, "ana"), // never was
        offer(foreign, 1, "ana"), // of another partition
        offer(ids[2], 7, "ana"),  // decided on a version that never was
        offer(ids[2], 1, "rosa"), // not a member
        offer(ids[2], 1, "nadie"),
        overflow(ids[2], 1), // the campaign has none
        offer(ids[2], 1, "ana"),
        offer(ids[2], 2, "luis"), // an offer is outstanding
    ];
    let results = apply(&db, batch("a", changes)).await.unwrap();
    assert_eq!(
        outcomes(&results),
        [Conflict, Gone, Gone, Conflict, Conflict, NotAvailable, NotAvailable, Conflict, Applied, Conflict]
    );
    assert_eq!(version(&results[0]), 2);
    assert_eq!(version(&results[9]), 2);
    let id = offer_id(&results[8]);
    let early = apply(&db, batch("a", vec![expire(ids[2], 2, &id, "accept_timeout")])).await.unwrap();
    assert_eq!(outcomes(&early), [TooEarly]);
    sqlx::query("UPDATE attention.interaction SET offer_deadline_at = now() WHERE interaction_id = $1")
        .bind(ids[2].uuid())
        .execute(db.pool())
        .await
        .unwrap();
    let due = apply(&db, batch("a", vec![expire(ids[2], 2, &id, "accept_timeout")])).await.unwrap();
    assert_eq!(outcomes(&due), [Applied]);
    assert_eq!(due[0].current.as_ref().unwrap().interaction.as_ref().unwrap().passed_by, ["ana"]);
    assert_eq!(load_of(&db, "ana").await, 0);
}

#[tokio::test]
async fn the_paused_the_absent_and_the_inactive_are_offered_nothing() {
    let db = with_campaign("").await;
    let ids = queue(&db, "a", 2).await;
    let report = |present: bool, seconds: i64| PresenceReport {
        agent_key: "ana".to_owned(),
        present,
        last_seen_at: Some(prost_types::Timestamp { seconds: 1_700_000_000 + seconds, nanos: 0 }),
    };
    let tell = |report: PresenceReport| {
        let db = db.clone();
        async move {
            db.transaction(move |tx| {
                let report = report.clone();
                Box::pin(async move { agents::report_presence(tx, &[report]).await })
            })
            .await
            .unwrap();
        }
    };
    let ask = || async { outcomes(&apply(&db, batch("a", vec![offer(ids[0], 1, "ana")])).await.unwrap()) };
    tell(report(false, 5)).await;
    assert_eq!(ask().await, [NotAvailable], "absent");
    tell(report(true, 4)).await;
    assert_eq!(ask().await, [NotAvailable], "an older report changes nothing");
    tell(report(true, 6)).await;
    db.transaction(|tx| Box::pin(agents::set_paused(tx, "ana", true))).await.unwrap();
    assert_eq!(ask().await, [NotAvailable], "paused");
    db.transaction(|tx| Box::pin(agents::set_paused(tx, "ana", false))).await.unwrap();
    let without = directory_of(&[("a", &["ana", "luis"]), ("b", &["rosa"])], "").replace(
        "{key: ana, name: ana, roles: [agent]}",
        "{key: ana, name: ana, roles: [agent], active: false}",
    );
    testing::apply(&db, &without).await;
    assert_eq!(ask().await, [NotAvailable], "inactive");
    testing::apply(&db, &directory_of(&[("a", &["ana", "luis"]), ("b", &["rosa"])], "")).await;
    assert_eq!(ask().await, [Applied]);
}

#[tokio::test]
async fn an_inactive_campaign_takes_no_new_offers() {
    let db = with_campaign(", active: false").await;
    let ids = queue(&db, "a", 1).await;
    let results = apply(&db, batch("a", vec![offer(ids[0], 1, "ana")])).await.unwrap();
    assert_eq!(outcomes(&results), [NotAvailable]);
}

#[tokio::test]
async fn overflow_takes_effect_when_its_time_has_come_by_the_databases_clock() {
    let db = with_campaign(", overflow_seconds: 60, overflow_mode: assign_to_all").await;
    let ids = queue(&db, "a", 1).await;
    let now = async || outcomes(&apply(&db, batch("a", vec![overflow(ids[0], 1)])).await.unwrap());
    assert_eq!(now().await, [TooEarly]);
    sqlx::query("UPDATE attention.interaction SET queued_at = now() - interval '61 s'")
        .execute(db.pool())
        .await
        .unwrap();
    assert_eq!(now().await, [Applied]);
    assert_eq!(outcomes(&apply(&db, batch("a", vec![offer(ids[0], 2, "")])).await.unwrap()), [Applied]);
}

#[tokio::test]
async fn a_malformed_batch_is_refused_with_every_violation() {
    let db = with_campaign("").await;
    let ids = queue(&db, "a", 1).await;
    let mut bad = offer(ids[0], 1, "ana");
    bad.interaction_id = "x".to_owned();
    let mut none = offer(ids[0], 1, "ana");
    none.change = None;
    let expired = expire(ids[0], 1, "x", "because");
    let error = apply(&db, batch("a", vec![bad, offer(ids[0], 1, "ana"), none, expired])).await.unwrap_err();
    assert_eq!((error.class(), error.reason()), (Class::Invalid, "INVALID_BATCH"));
    let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["changes[0].interaction_id", "changes[2].change", "changes[3].expire.offer_id"]);
    let many = vec![offer(ids[0], 1, "ana"); 501];
    assert_eq!(apply(&db, batch("a", many)).await.unwrap_err().reason(), "INVALID_BATCH");
}

#[tokio::test]
async fn five_hundred_changes_are_one_transaction() {
    let db = database().await;
    let agents: Vec<String> = (0..100).map(|one| format!("agent-{one:03}")).collect();
    let members: Vec<&str> = agents.iter().map(String::as_str).collect();
    testing::apply(&db, &directory_of(&[("a", &members)], "")).await;
    let ids = queue(&db, "a", 500).await;
    let changes = ids.iter().enumerate().map(|(at, id)| offer(*id, 1, &agents[at % 100])).collect();
    let results = apply(&db, batch("a", changes)).await.unwrap();
    assert!(outcomes(&results).iter().all(|outcome| *outcome == Applied));
    let load: i64 =
        sqlx::query_scalar("SELECT sum(load) FROM assignment.agent_load").fetch_one(db.pool()).await.unwrap();
    assert_eq!(load, 500);
}
