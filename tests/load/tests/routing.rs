//! The routing scenarios in small: what they count is nothing lost, doubled or out of order, whatever happens meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hilo_load::routing::{self, Disturbance, Outcome, Phase, Scenario, Summary, Work, World};

fn small(name: &str) -> Scenario {
    Scenario {
        name: name.to_owned(),
        world: World {
            campaigns: 4,
            team: 5,
            group: 2,
            capacity: 500,
            mode: "round_robin",
            waiting_campaigns: 2,
            answers: false,
            selection: false,
            synced: false,
        },
        waiting: 0,
        phases: vec![Phase { rate: 30.0, lasting: Duration::from_secs(4) }],
        late: false,
        work: Work::None,
        disturbance: None,
        settle: Duration::from_secs(120),
        compare: None,
    }
}

async fn exact(size: &Scenario) -> Result<Outcome> {
    let outcome = routing::run(size).await?;
    let summary = Summary::of(size, &outcome);
    println!("{summary}");
    assert!(outcome.is_exact(), "{summary}");
    Ok(outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_rings_once_and_the_servers_are_compared_with() -> Result<()> {
    let size = Scenario { waiting: 40, compare: Some(Duration::from_secs(1)), ..small("assign") };
    let outcome = exact(&size).await?;
    assert_eq!((outcome.messages, outcome.found.time_to_assign.count()), (120, 120));
    // Turns give equals as many, to within one.
    assert!(outcome.spread.is_some_and(|spread| spread <= 1), "{:?}", outcome.spread);
    let compared = outcome.compared.context("compared")?;
    assert!(compared.floor > 0.0 && compared.peer > 0.0, "{compared:?}");
    // An attention, an interaction, a message, its events and a decision are rows; they were counted, or the floor repeats nothing.
    assert!(compared.shape.inserts >= 5.0 && compared.shape.events >= 2.0, "{compared:?}");
    let folder = std::env::temp_dir().join(format!("hilo-load-{}", uuid::Uuid::new_v4().simple()));
    let page = Summary::of(&size, &outcome).keep(&folder)?;
    let (html, json) =
        (std::fs::read_to_string(&page)?, std::fs::read_to_string(folder.join("assign.json"))?);
    std::fs::remove_dir_all(&folder)?;
    assert!(html.matches("<svg").count() == 5 && !html.contains("http"), "a page that needs nothing else");
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json.get("lost").and_then(serde_json::Value::as_u64), Some(0), "{json}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_who_come_late_get_what_waits_by_skill_and_weight() -> Result<()> {
    let mut size = Scenario { late: true, ..small("backlog") };
    size.world.selection = true;
    size.world.mode = "least_busy";
    exact(&size).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_cycles_end_in_the_history() -> Result<()> {
    let mut size = Scenario { work: Work::Answer, ..small("cycles") };
    size.world.answers = true;
    size.phases = vec![Phase { rate: 10.0, lasting: Duration::from_secs(4) }];
    let cycles = exact(&size).await?.cycles.context("agents worked")?;
    assert_eq!((cycles.ended, cycles.failed, cycles.found), (40, 0, 40), "{cycles:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_when_the_owner_is_paused_for_three_leases() -> Result<()> {
    let mut size = Scenario { disturbance: Some(Disturbance::PauseRouting), ..small("pause") };
    size.phases = vec![Phase { rate: 10.0, lasting: Duration::from_secs(24) }];
    let outcome = exact(&size).await?;
    let again = outcome.again.context("something happened")?;
    assert!(again < Duration::from_secs(60), "{again:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_new_configuration_nothing_is_decided_under_the_old_one() -> Result<()> {
    let mut size = Scenario { disturbance: Some(Disturbance::Reconfigure), ..small("reconfigure") };
    // Long enough for messages to come after it on any machine.
    size.phases = vec![Phase { rate: 10.0, lasting: Duration::from_secs(20) }];
    let outcome = exact(&size).await?;
    let effect = outcome.effect.context("a new configuration")?;
    assert_eq!(effect.stale, 0, "{effect:?}");
    assert!(effect.after > 0, "{effect:?}");
    Ok(())
}
