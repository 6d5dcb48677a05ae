//! The process of a service that has a database of its own: arguments, configuration, telemetry, then the service until
//! a signal. One text, so that every such binary is started and migrated alike.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::config::{self, Section, ServiceConfig};
use crate::error::Error;
use crate::lifecycle::{self, Shutdown};
use crate::telemetry;

/// What differs between two of them besides their code.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Section of the configuration, for instance `history`.
    pub section: &'static str,
    /// Name of the binary and of its traces, for instance `hilo-history`.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// For `--version`.
    pub version: &'static str,
}

#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Configuration file (YAML); the environment (`HILO__…`) overrides it.
    #[arg(long, env = "HILO_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Brings the database up to this version and ends.
    Migrate,
}

impl Program {
    /// Reads arguments and configuration, then migrates the database of `database` and ends, or runs `serve` until a
    /// signal.
    pub fn main<S: Section>(
        self,
        database: impl FnOnce(&S) -> String,
        migrate: impl AsyncFnOnce(&str) -> Result<(), Error>,
        serve: impl AsyncFnOnce(ServiceConfig<S>, Shutdown) -> Result<(), Error>,
    ) -> ExitCode {
        let arguments = self.arguments(std::env::args_os()).unwrap_or_else(|error| error.exit());
        lifecycle::run_main(self.name, async |shutdown| {
            let config: ServiceConfig<S> = config::load(self.section, arguments.config.as_deref())?;
            if let Some(Command::Migrate) = arguments.command {
                return migrate(&database(&config.section)).await;
            }
            let guard = telemetry::init(self.name, &config.telemetry)?;
            let outcome = serve(config, shutdown).await;
            guard.flush().await;
            outcome
        })
    }

    fn arguments<T: Into<std::ffi::OsString> + Clone>(
        self,
        from: impl IntoIterator<Item = T>,
    ) -> Result<Arguments, clap::Error> {
        let command = Arguments::command().name(self.name).about(self.about).version(self.version);
        Arguments::from_arg_matches(&command.try_get_matches_from(from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program =
        Program { section: "history", name: "hilo-history", about: "Keeps threads", version: "9.9" };

    #[test]
    fn it_takes_a_configuration_and_a_migration() {
        let run = PROGRAM.arguments(["hilo-history", "--config", "a.yaml"]).unwrap();
        assert_eq!((run.config, run.command.is_none()), (Some("a.yaml".into()), true));
        let migrate = PROGRAM.arguments(["hilo-history", "migrate"]).unwrap();
        assert!(matches!(migrate.command, Some(Command::Migrate)));
        let help = PROGRAM.arguments(["hilo-history", "--help"]).unwrap_err().to_string();
        assert!(help.contains("Keeps threads") && help.contains("Usage: hilo-history"), "{help}");
        let version = PROGRAM.arguments(["hilo-history", "--version"]).unwrap_err().to_string();
        assert_eq!(version.trim(), "hilo-history 9.9");
        assert!(PROGRAM.arguments(["hilo-history", "--nonsense"]).is_err());
    }
}
