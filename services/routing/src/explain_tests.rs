//! Why not him: a table of members and items, by the very rules of the engine.

use hilo_proto::directory::v1::{self as proto, SkillLevel, SkillRelaxation};
use hilo_proto::event::v1::OfferSnapshot;
use hilo_proto::internal::v1::{ChannelLoad, LiveInteraction, StoredDecision};

use super::*;

const NOW: i64 = 1_795_428_000;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: NOW + seconds, nanos: 0 })
}

fn skill(key: &str, level: i32) -> SkillLevel {
    SkillLevel { skill_key: key.to_owned(), level }
}

/// Ana lacks a level, Beto everything, Caro has it all and holds three of four, Dora is gone.
fn members() -> Vec<RoutingAgent> {
    let member = |key: &str, load: i32, skills: Vec<SkillLevel>| RoutingAgent {
        agent_key: key.to_owned(),
        active: true,
        loads: vec![ChannelLoad { channel: "email".to_owned(), load, capacity: 4, ..ChannelLoad::default() }],
        skills,
        ..RoutingAgent::default()
    };
    vec![
        member("ana", 0, vec![skill("aleman", 2), skill("pagos", 1)]),
        member("beto", 0, Vec::new()),
        member("caro", 3, vec![skill("aleman", 9), skill("pagos", 9)]),
        member("dora", 0, vec![skill("aleman", 9), skill("pagos", 9)]),
    ]
}

fn campaign() -> RoutingCampaign {
    let step =
        |after_seconds, key: &str, level| SkillRelaxation { after_seconds, skill_key: key.to_owned(), level };
    RoutingCampaign {
        campaign_key: "soporte".to_owned(),
        channel: "email".to_owned(),
        active: true,
        member_keys: members().into_iter().map(|member| member.agent_key).collect(),
        required_skills: vec![skill("aleman", 5), skill("pagos", 1)],
        relaxation: vec![step(100, "aleman", 2), step(300, "aleman", 0), step(300, "pagos", 0)],
        ..RoutingCampaign::default()
    }
}

/// Queued sixty seconds ago.
fn queued() -> InteractionSnapshot {
    InteractionSnapshot {
        interaction_id: uuid::Uuid::from_u128(7).to_string(),
        version: 1,
        state: InteractionState::Queued.into(),
        campaign_key: "soporte".to_owned(),
        waiting_since: at(-60),
        queued_at: at(-60),
        ..InteractionSnapshot::default()
    }
}

fn explained(
    snapshot: Option<InteractionSnapshot>,
    user: &str,
    agent: &str,
) -> Result<ExplainInteractionResponse, Error> {
    let person = |key: &str, role: Role| proto::User {
        key: key.to_owned(),
        roles: vec![role.into()],
        active: true,
        ..proto::User::default()
    };
    let mut users: Vec<proto::User> =
        campaign().member_keys.iter().map(|key| person(key, Role::Agent)).collect();
    users.push(person("coco", Role::Coordinator));
    let soporte = proto::Campaign {
        key: "soporte".to_owned(),
        channel: "email".to_owned(),
        member_keys: campaign().member_keys,
        active: true,
        ..proto::Campaign::default()
    };
    let directory = proto::Directory { users, campaigns: vec![soporte], ..proto::Directory::default() };
    let directory = Directory::new(1, directory, []);
    let live = snapshot.map(|snapshot| LiveInteraction {
        channel: "email".to_owned(),
        interaction: Some(snapshot),
        ..LiveInteraction::default()
    });
    let stored = ListDecisionsResponse {
        decisions: vec![StoredDecision::default()],
        campaign_key: "soporte".to_owned(),
        live,
        campaign: Some(campaign()),
        members: members(),
        ahead: 0,
    };
    let presence = |member: &RoutingAgent| match member.agent_key.as_str() {
        "dora" => Presence::Absent,
        _ => Presence::Present,
    };
    answer(stored, &Asker { user, directory: &directory }, agent, Instant(NOW * 1_000_000), presence)
}

fn of_agent(snapshot: Option<InteractionSnapshot>, agent: &str) -> AgentExplanation {
    explained(snapshot, "coco", agent).unwrap().agent.unwrap()
}

fn seconds(at: Option<Timestamp>) -> Option<i64> {
    at.map(|at| at.seconds - NOW)
}

