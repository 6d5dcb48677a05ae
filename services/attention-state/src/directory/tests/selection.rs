//! Skills, relaxation, ageing, bonus, weight and preferred agent: what a text may say of them, and that it comes back as it was given.

use hilo_proto::directory::v1 as proto;

use super::shown;
use crate::directory::domain::model::Directory;
use crate::directory::domain::parse::draft;
use crate::directory::proto::directory as sent;
use crate::directory::store::read;
use crate::directory::testing::{apply, database, directory_of};

/// A campaign that says this, and a user who says that.
fn text(campaign: &str, user: &str) -> String {
    directory_of(&[("a", &["ana"])], campaign).replace("roles: [agent]", &format!("roles: [agent]{user}"))
}

#[test]
fn every_error_has_its_path_and_reason() {
    let rows = [
        (", required_skills: ventas", "", "required_skills", "WRONG_TYPE"),
        (", required_skills: [ventas]", "", "required_skills[0]", "WRONG_TYPE"),
        (", required_skills: [{level: 3}]", "", "required_skills[0].skill", "MISSING"),
        (", required_skills: [{skill: Ventas}]", "", "required_skills[0].skill", "BAD_KEY"),
        (", required_skills: [{skill: v, level: 0}]", "", "required_skills[0].level", "OUT_OF_BOUNDS"),
        (", required_skills: [{skill: v, level: 101}]", "", "required_skills[0].level", "OUT_OF_BOUNDS"),
        (", required_skills: [{skill: v, grade: 1}]", "", "required_skills[0].grade", "UNKNOWN_KEY"),
        (
            ", required_skills: [{skill: v}, {skill: v, level: 9}]",
            "",
            "required_skills[1].skill",
            "DUPLICATE",
        ),
        (", relaxation: [{after_seconds: 9, skill: v}]", "", "relaxation[0].skill", "UNKNOWN_SKILL"),
        (
            ", required_skills: [{skill: v}], relaxation: [{skill: v}]",
            "",
            "relaxation[0].after_seconds",
            "MISSING",
        ),
        (
            ", required_skills: [{skill: v}], relaxation: [{after_seconds: 0, skill: v}]",
            "",
            "relaxation[0].after_seconds",
            "OUT_OF_BOUNDS",
        ),
        (
            ", required_skills: [{skill: v, level: 5}], relaxation: [{after_seconds: 9, skill: v, level: 5}]",
            "",
            "relaxation[0].level",
            "NOT_RELAXED",
        ),
        (
            // By time, not by place: the second step comes first and leaves nothing to relax.
            ", required_skills: [{skill: v, level: 5}], relaxation: [{after_seconds: 9, skill: v, level: 3}, {after_seconds: 8, skill: v}]",
            "",
            "relaxation[0].level",
            "NOT_RELAXED",
        ),
        (", ageing_seconds: -1", "", "ageing_seconds", "OUT_OF_BOUNDS"),
        (", vip_bonus: 101", "", "vip_bonus", "OUT_OF_BOUNDS"),
        (", item_weight: 0", "", "item_weight", "OUT_OF_BOUNDS"),
        (", preferred_agent_seconds: 604801", "", "preferred_agent_seconds", "OUT_OF_BOUNDS"),
        ("", ", skills: [{skill: v}, {skill: v}]", "skills[1].skill", "DUPLICATE"),
        ("", ", skills: [{skill: v, level: 101}]", "skills[0].level", "OUT_OF_BOUNDS"),
    ];
    for (campaign, user, path, reason) in rows {
        let (_, problems) = draft(&text(campaign, user)).unwrap().checked(&Directory::default());
        let found: Vec<String> = problems.into_sorted().iter().map(shown).collect();
        let wanted = format!("{}[0].{path} {reason}", if user.is_empty() { "campaigns" } else { "users" });
        assert!(found.iter().any(|one| one.ends_with(&wanted)), "{campaign}{user}: {wanted}\n{found:#?}");
    }
    let many = |count: i32, field: &str| {
        let skills: Vec<String> = (0..count).map(|at| format!("{{skill: s{at}}}")).collect();
        format!(", {field}: [{}]", skills.join(", "))
    };
    for (campaign, user, right) in [
        (many(20, "required_skills"), String::new(), true),
        (many(21, "required_skills"), String::new(), false),
        (String::new(), many(50, "skills"), true),
        (String::new(), many(51, "skills"), false),
    ] {
        let (_, problems) = draft(&text(&campaign, &user)).unwrap().checked(&Directory::default());
        assert_eq!(problems.is_empty(), right, "{campaign}{user}");
    }
}

