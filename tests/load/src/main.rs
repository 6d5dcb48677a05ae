//! `hilo-load SCENARIO`: starts a private installation, loads it, prints what it found; exit 1 when a message was lost, doubled or out of
//! order, a desk ended with another list than the server's, or a webhook was not acknowledged.

mod cli;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use cli::Kind;
use hilo_end_to_end::{Chat, Installation, Options};
use hilo_load::{Desks, Floor, Steady, Webhooks, desks, steady, webhooks};

#[derive(Parser)]
#[command(about = "Load on a private installation of Hilo, started for it and stopped after it")]
struct Arguments {
    /// What to run.
    scenario: Scenario,
    /// Mails per second.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// Mails in all, at most 100,000.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    mails: u32,
    /// Desks: streams.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    streams: u32,
    /// Desks: streams cut every second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=5_000))]
    cuts: u32,
    /// Webhooks: events per second.
    #[arg(long, default_value_t = 3_000.0)]
    events: f64,
    /// Webhooks: events of a POST.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    per_post: u32,
    /// Webhooks: seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Agents of the campaign.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    agents: u32,
    #[command(flatten)]
    routing: cli::Routing,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// Mails by SMTP at a fixed rate, agents who open and end them.
    Mail,
    /// Hundreds of desks, many cut every second, under a fixed rate of events.
    Desks,
    /// A fixed rate of webhooks of WhatsApp, and the floor under it.
    Webhooks,
    /// Routing: messages of ever new customers at a fixed rate, agents with spare capacity.
    #[value(alias = "steady")]
    Assign,
    /// Routing: ten times the rate for ten seconds.
    Burst,
    /// Routing: messages wait (--waiting), then the agents come.
    Backlog,
    /// Routing: half an hour; agents end what rings.
    Soak,
    /// Routing: skills, weights, ageing, VIPs and preferred agents.
    Mixed,
    /// Routing: a new configuration in the middle.
    Reconfigure,
    /// Routing: a part is killed or stopped in the middle (--disturb).
    Disturb,
    /// Routing: whole cycles; what rings is opened, answered, ended and found in the history.
    Cycles,
    /// Routing: 10,000 agents present, 50,000 messages waiting in other campaigns.
    Pace,
}

fn main() -> ExitCode {
    hilo_kit::install_crypto();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run(&arguments))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hilo-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool> {
    let routing = |kind| cli::run(kind, &arguments.routing);
    match arguments.scenario {
        Scenario::Mail => run_mail(arguments).await,
        Scenario::Desks => run_desks(arguments).await,
        Scenario::Webhooks => run_webhooks(arguments).await,
        Scenario::Assign => routing(Kind::Assign).await,
        Scenario::Burst => routing(Kind::Burst).await,
        Scenario::Backlog => routing(Kind::Backlog).await,
        Scenario::Soak => routing(Kind::Soak).await,
        Scenario::Mixed => routing(Kind::Mixed).await,
        Scenario::Reconfigure => routing(Kind::Reconfigure).await,
        Scenario::Disturb => routing(Kind::Disturb).await,
        Scenario::Cycles => routing(Kind::Cycles).await,
        Scenario::Pace => routing(Kind::Pace).await,
    }
}

async fn run_webhooks(arguments: &Arguments) -> Result<bool> {
    let house = Chat::start(Options { agents: 1, ..Options::default() }).await?;
    let size = Webhooks {
        rate: arguments.events,
        per_post: usize::try_from(arguments.per_post)?,
        lasting: Duration::from_secs(u64::from(arguments.seconds)),
        number: house.installation.whatsapp_number(),
        customers: 20_000,
        run: "load".to_owned(),
    };
    let Webhooks { rate, per_post, .. } = size;
    println!(
        "webhooks: {rate} events/s, {per_post} per POST, for {} s, five processes, PostgreSQL fsync on",
        arguments.seconds
    );
    let floor = Floor::start(&house.installation.database("hilo_whatsapp")).await?;
    println!("floor:   {}", webhooks(&floor.poster()?, &size).await?);
    let report = webhooks(&house.poster()?, &size).await?;
    println!("service: {report}");
    println!("generator late by at most {:.1?}", report.generator_lag);
    Ok(report.refused == 0)
}

async fn run_desks(arguments: &Arguments) -> Result<bool> {
    let size = Desks {
        streams: usize::try_from(arguments.streams)?,
        cuts_per_second: usize::try_from(arguments.cuts)?,
        events_per_second: 50.0,
        lasting: Duration::from_secs(60),
        settle: Duration::from_secs(30),
    };
    let installation = Installation::start(Options { agents: size.streams, ..Options::default() }).await?;
    let report = desks(&installation, size).await?;
    println!(
        "desks: {} streams, {} cut every second for 60 s, five processes",
        size.streams, size.cuts_per_second
    );
    println!("{report}");
    Ok(report.is_exact())
}

async fn run_mail(arguments: &Arguments) -> Result<bool> {
    let agents = usize::try_from(arguments.agents)?;
    let installation = Installation::start(Options { agents, ..Options::default() }).await?;
    let size = Steady {
        rate: arguments.rate,
        mails: usize::try_from(arguments.mails)?,
        settle: Duration::from_secs(30),
    };
    let report = steady(&installation, installation.support_address(), size).await?;
    println!(
        "mail: {} mails at {}/s, {agents} agents, five processes, PostgreSQL fsync on, NATS default sync",
        size.mails, size.rate
    );
    println!("{report}");
    Ok(report.lost == 0 && report.doubled == 0)
}
