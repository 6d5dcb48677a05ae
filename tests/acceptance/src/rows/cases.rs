//! The hardening cases that take too long for `make test`, at their size; the same scenarios run there in small.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context, Result};
use hilo_end_to_end::{Installation, Options};
use hilo_faults::cases::{self, Cancelled, Large, Poison, RelayKills, Writers};
use hilo_load::{Flaps, flaps};

use crate::report::Verdict;
use crate::targets::Cases;

/// First argument with which this program is a relay to be killed.
pub const RELAY: &str = "relay-to-be-killed";

/// Runs case after case; one that does not hold fails the row and does not keep the others from running.
///
/// # Errors
/// None: a case that cannot be run is one that does not hold.
pub async fn run(target: &Cases) -> Result<Verdict> {
    let (mut figures, mut holds) = (Vec::new(), true);
    let mut note = |case: u32, outcome: Result<(bool, String)>| {
        let (held, figure) = outcome.unwrap_or_else(|error| (false, format!("{error:#}")));
        println!("  case {case}: {} {figure}", if held { "holds," } else { "DOES NOT HOLD," });
        figures.push(format!("{case}: {figure}"));
        holds &= held;
    };
    note(10, cancelled(target).await);
    note(12, writers(target).await);
    note(13, relays(target).await);
    note(14, large(target).await);
    note(15, poison(target).await);
    note(21, flapping(target).await);
    let figures = figures.join("; ");
    Ok(if holds { Verdict::Pass(figures) } else { Verdict::Fail(figures) })
}

fn shown(held: bool, report: &impl Display) -> (bool, String) {
    (held, report.to_string())
}

async fn cancelled(target: &Cases) -> Result<(bool, String)> {
    let size = Cancelled { requests: target.cancelled_requests, workers: 32 };
    let report = cases::cancelled(size).await?;
    let within = report.idle_after <= Duration::from_secs(target.idle_within_seconds);
    Ok(shown(report.is_exact(target.cancelled_requests) && within, &report))
}

async fn writers(target: &Cases) -> Result<(bool, String)> {
    let size = Writers {
        writers: target.writers,
        conversations: target.conversations,
        transactions: target.transactions,
    };
    let report = cases::writers(size).await?;
    Ok(shown(report.is_exact(), &report))
}

async fn relays(target: &Cases) -> Result<(bool, String)> {
    let size = RelayKills { kills: target.relay_kills, child: vec![RELAY.to_owned()] };
    let report = cases::relay_kills(&size).await?;
    Ok(shown(report.is_exact(target.relay_kills), &report))
}

async fn large(target: &Cases) -> Result<(bool, String)> {
    let report = cases::large(Large { bytes: target.large_bytes, others: 16 }).await?;
    Ok(shown(report.is_exact(), &report))
}

async fn poison(target: &Cases) -> Result<(bool, String)> {
    // Each message is several commits (its own, its effect's, its relay's): a rate at which a plain disk is not already the bottleneck
    // without poison, or the ratio would compare two queues before the disk.
    let size = Poison { conversations: 200, messages: 3_000, poison: 20, rate: 50.0 };
    let report = cases::poison(size).await.context("poison")?;
    let within = report.buried_after <= Duration::from_secs(target.buried_within_seconds);
    Ok(shown(report.is_exact() && within && report.ratio() <= target.poison_p99_at_most_times, &report))
}

async fn flapping(target: &Cases) -> Result<(bool, String)> {
    // Every three seconds on average: up for 0.2 to 1 of `up`, down for 0 to 1 of `down`.
    let size = Flaps {
        agents: 20,
        flaps: target.flaps_per_agent,
        up: Duration::from_millis(4_000),
        down: Duration::from_millis(1_200),
        mails: 400,
        settle: Duration::from_secs(60),
    };
    let options =
        Options { agents: size.agents, mode: "round_robin", accept_timeout_seconds: 2, ..Options::default() };
    let installation = Installation::start(options).await?;
    let report = flaps(&installation, size).await?;
    let within = report.converged_after <= Duration::from_secs(target.converged_within_seconds);
    Ok(shown(report.is_exact() && within, &report))
}