const ALL: &str = ", required_skills: [{skill: ventas, level: 50}, {skill: quechua}], ageing_seconds: 600, vip_bonus: 3, item_weight: 2, \
     preferred_agent_seconds: 120, relaxation: [{after_seconds: 60, skill: ventas}, {after_seconds: 30, skill: ventas, level: 9}]";

#[tokio::test]
async fn what_is_applied_comes_back_and_applying_it_again_changes_nothing() {
    let db = database().await;
    let skills = ", skills: [{skill: ventas, level: 70}, {skill: quechua}]";
    let whole = text(ALL, skills);
    assert_eq!(apply(&db, &whole).await.version, 2);
    let (_, stored) = db.snapshot(|conn| Box::pin(read::directory(conn))).await.unwrap();
    let (campaign, user) = (&sent(&stored).campaigns[0], &sent(&stored).users[0]);
    let level = |skill: &str, level| proto::SkillLevel { skill_key: skill.to_owned(), level };
    let step = |after_seconds, level| proto::SkillRelaxation {
        after_seconds,
        skill_key: "ventas".to_owned(),
        level,
    };
    assert_eq!(campaign.required_skills, [level("quechua", 1), level("ventas", 50)]);
    assert_eq!(campaign.relaxation, [step(30, 9), step(60, 0)]);
    let numbers =
        (campaign.ageing_seconds, campaign.vip_bonus, campaign.item_weight, campaign.preferred_agent_seconds);
    assert_eq!(numbers, (600, 3, 2, 120));
    assert_eq!(user.skills, [level("quechua", 1), level("ventas", 70)]);
    let other_order = text(ALL, ", skills: [{skill: quechua}, {skill: ventas, level: 70}]");
    assert_eq!(apply(&db, &other_order).await.differences, Vec::<String>::new());
    // What a text leaves out of a campaign it names is switched off, as every other setting.
    let outcome = apply(&db, &text("", "")).await;
    assert_eq!(
        outcome.differences,
        [
            "~ user ana: skills quechua 1,ventas 70 -> (none)",
            "~ campaign a: required_skills quechua 1,ventas 50 -> (none); relaxation 30 s ventas 9,60 s ventas 0 -> (none); \
             ageing_seconds 600 -> 0; vip_bonus 3 -> 0; item_weight 2 -> 1; preferred_agent_seconds 120 -> 0",
        ]
    );
}

/// Routers decide by them, so a batch that was decided with the old ones is refused; weight and preferred agent come with the item.
#[tokio::test]
async fn a_change_that_routing_decides_by_raises_the_partitions_configuration() {
    let db = database().await;
    apply(&db, &text("", "")).await;
    let rows = [
        (", required_skills: [{skill: v, level: 5}]", "", true),
        (", required_skills: [{skill: v, level: 5}], relaxation: [{after_seconds: 5, skill: v}]", "", true),
        (", ageing_seconds: 5", "", true),
        (", vip_bonus: 5", "", true),
        (", vip_bonus: 5", ", skills: [{skill: v}]", true),
        (", vip_bonus: 5, item_weight: 5", ", skills: [{skill: v}]", false),
        (", vip_bonus: 5, item_weight: 5, preferred_agent_seconds: 5", ", skills: [{skill: v}]", false),
    ];
    for (campaign, user, raised) in rows {
        let version = apply(&db, &text(campaign, user)).await.version;
        let newest: i64 = sqlx::query_scalar("SELECT max(config_version) FROM assignment.partition")
            .fetch_one(db.pool())
            .await
            .unwrap();
        assert_eq!(newest == version, raised, "{campaign}{user}");
    }
}
