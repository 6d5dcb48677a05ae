//! What supervisors are shown: queues in numbers, and what a decision on a queued item would be made from.

use hilo_kit::Error;
use hilo_kit::db::Db;
use hilo_proto::internal::v1::queue_service_client::QueueServiceClient;
use hilo_proto::internal::v1::{CampaignQueue, ListDecisionsResponse, ReadQueuesRequest};

use super::{apply, batch, command, offer, open, queue};
use crate::assignment::{queues, standing};
use crate::attention::domain::{Command, InteractionId, UserKey};
use crate::directory::testing::{self, Served, database, directory_of};

const HOUR: i32 = 3_600;

async fn with_target() -> Db {
    let db = database().await;
    let yaml = directory_of(&[("a", &["ana", "luis"]), ("b", &["rosa"])], ", service_level_seconds: 60");
    testing::apply(&db, &yaml).await;
    db
}

async fn of(db: &Db, campaign: &str) -> CampaignQueue {
    let read = db.snapshot(|conn| Box::pin(queues::read(conn, HOUR))).await.unwrap();
    read.queues.into_iter().find(|one| one.campaign_key == campaign).unwrap()
}

/// The customer has been waiting for longer than that.
async fn ages(db: &Db, id: InteractionId, column: &str, seconds: i32) {
    let change = format!(
        "UPDATE attention.interaction SET {column} = {column} - make_interval(secs => $2) WHERE interaction_id = $1"
    );
    sqlx::query(sqlx::AssertSqlSafe(change))
        .bind(id.uuid())
        .bind(f64::from(seconds))
        .execute(db.pool())
        .await
        .unwrap();
}

async fn release(db: &Db, id: InteractionId, agent: &str) {
    command(db, id, Command::Release { agent: UserKey::new(agent) }).await;
}

#[tokio::test]
async fn queues_are_counted_by_campaign_and_state() {
    let db = with_target().await;
    let ids = queue(&db, "a", 4).await;
    queue(&db, "b", 1).await;
    apply(&db, batch("a", vec![offer(ids[0], 1, "ana")])).await.unwrap();
    open(&db, ids[1], "luis").await;
    ages(&db, ids[2], "waiting_since", 61).await;
    let a = of(&db, "a").await;
    assert_eq!((a.waiting, a.offered, a.open, a.overdue, a.target_seconds), (3, 1, 1, 1, 60));
    let rest = of(&db, "b").await;
    assert_eq!((rest.waiting, rest.offered, rest.open, rest.overdue, rest.taken), (1, 0, 0, 0, 0));
    let oldest: time::OffsetDateTime =
        sqlx::query_scalar("SELECT waiting_since FROM attention.interaction WHERE interaction_id = $1")
            .bind(ids[2].uuid())
            .fetch_one(db.pool())
            .await
            .unwrap();
    assert_eq!(a.oldest_waiting_since, Some(hilo_kit::clock::to_proto(oldest)));
    assert_eq!(a.taken, 1);
}

#[tokio::test]
async fn the_service_level_counts_every_customer_once_by_the_first_opening() {
    let db = with_target().await;
    let ids = queue(&db, "a", 4).await;
    ages(&db, ids[1], "waiting_since", 61).await;
    for id in &ids[..3] {
        open(&db, *id, "ana").await;
    }
    let level = async || {
        let a = of(&db, "a").await;
        (a.taken, a.taken_in_time)
    };
    assert_eq!(level().await, (3, 2));
    // Given back and taken again much later, it is still the same customer who was served in time.
    release(&db, ids[0], "ana").await;
    ages(&db, ids[0], "waiting_since", 50).await;
    ages(&db, ids[0], "first_opened_at", 50).await;
    open(&db, ids[0], "luis").await;
    assert_eq!(level().await, (3, 2));
    // Ended ones count; what was opened before the window does not, nor what an agent began.
    let end = Command::End { agent: UserKey::new("ana"), close: false, problems: Vec::new() };
    command(&db, ids[2], end).await;
    assert_eq!(level().await, (3, 2));
    for column in ["waiting_since", "first_opened_at"] {
        ages(&db, ids[2], column, HOUR + 5).await;
    }
    assert_eq!(level().await, (2, 1));
    sqlx::query("UPDATE attention.interaction SET direction = 'outbound' WHERE interaction_id = $1")
        .bind(ids[1].uuid())
        .execute(db.pool())
        .await
        .unwrap();
    assert_eq!(level().await, (1, 1));
}

