//! hilo-routing: decides which agent is offered which interaction.
//!
//! Owns no state: its view comes from attention-state's snapshot and events, its decisions are committed or refused by
//! attention-state, presence is a lease in a bucket. `main → lib → app → router, rpc → partition → domain`.
//!
//! `domain` is the pure engine and the pure rules of presence; `partition` feeds one engine per held partition; `router`
//! owns the partitions; `queues` and `explain` (with `asked`) answer supervisors; `lease`, `consumer`, `directory`, `presence`, `hints` bring the news; `tasks` takes what is decided
//! to attention-state.

mod app;
mod asked;
mod attention;
mod clock;
pub mod config;
mod consumer;
mod convert;
mod directory;
pub mod domain;
mod event;
mod explain;
mod hints;
mod lease;
mod metrics;
mod names;
mod partition;
mod presence;
mod queues;
mod router;
mod rpc;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::{self, Shutdown};
use hilo_kit::{config as kit_config, telemetry};

pub use app::{Listeners, run};
pub use config::{Config, RoutingSection};

/// Name of the service in logs, tokens and configuration.
pub const NAME: &str = "routing";

#[derive(Parser)]
#[command(name = "hilo-routing", about = "Decides which agent is offered which interaction", version)]
struct Arguments {
    /// Configuration file (YAML); the environment (`HILO__…`) overrides it.
    #[arg(long, env = "HILO_CONFIG")]
    config: Option<PathBuf>,
}

/// The process: reads its arguments and the configuration, runs until a signal.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    lifecycle::run_main("hilo-routing", |shutdown| start(arguments, shutdown))
}

async fn start(arguments: Arguments, shutdown: Shutdown) -> Result<(), Error> {
    let config: Config = kit_config::load(NAME, arguments.config.as_deref())?;
    let guard = telemetry::init("hilo-routing", &config.telemetry)?;
    let listeners = Listeners::bind(&config).await?;
    let outcome = run(config, listeners, shutdown).await;
    guard.flush().await;
    outcome
}
