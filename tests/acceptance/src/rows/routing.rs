//! Routing at scale: the scenarios of `hilo-load` at the promised sizes, each with NATS' default sync and with `sync_interval: always`
//! where the promise is a rate. Pages and figures are kept under `.hilo/load`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use hilo_load::routing::{self, Outcome, Phase, Scenario, Summary, Work, World};

use crate::report::{Measured, Verdict};
use crate::targets::{Assign, Backlog, Burst, Cycles, Mixed, RoutingPace, Soak};

/// So much more than the promised rate is offered: the last messages need their time too.
const MORE: f64 = 1.04;
/// The same where the last item has to reach the history.
const MORE_CYCLES: f64 = 1.1;
/// The floor and the peer run for so long each.
const COMPARE: Duration = Duration::from_secs(15);
/// A generator that is later than this does not offer what was promised.
const LATE: f64 = 1_000.0;
/// Kept here.
const FOLDER: &str = ".hilo/load";

/// Five hundred teams of five.
pub fn world() -> World {
    World {
        campaigns: 500,
        team: 5,
        group: 25,
        capacity: 500,
        mode: "round_robin",
        waiting_campaigns: 0,
        answers: false,
        selection: false,
        synced: false,
    }
}

/// A scenario at one rate.
pub fn scenario(name: &str, per_second: f64, seconds: u64) -> Scenario {
    Scenario {
        name: name.to_owned(),
        world: world(),
        waiting: 0,
        phases: vec![Phase { rate: per_second, lasting: Duration::from_secs(seconds) }],
        late: false,
        work: Work::None,
        disturbance: None,
        settle: Duration::from_secs(180),
        compare: None,
    }
}

/// Runs a scenario and keeps its page.
///
/// # Errors
/// When the installation cannot be used.
pub async fn run(size: &Scenario) -> Result<(Outcome, Summary)> {
    let outcome = routing::run(size).await?;
    let summary = Summary::of(size, &outcome);
    eprintln!("{summary}");
    summary.keep(Path::new(FOLDER))?;
    Ok((outcome, summary))
}

/// What is said of every run.
pub fn told(outcome: &Outcome) -> String {
    let took = |quantile: f64| outcome.found.time_to_assign.quantile(quantile);
    format!(
        "{:.0} assignments/s, time to assign p50 {:.1?}, p99 {:.1?}, max {:.1?}; commit p99 {:.1?}; {} lost, {} doubled, {} out of order",
        outcome.rate(),
        took(0.5),
        took(0.99),
        took(1.0),
        outcome.commits.took.quantile(0.99),
        outcome.found.lost,
        outcome.doubled,
        outcome.order.out_of_order
    )
}

/// A verdict with the figures of the run it was made from.
pub fn with_figures(verdict: Verdict, summary: &Summary) -> Measured {
    summary.judged().into_iter().fold(Measured::from(verdict), |row, (name, value)| row.with(name, value))
}

/// Fails what is not exact, does not judge what was not offered, and then asks whether the promise holds.
fn judged(outcome: &Outcome, holds: bool, figure: String) -> Verdict {
    let late = outcome.sent.lag.as_secs_f64() * 1_000.0;
    match (outcome.is_exact(), holds) {
        (false, _) => Verdict::Fail(figure),
        (true, true) => Verdict::Pass(figure),
        (true, false) if late > LATE => {
            Verdict::NotMeasured(format!("the generator was late by {late:.0} ms: {figure}"))
        }
        (true, false) => Verdict::Fail(figure),
    }
}

/// The same with a broker that syncs every write: told, and it must be exact.
async fn synced(size: &Scenario) -> Result<(bool, String)> {
    let mut size = Scenario { name: format!("{}-always", size.name), ..size.clone() };
    size.world.synced = true;
    let (outcome, _) = run(&size).await?;
    let floor = outcome.compared.map_or_else(String::new, |one| format!(", floor {:.0}/s", one.floor));
    Ok((outcome.is_exact(), format!("with sync_interval always: {}{floor}", told(&outcome))))
}

/// The rate of assignments, and its share of the floor.
///
/// # Errors
/// When the installation cannot be used.
pub async fn assign(target: &Assign) -> Result<Measured> {
    let size =
        Scenario { compare: Some(COMPARE), ..scenario("assign", target.per_second * MORE, target.seconds) };
    let (outcome, summary) = run(&size).await?;
    let (exact, always) = synced(&size).await?;
    let compared = outcome.compared.as_ref();
    let (floor, peer) = compared.map_or((f64::MAX, f64::MAX), |one| (one.floor, one.peer));
    let share = outcome.rate() / floor;
    let figure = format!(
        "{}; {:.0} % of the floor ({floor:.0}/s), {:.0} % of the peer ({peer:.0}/s); {always}",
        told(&outcome),
        share * 100.0,
        outcome.rate() / peer * 100.0
    );
    let holds = exact && outcome.rate() >= target.per_second && share >= target.of_the_floor_at_least;
    Ok(with_figures(judged(&outcome, holds, figure), &summary))
}

/// The same with skills, priorities and weights.
///
/// # Errors
/// When the installation cannot be used.
pub async fn mixed(target: &Mixed) -> Result<Measured> {
    let mut size = scenario("mixed", target.per_second * MORE, target.seconds);
    size.world.selection = true;
    let (outcome, summary) = run(&size).await?;
    let (exact, always) = synced(&size).await?;
    let figure = format!("{}; {always}", told(&outcome));
    let holds = exact && outcome.rate() >= target.per_second;
    Ok(with_figures(judged(&outcome, holds, figure), &summary))
}