#[tokio::test]
async fn the_rpc_bounds_its_window_and_lists_agents() {
    let served = Served::start().await;
    testing::apply(&served.db, &directory_of(&[("a", &["luis", "ana"])], "")).await;
    let mut client = QueueServiceClient::new(served.service());
    for window_seconds in [0, 59, 86_401] {
        let status = client.read_queues(ReadQueuesRequest { window_seconds }).await.unwrap_err();
        assert_eq!(Error::from(status).violations()[0].field, "window_seconds");
    }
    let read = client.read_queues(ReadQueuesRequest { window_seconds: HOUR }).await.unwrap().into_inner();
    let keys: Vec<&str> = read.agents.iter().map(|one| one.agent_key.as_str()).collect();
    assert_eq!((keys, read.queues.len(), read.now.is_some()), (vec!["ana", "luis"], 1, true));
    assert_eq!((read.queues[0].target_seconds, read.queues[0].overdue), (0, 0), "no target, nothing overdue");
}

async fn standing_of(db: &Db, id: InteractionId) -> ListDecisionsResponse {
    let id = id.uuid();
    db.snapshot(move |conn| Box::pin(standing::read(conn, id, false))).await.unwrap()
}

#[tokio::test]
async fn a_queued_item_comes_with_its_campaign_its_members_and_who_is_before_it() {
    let db = with_target().await;
    let ids = queue(&db, "a", 5).await;
    queue(&db, "b", 2).await;
    // In order: the last one has priority, the first rings, the third waits for longer.
    sqlx::query("UPDATE attention.interaction SET priority = 1 WHERE interaction_id = $1")
        .bind(ids[4].uuid())
        .execute(db.pool())
        .await
        .unwrap();
    apply(&db, batch("a", vec![offer(ids[0], 1, "luis")])).await.unwrap();
    ages(&db, ids[3], "waiting_since", 5).await;
    let mut ahead = Vec::new();
    for id in &ids {
        ahead.push(standing_of(&db, *id).await.ahead);
    }
    assert_eq!(ahead, [2, 2, 3, 1, 0]);
    let second = standing_of(&db, ids[1]).await;
    assert_eq!(second.campaign_key, "a");
    let campaign = second.campaign.unwrap();
    assert_eq!(
        (campaign.campaign_key.as_str(), campaign.member_keys.as_slice()),
        ("a", &["ana".to_owned(), "luis".to_owned()][..])
    );
    let members: Vec<(&str, i32)> =
        second.members.iter().map(|one| (one.agent_key.as_str(), one.loads[0].load)).collect();
    assert_eq!(members, [("ana", 0), ("luis", 1)]);
    open(&db, ids[1], "ana").await;
    let opened = standing_of(&db, ids[1]).await;
    assert!(opened.live.is_some() && opened.campaign.is_none() && opened.members.is_empty());
    apply(&db, batch("a", vec![offer(ids[2], 1, "luis")])).await.unwrap();
    open(&db, ids[2], "luis").await;
    let end = Command::End { agent: UserKey::new("ana"), close: true, problems: Vec::new() };
    command(&db, ids[1], end).await;
    assert!(standing_of(&db, ids[1]).await.live.is_none());
    // Of one that has ended, the decisions are there as ever, and campaign and members when asked for.
    let end = Command::End { agent: UserKey::new("luis"), close: true, problems: Vec::new() };
    command(&db, ids[2], end).await;
    let id = ids[2].uuid();
    let ended = db.snapshot(move |conn| Box::pin(standing::read(conn, id, true))).await.unwrap();
    let winner = ended.decisions.first().and_then(|one| one.decision.as_ref()).map(|one| one.winner.as_str());
    assert_eq!((ended.decisions.len(), winner), (1, Some("luis")));
    let keys = ended.campaign.map(|campaign| campaign.member_keys).unwrap_or_default();
    assert_eq!((keys, ended.members.len(), ended.ahead), (vec!["ana".to_owned(), "luis".to_owned()], 2, 0));
    assert!(ended.live.is_none());
}
