//! What routing is told of the selection rules, and the order of service as attention-state counts it.

use hilo_proto::directory::v1::{SkillLevel, SkillRelaxation};
use hilo_proto::internal::v1::AssignmentMode;

use super::{open, queue};
use crate::assignment::{config, standing};
use crate::attention::domain::{Command, UserKey};
use crate::directory::testing::{self, database, directory_of};

fn level(skill: &str, level: i32) -> SkillLevel {
    SkillLevel { skill_key: skill.to_owned(), level }
}

#[tokio::test]
async fn the_configuration_carries_skills_ageing_bonus_and_idleness() {
    let db = database().await;
    let rules = ", required_skills: [{skill: quechua, level: 50}, {skill: ventas}], ageing_seconds: 90, vip_bonus: 4, \
                 relaxation: [{after_seconds: 30, skill: quechua, level: 20}, {after_seconds: 60, skill: quechua}]";
    let yaml = directory_of(&[("a", &["ana"])], rules)
        .replace("assignment_mode: round_robin", "assignment_mode: longest_idle")
        .replace("roles: [agent]", "roles: [agent], skills: [{skill: quechua, level: 80}]");
    testing::apply(&db, &yaml).await;
    let id = queue(&db, "a", 1).await[0];
    open(&db, id, "ana").await;
    super::command(&db, id, Command::Release { agent: UserKey::new("ana") }).await;
    let read = db.snapshot(|conn| Box::pin(config::read(conn, 0))).await.unwrap();
    let a = &read.campaigns[0];
    assert_eq!(a.mode(), AssignmentMode::LongestIdle);
    assert_eq!(a.required_skills, [level("quechua", 50), level("ventas", 1)]);
    let step =
        |after_seconds, level| SkillRelaxation { after_seconds, skill_key: "quechua".to_owned(), level };
    assert_eq!(a.relaxation, [step(30, 20), step(60, 0)]);
    assert_eq!((a.ageing_seconds, a.vip_bonus), (90, 4));
    let ana = &read.agents[0];
    assert_eq!(ana.skills, [level("quechua", 80)]);
    assert!(ana.loads[0].idle_since.is_some() && ana.loads[1].idle_since.is_none());
}

/// Two items: this one is of priority 0 and no VIP's. What the other one is, how much later its customer wrote, and whether it
/// goes first, under these rules. As `wait_key` of the routing engine.
#[tokio::test]
async fn who_is_ahead_follows_priority_bonus_and_ageing() {
    let rows = [
        // ageing, bonus, priority, vip, seconds later, ahead
        (0, 0, 0, false, -1, 1),
        (0, 0, 0, false, 1, 0),
        (0, 0, 1, false, 1_000, 1),
        (0, 0, -1, false, -1_000, 0),
        (0, 0, 0, true, 1, 0),
        (0, 2, 0, true, 1_000, 1),
        (0, 2, -2, true, 1, 0),
        (60, 0, 1, false, 59, 1),
        (60, 0, 1, false, 61, 0),
        (60, 2, 0, true, 119, 1),
        (60, 2, 0, true, 120, 0),
        (60, 2, 0, false, 1, 0),
        (60, 2, -3, true, -59, 0),
        (60, 2, -3, true, -61, 1),
    ];
    let db = database().await;
    testing::apply(&db, &directory_of(&[("a", &["ana"])], "")).await;
    let ids = queue(&db, "a", 2).await;
    for (ageing, bonus, priority, vip, later, ahead) in rows {
        sqlx::query("UPDATE directory.campaign SET ageing_seconds = $1, vip_bonus = $2")
            .bind(ageing)
            .bind(bonus)
            .execute(db.pool())
            .await
            .unwrap();
        sqlx::query(
            "UPDATE attention.interaction SET priority = $2, vip = $3,
                 waiting_since = (SELECT waiting_since FROM attention.interaction WHERE interaction_id = $4) + make_interval(secs => $5)
             WHERE interaction_id = $1",
        )
        .bind(ids[1].uuid())
        .bind(priority)
        .bind(vip)
        .bind(ids[0].uuid())
        .bind(f64::from(later))
        .execute(db.pool())
        .await
        .unwrap();
        let ahead_of = async |at: usize| {
            let id = ids[at].uuid();
            db.snapshot(move |conn| Box::pin(standing::read(conn, id, false))).await.unwrap().ahead
        };
        let row = (ageing, bonus, priority, vip, later);
        assert_eq!((ahead_of(0).await, ahead_of(1).await), (ahead, 1 - ahead), "{row:?}");
    }
}
