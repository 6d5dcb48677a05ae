//! What a large database costs: reading all that waits anew, the memory it takes in routing, and the plans of statements.

use std::time::Duration;

use anyhow::{Context as _, Result};
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::{Installation, Service};
use hilo_load::routing::plans::{self, Plans};
use hilo_load::routing::{Crowd, Ledger, Scenario, Work, history, meter, on};
use hilo_test_support::eventually;
use serde_json::Value;

use super::routing::{scenario, told};
use crate::report::{Measured, Verdict};
use crate::targets::{PlansOf, Rebuild, RoutingMemory};

/// Longest wait for a rebuild that is to take a second.
const PATIENCE: Duration = Duration::from_secs(120);
const KIB: f64 = 1_024.0;

/// A few whole cycles, and a few messages that wait in campaigns nobody serves: what is copied.
fn served(name: &str) -> Scenario {
    let mut size = Scenario { waiting: 100, work: Work::Answer, ..scenario(name, 20.0, 5) };
    size.world.campaigns = 50;
    size.world.waiting_campaigns = 50;
    size.world.answers = true;
    size.world.selection = true;
    size
}

/// An installation that has served a little, with copies of what it has done.
async fn filled(size: &Scenario, ended: i64, waiting: i64) -> Result<Installation> {
    let installation = size.world.start().await?;
    let outcome = on(&installation, size).await?;
    anyhow::ensure!(outcome.is_exact(), "before anything was filled: {}", told(&outcome));
    history::fill(&installation, ended, waiting).await?;
    Ok(installation)
}

/// Entries of routing's log from a byte on.
fn log(installation: &Installation, from: usize) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(installation.folder().join("routing.log"))?;
    let lines = text.get(from..).unwrap_or_default().lines();
    Ok(lines.filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// A field of an entry, wherever the format puts it.
fn field<'v>(entry: &'v Value, name: &str) -> Option<&'v Value> {
    entry.get(name).or_else(|| entry.get("fields")?.get(name))
}

fn instant(entry: &Value) -> Option<time::OffsetDateTime> {
    let text = field(entry, "timestamp")?.as_str()?;
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()
}

/// Items built so far, and from the first partition that was got to the last one that was built.
fn built(entries: &[Value]) -> Option<(i64, Duration)> {
    let says = |entry: &&Value, words: &str| {
        field(entry, "message").and_then(Value::as_str).is_some_and(|message| message == words)
    };
    let first = entries.iter().find(|entry| says(entry, "partitions changed")).and_then(instant)?;
    let built: Vec<&Value> = entries.iter().filter(|entry| says(entry, "partition built")).collect();
    let items = built.iter().filter_map(|entry| field(entry, "items")?.as_i64()).sum();
    let last = built.last().copied().and_then(instant)?;
    Some((items, Duration::try_from(last - first).unwrap_or_default()))
}

/// Ends routing (SIGTERM), starts it again and waits until it has so many items; answers how long the reading took.
async fn rebuilt(installation: &Installation, items: i64) -> Result<Duration> {
    installation.terminate(Service::Routing, Duration::from_secs(30)).await?;
    let from = std::fs::metadata(installation.folder().join("routing.log"))?.len();
    let from = usize::try_from(from)?;
    installation.start_part(Part::Service(Service::Routing)).await?;
    eventually("routing has all that waits", PATIENCE, || async {
        log(installation, from).ok().and_then(|entries| built(&entries)).is_some_and(|one| one.0 >= items)
    })
    .await?;
    built(&log(installation, from)?).map(|one| one.1).context("built")
}

/// Reading all that waits anew.
///
/// # Errors
/// When the installation cannot be used.
pub async fn rebuild(target: &Rebuild) -> Result<Measured> {
    let installation = filled(&served("rebuild"), 0, target.waiting).await?;
    let mut took = Vec::new();
    for _ in 0..3 {
        took.push(rebuilt(&installation, target.waiting).await?);
    }
    let longest = took.iter().copied().max().unwrap_or_default();
    let figure = format!(
        "{} items from the lease to the last partition built: {took:.0?} in three restarts",
        target.waiting
    );
    let holds = longest <= Duration::from_millis(target.within_milliseconds);
    let verdict = if holds { Verdict::Pass(figure) } else { Verdict::Fail(figure) };
    Ok(Measured::from(verdict).with_milliseconds("rebuilt_ms", longest))
}

fn resident(installation: &Installation) -> Result<f64> {
    let id = installation.process_id(Service::Routing).context("routing runs")?;
    Ok(meter::resident(id) as f64)
}

/// Memory of routing by what waits and by who is present.
///
/// # Errors
/// When the installation cannot be used.
pub async fn memory(target: &RoutingMemory) -> Result<Measured> {
    let size = served("memory");
    let installation = filled(&size, 0, 0).await?;
    rebuilt(&installation, 0).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let empty = resident(&installation)?;
    history::fill(&installation, 0, target.waiting).await?;
    rebuilt(&installation, target.waiting).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let full = resident(&installation)?;
    drop(installation);
    let per_item = (full - empty) * KIB / target.waiting as f64;

    let mut size = scenario("present", 1.0, 1);
    size.world.team = target.agents / size.world.campaigns;
    let installation = size.world.start().await?;
    let alone = resident(&installation)?;
    let ledger = std::sync::Arc::new(Ledger::new(0));
    let crowd = Crowd::come(&installation, 0..size.world.agents(), &ledger, None).await?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let present = resident(&installation)?;
    drop(crowd);
    let per_agent = (present - alone) * KIB / size.world.agents() as f64;
    let figure = format!(
        "{:.1} MiB at 0 and {:.1} MiB at {} waiting: {per_item:.0} bytes per item; {:.1} MiB and {:.1} MiB with {} present: {per_agent:.0} bytes \
         per agent",
        empty / KIB,
        full / KIB,
        target.waiting,
        alone / KIB,
        present / KIB,
        size.world.agents()
    );
    let holds = per_item <= target.bytes_per_item_at_most && per_agent <= target.bytes_per_agent_at_most;
    let verdict = if holds { Verdict::Pass(figure) } else { Verdict::Fail(figure) };
    Ok(Measured::from(verdict).with("bytes_per_item", per_item).with("bytes_per_agent", per_agent))
}

/// Plans on a database with years of history.
///
/// # Errors
/// When the installation cannot be used.
pub async fn plans(target: &PlansOf) -> Result<Measured> {
    let size = served("plans");
    let installation = filled(&size, target.ended, target.live).await?;
    plans::watch(&installation).await?;
    let outcome = on(&installation, &size).await?;
    let plans = Plans::read(&installation).await?;
    let mut faults = plans.faults();
    if !outcome.is_exact() {
        faults.push(told(&outcome));
    }
    let figure = format!("{} ended and {} live: {plans}", target.ended, target.live);
    let verdict = if faults.is_empty() {
        Verdict::Pass(figure)
    } else {
        Verdict::Fail(format!("{figure}; {}", faults.join("; ")))
    };
    Ok(Measured::from(verdict).with("statements", plans.statements.len() as f64))
}
