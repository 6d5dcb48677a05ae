//! What a person types: playing a customer, being an agent, watching events, searching the history, operating.
//!
//! Every command talks to the house through the doors others use too (SMTP, the public gRPC port, NATS). None of them holds
//! a rule of the domain, and none of them prints a stack trace for a user's mistake: see [`failure`].

pub mod apply;
pub mod audit;
pub mod dead;
pub mod desk;
pub mod dial;
pub mod events;
pub mod explain;
pub mod failure;
pub mod history;
pub mod installation;
pub mod mail;
pub mod phone;
pub mod queues;
pub mod report;
pub mod session;
pub mod terminal;

use std::process::ExitCode;

pub use failure::{Exit, Failure};
pub use installation::Installation;

/// The client commands of `hilo`; the binary adds `run`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Play a customer: write a mail, read what came back, answer it
    Mail(mail::MailArgs),
    /// Play a customer of WhatsApp at the simulator: write, read, answer
    Phone(Box<phone::PhoneArgs>),
    /// Be an agent in the terminal
    Desk(desk::DeskArgs),
    /// Watch what happens as CloudEvents
    Events(events::EventsArgs),
    /// Search, read and export ended threads
    History(history::HistoryArgs),
    /// Queues and agents now, or as they change
    Queues(queues::QueuesArgs),
    /// Why an item was offered to whom, why nobody has it, why not a certain agent
    Explain(explain::ExplainArgs),
    /// Volumes, states, waits and the other reports
    Report(Box<report::ReportArgs>),
    /// Make, fill, start, hold, end and show dialers of WhatsApp, and numbers they leave out
    Dial(Box<dial::DialArgs>),
    /// List, show, replay and drop messages that could not be processed
    Dead(dead::DeadArgs),
    /// Bring the directory (campaigns, users, accounts, forms) to what a file says
    Apply(apply::ApplyArgs),
    /// Who changed what in the directory and of identities
    Audit(audit::AuditArgs),
    /// Three customers, two agents, real mail in and out, printed from what arrived
    Demo(crate::demo::DemoArgs),
}

impl Command {
    /// Runs the command to its end. The exit codes are those of [`Exit`].
    pub async fn execute(self) -> ExitCode {
        hilo_kit::install_crypto();
        let outcome = match self {
            Self::Mail(args) => mail::execute(args).await,
            Self::Phone(args) => phone::execute(*args).await,
            Self::Desk(args) => desk::execute(args).await,
            Self::Events(args) => events::execute(args).await,
            Self::History(args) => history::execute(args).await,
            Self::Queues(args) => queues::execute(args).await,
            Self::Explain(args) => explain::execute(args).await,
            Self::Report(args) => report::execute(*args).await,
            Self::Dial(args) => dial::execute(*args).await,
            Self::Dead(args) => dead::execute(args).await,
            Self::Apply(args) => apply::execute(args).await,
            Self::Audit(args) => audit::execute(args).await,
            Self::Demo(args) => crate::demo::execute(args).await,
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn parses(line: &str) -> bool {
        Line::try_parse_from(line.split_whitespace()).is_ok()
    }

    #[test]
    fn the_lines_of_the_readme_parse() {
        for line in [
            "hilo mail send --from a@example.org --to b@example.org --subject Hola --text Hola",
            "hilo mail send --from a@x.pe --to b@x.pe --cc c@x.pe --subject S --text T --in-reply-to <1@x> --in-reply-to <2@x>",
            "hilo mail read --to a@example.org",
            "hilo mail reply --text Gracias",
            "hilo phone send --from +51999111222 --name Rosa --text Hola",
            "hilo phone send --from 51999111222 --kind location --ago 60",
            "hilo phone read --of 51999111222 --last 3 --peek",
            "hilo phone reply --of 51999111222 --text Gracias",
            "hilo phone react --of 51999111222 --emoji x",
            "hilo phone list --simulator http://127.0.0.1:8460",
            "hilo desk --as ana",
            "hilo desk",
            "hilo desk --as ana --endpoint http://127.0.0.1:8470",
            "hilo events tail --campaign soporte --type interaction_queued --from-start",
            "hilo history search --words factura --customer rosa --campaign soporte --from 2026-01-01 --to 2026-12-31 --as ana",
            "hilo history show 0198a0a0-0000-7000-8000-000000000000 --as ana",
            "hilo queues list --as supervisora",
            "hilo queues list --campaign soporte --campaign ventas --json --as supervisora",
            "hilo queues watch --count 3 --as supervisora",
            "hilo explain 0198a0a0-0000-7000-8000-000000000000 --agent ana --as supervisora",
            "hilo explain 0198a0a0-0000-7000-8000-000000000000 --json",
            "hilo history export --format forms --value Reclamo --out formularios.csv --as ana",
            "hilo report messages --from 2026-01-01 --to 2026-01-31 --by day --by agent --as rita",
            "hilo dead list",
            "hilo dead list --as coordinadora",
            "hilo dead replay 0198a0a0-0000-7000-8000-000000000000",
            "hilo apply -f directory.yaml --dry-run --as coordinadora",
            "hilo apply -f directory.yaml --prune --as coordinadora",
            "hilo audit --kind campaign --key ventas --limit 20 --as coordinadora",
            "hilo dial create mensajes pedido_en_camino --per-minute 60 --as supervisora",
            "hilo dial import 0198a0a0-0000-7000-8000-000000000000 lista.csv --skip-bad --as supervisora",
            "hilo dial create mensajes aviso --open monday-friday=09:00-13:00,14:00-18:00 --holiday 2026-12-25 --time-zone America/Lima",
            "hilo dial list --campaign mensajes --json --as supervisora",
            "hilo dial rows 0198a0a0-0000-7000-8000-000000000000 --state failed --limit 20 --json --as supervisora",
            "hilo dial hours 0198a0a0-0000-7000-8000-000000000000 --json --as supervisora",
            "hilo dial opt-out add mensajes +51987654321 --reason pidió --as supervisora",
            "hilo dial opt-out remove mensajes +51987654321 --as supervisora",
            "hilo dial opt-out list mensajes --json --as supervisora",
            "hilo dial show 0198a0a0-0000-7000-8000-000000000000 --as supervisora",
            "hilo demo",
        ] {
            assert!(parses(line), "{line}");
        }
        assert!(!parses("hilo mail send --to b@example.org"));
        assert!(!parses("hilo dead replay"));
        assert!(!parses("hilo dial create mensajes aviso --open lunes=09:00-18:00"));
        assert!(!parses("hilo dial create mensajes aviso --holiday 2026-12-25"));
        assert!(!parses("hilo phone send --from 51999111222 --kind location --text Hola"));
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }
}
