//! Rights and counting of the live panel.

use hilo_proto::directory::v1 as proto;
use hilo_proto::internal::v1::ChannelLoad;
use prost_types::Timestamp;

use super::*;

fn directory() -> Directory {
    let user = |key: &str, role: Role, campaigns: &[&str]| proto::User {
        key: key.to_owned(),
        roles: vec![role.into()],
        campaign_keys: campaigns.iter().map(|key| (*key).to_owned()).collect(),
        active: true,
        ..proto::User::default()
    };
    let campaign = |key: &str, members: &[&str]| proto::Campaign {
        key: key.to_owned(),
        channel: "email".to_owned(),
        member_keys: members.iter().map(|key| (*key).to_owned()).collect(),
        active: true,
        ..proto::Campaign::default()
    };
    let directory = proto::Directory {
        users: vec![
            user("ana", Role::Agent, &[]),
            user("sonia", Role::Supervisor, &["soporte"]),
            user("marco", Role::Monitor, &["ventas"]),
            user("coco", Role::Coordinator, &[]),
            user("rita", Role::Reporter, &["soporte"]),
        ],
        campaigns: vec![
            campaign("soporte", &["ana", "beto", "caro", "dora", "eva"]),
            campaign("ventas", &["ana"]),
        ],
        ..proto::Directory::default()
    };
    Directory::new(1, directory, [])
}

#[test]
fn who_may_watch_which_campaigns() {
    let directory = directory();
    let rows: [(&str, &[&str], &str); 12] = [
        ("ana", &[], "ROLE_REQUIRED"),
        ("rita", &[], "ROLE_REQUIRED"),
        ("nobody", &[], "ROLE_REQUIRED"),
        ("sonia", &[], "soporte"),
        ("marco", &[], "ventas"),
        ("coco", &[], "soporte ventas"),
        ("sonia", &["soporte"], "soporte"),
        ("coco", &["ventas", "ventas"], "ventas"),
        ("sonia", &["ventas"], "CAMPAIGN_NOT_FOUND"),
        ("sonia", &["soporte", "ventas"], "CAMPAIGN_NOT_FOUND"),
        ("sonia", &["nada"], "CAMPAIGN_NOT_FOUND"),
        ("coco", &["nada"], "CAMPAIGN_NOT_FOUND"),
    ];
    for (user, wanted, expected) in rows {
        let wanted: Vec<String> = wanted.iter().map(|key| (*key).to_owned()).collect();
        let found = scope(&directory, user, &wanted);
        let shown = found.map_or_else(
            |error| error.reason().to_owned(),
            |scope| scope.into_iter().collect::<Vec<_>>().join(" "),
        );
        assert_eq!(shown, expected, "{user} {wanted:?}");
    }
    let many = vec!["soporte".to_owned(); MAX_CAMPAIGNS + 1];
    assert_eq!(scope(&directory, "coco", &many).unwrap_err().reason(), "INVALID_REQUEST");
}

fn agent(key: &str, load: i32) -> RoutingAgent {
    let lane = ChannelLoad { channel: "email".to_owned(), load, capacity: 5, ..ChannelLoad::default() };
    RoutingAgent { agent_key: key.to_owned(), active: true, loads: vec![lane], ..RoutingAgent::default() }
}

#[test]
fn members_are_counted_once_and_the_share_needs_a_target_and_something_taken() {
    let reading = ReadQueuesResponse {
        queues: vec![
            CampaignQueue {
                campaign_key: "soporte".to_owned(),
                waiting: 7,
                offered: 2,
                target_seconds: 60,
                taken: 8,
                taken_in_time: 6,
                overdue: 1,
                ..CampaignQueue::default()
            },
            CampaignQueue { campaign_key: "ventas".to_owned(), taken: 4, ..CampaignQueue::default() },
        ],
        agents: vec![
            agent("ana", 3),
            RoutingAgent { paused: true, ..agent("beto", 1) },
            RoutingAgent { absent_since: Some(Timestamp::default()), ..agent("caro", 1) },
            agent("dora", 1),
            RoutingAgent { active: false, ..agent("eva", 0) },
            agent("zoe", 0),
        ],
        now: None,
    };
    let board = |key: &str| match key {
        "ana" | "beto" | "eva" => Presence::Present,
        _ => Presence::Unknown,
    };
    let all: BTreeSet<String> = ["soporte".to_owned(), "ventas".to_owned()].into();
    let panel = panel(&reading, &directory(), &all, board);
    let counts = panel.queues[0].agents.unwrap();
    assert_eq!(
        (counts.present, counts.paused, counts.absent, counts.unknown, counts.inactive),
        (1, 1, 1, 1, 1)
    );
    assert_eq!((counts.load, counts.capacity), (3, 5));
    let level = panel.queues[0].service_level.unwrap();
    assert_eq!((level.share, level.overdue, level.window_seconds), (Some(0.75), 1, WINDOW_SECONDS));
    assert_eq!(panel.queues[1].service_level.unwrap().share, None);
    let agents: Vec<(&str, usize)> =
        panel.agents.iter().map(|one| (one.agent_key.as_str(), one.campaign_keys.len())).collect();
    assert_eq!(agents, [("ana", 2), ("beto", 1), ("caro", 1), ("dora", 1), ("eva", 1)], "zoe is no member");
    let one = super::panel(&reading, &directory(), &["ventas".to_owned()].into(), board);
    assert_eq!((one.queues.len(), one.agents.len()), (1, 1));
    assert_eq!(one.agents[0].campaign_keys, ["ventas"]);
}