/// Whole cycles.
///
/// # Errors
/// When the installation cannot be used.
pub async fn cycles(target: &Cycles) -> Result<Measured> {
    let mut size = scenario("cycles", target.per_second * MORE_CYCLES, target.seconds);
    size.world.answers = true;
    size.work = Work::Answer;
    let (outcome, summary) = run(&size).await?;
    let (exact, always) = synced(&size).await?;
    let unfinished = outcome.cycles.as_ref().map_or(0, |cycles| cycles.unfinished(outcome.messages));
    let figure = format!(
        "{:.0} whole cycles/s, {unfinished} unfinished; {}; {always}",
        outcome.cycle_rate(),
        told(&outcome)
    );
    let holds = exact && outcome.cycle_rate() >= target.per_second;
    Ok(with_figures(judged(&outcome, holds, figure), &summary))
}

/// Time to assign while many are present and much waits elsewhere.
///
/// # Errors
/// When the installation cannot be used.
pub async fn pace(target: &RoutingPace) -> Result<Measured> {
    let mut size =
        Scenario { waiting: target.waiting, ..scenario("pace", target.per_second, target.seconds) };
    size.world.team = target.agents / size.world.campaigns;
    size.world.waiting_campaigns = 50;
    let (outcome, summary) = run(&size).await?;
    let (exact, always) = synced(&size).await?;
    let (p99, commit) = (outcome.found.time_to_assign.quantile(0.99), outcome.commits.took.quantile(0.99));
    let holds = exact && p99 <= Duration::from_millis(target.p99_at_most_milliseconds);
    let slow = commit > Duration::from_millis(target.commit_p99_at_most_milliseconds);
    let figure = format!("{}; {always}", told(&outcome));
    let verdict = match judged(&outcome, holds, figure) {
        // The promise is made for a disk that is quick enough.
        Verdict::Fail(figure) if slow && exact && outcome.is_exact() => {
            Verdict::NotMeasured(format!("commit p99 {commit:.1?}: {figure}"))
        }
        other => other,
    };
    Ok(with_figures(verdict, &summary))
}

/// Ten times the rate for ten seconds.
///
/// # Errors
/// When the installation cannot be used.
pub async fn burst(target: &Burst) -> Result<Measured> {
    let mut size = scenario("burst", target.per_second, 10);
    let phase =
        |times, seconds| Phase { rate: target.per_second * times, lasting: Duration::from_secs(seconds) };
    size.phases = vec![phase(1.0, 10), phase(10.0, 10), phase(1.0, 50)];
    let (outcome, summary) = run(&size).await?;
    let figure =
        format!("drained {:.1} s after the burst; {}", outcome.drained.as_secs_f64(), told(&outcome));
    let holds = outcome.drained <= Duration::from_secs(target.drained_within_seconds);
    Ok(with_figures(judged(&outcome, holds, figure), &summary))
}

/// All wait, then the agents come.
///
/// # Errors
/// When an installation cannot be used.
pub async fn backlog(target: &Backlog) -> Result<Measured> {
    let (mut figures, mut exact, mut row) = (Vec::new(), true, Vec::new());
    for waiting in &target.waiting {
        let mut size = scenario(&format!("backlog-{waiting}"), 2_000.0, 0);
        size.late = true;
        size.settle = Duration::from_secs(1_200);
        size.phases =
            vec![Phase { rate: 2_000.0, lasting: Duration::from_secs_f64(*waiting as f64 / 2_000.0) }];
        let (outcome, _) = run(&size).await?;
        exact &= outcome.is_exact();
        row.push(outcome.rate());
        figures.push(format!("{waiting} waiting: {}", told(&outcome)));
    }
    let figure = figures.join("; ");
    let verdict = if exact { Verdict::Pass(figure) } else { Verdict::Fail(figure) };
    let slowest = row.into_iter().fold(f64::MAX, f64::min);
    Ok(Measured::from(verdict).with("assignments_per_second", slowest))
}

/// Half an hour, and how memory grows meanwhile.
///
/// # Errors
/// When the installation cannot be used.
pub async fn soak(target: &Soak) -> Result<Measured> {
    let mut size = scenario("soak", target.per_second, target.seconds);
    size.work = Work::End;
    size.settle = Duration::from_secs(600);
    let (outcome, summary) = run(&size).await?;
    let parts = hilo_load::routing::meter::used(&outcome.samples);
    let services =
        parts.iter().filter(|part| !matches!(part.0.as_str(), "postgres" | "generator" | "others"));
    let slopes: Vec<(String, f64)> =
        services.map(|(name, used)| (name.clone(), used.slope_kib / 1_024.0)).collect();
    let told_slopes: Vec<String> = slopes.iter().map(|(name, slope)| format!("{name} {slope:.2}")).collect();
    let holds = slopes.iter().all(|(_, slope)| *slope <= target.mebibytes_per_minute_at_most);
    let figure = format!("MiB per minute: {}; {}", told_slopes.join(", "), told(&outcome));
    Ok(with_figures(judged(&outcome, holds, figure), &summary))
}
