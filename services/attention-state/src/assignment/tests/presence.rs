//! What routing reports of sessions: absence begins once, by the database's clock, and ends with the return. The orphan
//! timer runs on it.

use hilo_kit::clock::to_proto;
use hilo_kit::db::Db;
use hilo_proto::internal::v1::PresenceReport;
use time::{Duration, OffsetDateTime};

use crate::assignment::agents;
use crate::directory::testing::{self, database, directory_of};

async fn house() -> Db {
    let db = database().await;
    testing::apply(&db, &directory_of(&[("a", &["ana", "luis"])], "")).await;
    db
}

async fn report(db: &Db, reports: &[(&str, bool, OffsetDateTime)]) {
    let reports: Vec<PresenceReport> = reports
        .iter()
        .map(|(agent, present, seen)| PresenceReport {
            agent_key: (*agent).to_owned(),
            present: *present,
            last_seen_at: Some(to_proto(*seen)),
        })
        .collect();
    db.transaction(move |tx| {
        let reports = reports.clone();
        Box::pin(async move { agents::report_presence(tx, &reports).await })
    })
    .await
    .unwrap();
}

/// (absent since, version) of an agent.
async fn stored(db: &Db, agent: &str) -> (Option<OffsetDateTime>, i64) {
    sqlx::query_as("SELECT absent_since, version FROM assignment.agent_state WHERE agent_key = $1")
        .bind(agent)
        .fetch_one(db.pool())
        .await
        .unwrap()
}

async fn now(db: &Db) -> OffsetDateTime {
    sqlx::query_scalar("SELECT now()").fetch_one(db.pool()).await.unwrap()
}

#[tokio::test]
async fn absence_begins_once_by_the_databases_clock_and_ends_with_the_return() {
    let db = house().await;
    let begun = now(&db).await;
    let (nothing, first) = stored(&db, "ana").await;
    assert_eq!(nothing, None, "before the first report nobody is absent");
    // Her last sign of life was a minute ago; she is absent as of now, for only now it is known.
    report(&db, &[("ana", false, begun - Duration::MINUTE)]).await;
    let (since, version) = stored(&db, "ana").await;
    assert!(since.is_some_and(|since| since >= begun), "{since:?}");
    assert_eq!(version, first + 1);
    report(&db, &[("ana", false, begun - Duration::seconds(50))]).await;
    assert_eq!(stored(&db, "ana").await, (since, version), "still absent, since the same instant");
    report(&db, &[("ana", true, begun - Duration::seconds(40))]).await;
    assert_eq!(stored(&db, "ana").await, (None, version + 1));
    report(&db, &[("ana", true, begun - Duration::seconds(30))]).await;
    assert_eq!(stored(&db, "ana").await, (None, version + 1), "a renewal changes nothing");
    assert_eq!(stored(&db, "luis").await, (None, first), "nobody else is touched");
}

#[tokio::test]
async fn an_older_report_changes_nothing_and_at_the_same_instant_the_absence_counts() {
    let db = house().await;
    let seen = now(&db).await - Duration::MINUTE;
    report(&db, &[("ana", true, seen)]).await;
    report(&db, &[("ana", false, seen - Duration::SECOND)]).await;
    assert_eq!(stored(&db, "ana").await.0, None, "another replica had not seen her last sign of life");
    report(&db, &[("ana", false, seen)]).await;
    let (since, _) = stored(&db, "ana").await;
    assert!(since.is_some(), "her lease of that very sign of life is over");
    report(&db, &[("ana", true, seen)]).await;
    assert_eq!(stored(&db, "ana").await.0, since, "the same sign of life does not bring her back");
    report(&db, &[("ana", true, seen + Duration::SECOND)]).await;
    assert_eq!(stored(&db, "ana").await.0, None);
}

#[tokio::test]
async fn of_two_reports_in_one_call_the_newer_counts_and_strangers_are_left_out() {
    let db = house().await;
    let seen = now(&db).await - Duration::MINUTE;
    let newer = seen + Duration::SECOND;
    report(
        &db,
        &[
            ("nadie", false, seen),
            ("ana", false, seen),
            ("ana", true, newer),
            ("luis", true, seen),
            ("luis", false, newer),
        ],
    )
    .await;
    assert_eq!(stored(&db, "ana").await.0, None);
    assert!(stored(&db, "luis").await.0.is_some());
}

#[tokio::test]
async fn a_clock_that_runs_ahead_does_not_silence_later_reports() {
    let db = house().await;
    report(&db, &[("ana", true, now(&db).await + Duration::HOUR)]).await;
    let later = now(&db).await + Duration::SECOND;
    report(&db, &[("ana", false, later)]).await;
    assert!(stored(&db, "ana").await.0.is_some());
}
