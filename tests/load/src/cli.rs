//! The command line of the routing scenarios.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use hilo_load::routing::meter::used;
use hilo_load::routing::{Assign, World, assign};

/// Size of a routing scenario.
#[derive(Args)]
pub struct Routing {
    /// Routing: campaigns that receive.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    campaigns: u32,
    /// Routing: agents of each campaign.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    team: u32,
    /// Routing: campaigns that share a member and so a routing group.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    group: u32,
    /// Routing: messages per second.
    #[arg(long, default_value_t = 2_500.0)]
    per_second: f64,
    /// Routing: seconds.
    #[arg(long = "for", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=7_200))]
    lasting: u32,
}

impl Routing {
    fn world(&self) -> Result<World> {
        Ok(World {
            campaigns: usize::try_from(self.campaigns)?,
            team: usize::try_from(self.team)?,
            group: usize::try_from(self.group)?,
            capacity: 500,
            mode: "round_robin",
            waiting_campaigns: 0,
        })
    }
}

/// Runs `assign`; true when nothing was lost, doubled or out of order.
///
/// # Errors
/// See [`assign`].
pub async fn run_assign(arguments: &Routing) -> Result<bool> {
    let size = Assign {
        world: arguments.world()?,
        rate: arguments.per_second,
        lasting: Duration::from_secs(u64::from(arguments.lasting)),
        settle: Duration::from_secs(120),
    };
    let report = assign(&size).await?;
    let at = |quantile: f64| report.found.time_to_assign.quantile(quantile).as_secs_f64() * 1_000.0;
    println!(
        "\nassign: {} agents in {} campaigns, {}/s",
        size.world.agents(),
        size.world.campaigns,
        size.rate
    );
    println!(
        "{:.0} assignments/s of {} messages in {:.1} s",
        report.rate(),
        report.messages,
        report.found.elapsed.as_secs_f64()
    );
    println!(
        "time to assign p50 {:.1} p90 {:.1} p99 {:.1} p99.9 {:.1} max {:.1} ms",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    println!("lost {}, doubled {}; {}", report.found.lost, report.doubled, report.order);
    println!("per second: {:?}", report.found.per_second);
    println!(
        "generator late by at most {:.1?}, {} publications repeated; {} streams broke, {} heartbeats missed",
        report.sent.lag, report.sent.repeated, report.broken.0, report.broken.1
    );
    println!("commits meanwhile p50 p99 max: {} ms", report.commits.took);
    for (part, (cores, memory)) in used(&report.samples) {
        println!("{part:<16} {cores:>6.2} cores {:>8.1} MiB", memory as f64 / 1_024.0);
    }
    Ok(report.is_exact())
}
