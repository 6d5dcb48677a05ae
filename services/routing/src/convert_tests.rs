//! What the contracts carry of the selection rules, read into the engine's words.

use super::*;
use crate::domain::{AgentId, SkillId};

fn asked(key: &str, level: i32) -> SkillLevel {
    SkillLevel { skill_key: key.to_owned(), level }
}

#[test]
fn a_campaigns_selection_is_read_and_zero_is_off() {
    let names = &mut Names::default();
    let step =
        |after_seconds, key: &str, level| SkillRelaxation { after_seconds, skill_key: key.to_owned(), level };
    let wire = internal::RoutingCampaign {
        campaign_key: "soporte".to_owned(),
        mode: internal::AssignmentMode::LongestIdle.into(),
        overflow_seconds: 90,
        required_skills: vec![asked("aleman", 100), asked("pagos", 3)],
        relaxation: vec![step(60, "aleman", 50), step(120, "pagos", 0)],
        ageing_seconds: 30,
        vip_bonus: 7,
        ..internal::RoutingCampaign::default()
    };
    let read = campaign(&wire, 4, names);
    assert_eq!((read.mode, read.overflow), (Mode::LongestIdle, None));
    let (aleman, pagos) = (SkillId(0), SkillId(1));
    let expected = Selection {
        required: vec![Skill { skill: aleman, level: 100 }, Skill { skill: pagos, level: 3 }],
        relaxation: vec![
            Relaxation { after: Span::seconds(60), skill: aleman, level: Some(50) },
            Relaxation { after: Span::seconds(120), skill: pagos, level: None },
        ],
        ageing: Some(Span::seconds(30)),
        vip_bonus: 7,
        saving_after: Some(Span::seconds(90)),
    };
    assert_eq!(read.selection, expected);
    let plain = campaign(&internal::RoutingCampaign::default(), 1, names);
    assert_eq!(plain.selection, Selection::default());
}

#[test]
fn an_agents_skills_and_the_last_moment_he_had_something_are_read_by_channel() {
    let names = &mut Names::default();
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let lane = |channel: &str, idle_since| internal::ChannelLoad {
        channel: channel.to_owned(),
        capacity: 5,
        idle_since,
        ..internal::ChannelLoad::default()
    };
    let wire = internal::RoutingAgent {
        agent_key: "ana".to_owned(),
        active: true,
        loads: vec![lane("whatsapp", at(9)), lane("email", None)],
        skills: vec![asked("aleman", 2)],
        ..internal::RoutingAgent::default()
    };
    let read = agent(&wire, names);
    assert_eq!(read.idle_since, [None, Some(Instant(9_000_000))]);
    assert_eq!(read.skills, [Skill { skill: names.skill("aleman"), level: 2 }]);
}

#[test]
fn what_an_item_asks_is_read_also_while_it_is_open_and_a_half_preference_is_none() {
    let names = &mut Names::default();
    let read = |change: &dyn Fn(&mut event::InteractionSnapshot), names: &mut Names| {
        let at = Some(Timestamp { seconds: 1, nanos: 0 });
        let mut snapshot = event::InteractionSnapshot {
            interaction_id: Uuid::from_u128(1).to_string(),
            state: event::InteractionState::Queued.into(),
            campaign_key: "soporte".to_owned(),
            waiting_since: at,
            queued_at: at,
            ..event::InteractionSnapshot::default()
        };
        change(&mut snapshot);
        match item(&snapshot, names).unwrap() {
            Item::Live(view) => view.demand.as_deref().cloned(),
            Item::Ended { .. } => None,
        }
    };
    let until = Some(Timestamp { seconds: 60, nanos: 0 });
    let ana: AgentId = names.agent("ana");
    let kept = Preferred { agent: ana, until: Instant(60_000_000) };
    type Change<'a> = &'a dyn Fn(&mut event::InteractionSnapshot);
    let rows: [(&str, Change<'_>, Option<Demand>); 7] = [
        ("nothing", &|_| {}, None),
        ("a weight of one is none", &|one| one.weight = 1, None),
        ("a weight", &|one| one.weight = 3, Some(Demand { weight: 3, ..Demand::default() })),
        (
            "a weight while open",
            &|one| {
                one.weight = 3;
                one.state = event::InteractionState::Open.into();
                one.agent_key = "ana".to_owned();
            },
            Some(Demand { weight: 3, ..Demand::default() }),
        ),
        ("a VIP", &|one| one.vip = true, Some(Demand { vip: true, ..Demand::default() })),
        (
            "a preferred agent",
            &|one| {
                one.preferred_agent_key = "ana".to_owned();
                one.preferred_until = until;
            },
            Some(Demand { preferred: Some(kept), ..Demand::default() }),
        ),
        (
            "half a preference, and a weight below zero",
            &|one| {
                one.preferred_until = until;
                one.weight = -1;
            },
            None,
        ),
    ];
    for (what, change, expected) in rows {
        assert_eq!(read(change, names), expected, "{what}");
    }
}
