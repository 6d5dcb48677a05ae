//! The operator's binary: `hilo run` starts everything on one machine, the other commands use it from outside.
//!
//! - [`run`], [`services`]: the five services, together on the embedded stack or one by one as in production.
//! - [`stack`]: PostgreSQL, nats-server and the data folder of the embedded stack. [`front`]: its one public port.
//! - [`cli`]: playing a customer, being an agent, watching, searching, operating; [`demo`]: all of it at once.
//! - [`operate`]: what an operator or a container asks of one installation (migrate, check, health).

pub mod cli;
pub mod demo;
pub mod front;
pub mod operate;
pub mod run;
pub mod services;
pub mod stack;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Hilo: the back end of a contact center for email and WhatsApp.
#[derive(Debug, Parser)]
#[command(name = "hilo", version, about, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine, or one service as in production
    Run(run::RunArgs),
    /// Bring the databases of a configuration to this release
    Migrate(operate::ConfigArgs),
    /// Look at a configuration
    #[command(subcommand)]
    Config(operate::ConfigCommand),
    /// Ask a service whether it is ready; the exit code is the answer
    Health(operate::HealthArgs),
    #[command(flatten)]
    Client(cli::Command),
}

/// The whole program.
pub fn main() -> ExitCode {
    match Line::parse().command {
        Command::Run(args) => run::execute(args),
        Command::Migrate(args) => operate::migrate(args),
        Command::Config(command) => operate::config(command),
        Command::Health(args) => operate::health(args),
        Command::Client(command) => client(command),
    }
}

fn client(command: cli::Command) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(command.execute()),
        Err(error) => {
            eprintln!("hilo: the runtime could not be built: {error}");
            ExitCode::FAILURE
        }
    }
}