/// Case, item, agent; the rule expected, what he lacks, when his skills suffice.
type Row = (&'static str, InteractionSnapshot, &'static str, &'static str, Vec<SkillLacking>, Option<i64>);

#[test]
fn why_not_him_names_the_first_rule_the_skill_and_when_it_is_relaxed() {
    let lacks = |key: &str, asked, has| SkillLacking { skill_key: key.to_owned(), asked, has };
    let waited = |seconds: i64| InteractionSnapshot { waiting_since: at(-seconds), ..queued() };
    let passed = InteractionSnapshot { passed_by: vec!["caro".to_owned()], ..queued() };
    let heavy = InteractionSnapshot { weight: 2, ..queued() };
    let kept = |agent: &str, until: i64| InteractionSnapshot {
        preferred_agent_key: agent.to_owned(),
        preferred_until: at(until),
        ..queued()
    };
    let overflowed = InteractionSnapshot { overflowed: true, ..heavy.clone() };
    let both = vec![lacks("aleman", 5, 0), lacks("pagos", 1, 0)];
    let ana = vec![lacks("aleman", 5, 2)];
    let rows: Vec<Row> = vec![
        ("a level is missing", queued(), "ana", "unskilled", ana.clone(), Some(40)),
        ("relaxed by now", waited(100), "ana", "", vec![], None),
        ("everything is missing", queued(), "beto", "unskilled", both.clone(), Some(240)),
        ("he has it all", queued(), "caro", "", vec![], None),
        ("he let it pass", passed, "caro", "passed", vec![], None),
        ("one of four is free", heavy.clone(), "caro", "too_heavy", vec![], None),
        ("skills come before weight", heavy, "beto", "unskilled", both, Some(240)),
        ("gone comes before all", queued(), "dora", "absent", vec![], None),
        ("kept for another", kept("caro", 30), "ana", "reserved", ana.clone(), Some(40)),
        ("kept for him", kept("caro", 30), "caro", "", vec![], None),
        ("no longer kept", kept("ana", 0), "caro", "", vec![], None),
        ("kept for one who is gone", kept("dora", 30), "caro", "", vec![], None),
        ("at everyone it asks for nothing", overflowed, "beto", "", vec![], None),
    ];
    for (why, snapshot, agent, rule, lacking, suffice) in rows {
        let found = of_agent(Some(snapshot), agent);
        assert_eq!((found.rule.as_str(), found.lacking), (rule, lacking), "{why}");
        assert_eq!(seconds(found.skills_suffice_at), suffice, "{why}");
    }
    let found = of_agent(Some(InteractionSnapshot { weight: 2, ..queued() }), "caro");
    assert_eq!((found.weight, found.load, found.capacity), (2, 3, 4));
}

#[test]
fn what_nobody_will_ever_master_has_no_instant() {
    let mut stubborn = campaign();
    stubborn.relaxation.clear();
    let asked = &mut Asked::of(&stubborn, Some(&queued()), Instant(NOW * 1_000_000));
    assert_eq!(asked.suffice_at(&members()[1]), None);
}

#[test]
fn a_queued_item_says_what_it_asks_and_the_counts_add_up() {
    let snapshot = InteractionSnapshot {
        weight: 2,
        preferred_agent_key: "caro".to_owned(),
        preferred_until: at(30),
        ..queued()
    };
    let found = explained(Some(snapshot.clone()), "coco", "").unwrap();
    assert_eq!(found.agent, None);
    let found = found.queued.unwrap();
    assert_eq!(found.skills, [skill("aleman", 5), skill("pagos", 1)]);
    assert_eq!((found.weight, found.reserved_for.as_str()), (2, "caro"));
    assert_eq!(seconds(found.reserved_until), Some(30));
    let rules = |found: &QueuedExplanation| -> Vec<(String, i32)> {
        found.removed.iter().map(|one| (one.rule.clone(), one.count)).collect()
    };
    let words = |rows: &[(&str, i32)]| -> Vec<(String, i32)> {
        rows.iter().map(|(rule, count)| ((*rule).to_owned(), *count)).collect()
    };
    assert_eq!(rules(&found), words(&[("absent", 1), ("reserved", 2), ("too_heavy", 1)]));
    let plain = explained(Some(queued()), "coco", "").unwrap().queued.unwrap();
    assert_eq!(rules(&plain), words(&[("absent", 1), ("unskilled", 2)]));
    assert_eq!((plain.eligible, plain.eligible_keys.as_slice()), (1, &["caro".to_owned()][..]));
    // An agent reads whom it is kept for only when it is himself.
    let numbers = explained(Some(snapshot.clone()), "ana", "").unwrap().queued.unwrap();
    assert_eq!((numbers.reserved_for.as_str(), seconds(numbers.reserved_until)), ("", Some(30)));
    let own = explained(Some(snapshot), "caro", "").unwrap().queued.unwrap();
    assert_eq!(own.reserved_for, "caro");
}

#[test]
fn whoever_may_not_see_names_may_ask_for_himself_only() {
    assert_eq!(explained(Some(queued()), "ana", "ana").unwrap().agent.unwrap().rule, "unskilled");
    let strangers = [("ana", "beto"), ("ana", "nadie"), ("coco", "nadie"), ("coco", "coco")];
    for (user, agent) in strangers {
        let refused = explained(Some(queued()), user, agent).unwrap_err();
        assert_eq!(refused.reason(), "AGENT_NOT_FOUND", "{user} of {agent}");
    }
    assert_eq!(explained(Some(queued()), "nadie", "").unwrap_err().reason(), "INTERACTION_NOT_FOUND");
}

#[test]
fn of_what_is_open_or_has_ended_the_agent_is_judged_as_of_now() {
    let open = InteractionSnapshot {
        state: InteractionState::Open.into(),
        agent_key: "caro".to_owned(),
        queued_at: None,
        offer: None::<OfferSnapshot>,
        ..queued()
    };
    for snapshot in [Some(open), None] {
        let found = explained(snapshot, "coco", "beto").unwrap();
        assert_eq!((found.decisions.len(), found.queued), (1, None));
        assert_eq!(found.agent.unwrap().rule, "unskilled");
    }
}
