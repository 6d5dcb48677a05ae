//! `hilo demo`: the whole path once, with parts that are not our code at both ends, told step by step.
//!
//! Every line is printed from what was read at the far end (the mail server's file, the agent's stream, an answer of the
//! history), never from what was sent. Exit code 0 means that every step really happened.
//!
//! - [`house`]: the stack, the running one or a private one. [`dovecot`], [`sink`]: the mail servers around it.
//! - [`overlay`]: the demo's campaign, accounts and agents on top of the directory in force.
//! - [`customers`], [`agents`], [`subscriber`]: who takes part. [`story`] and the parts below it: what happens.

pub mod agents;
pub mod catalogue;
mod clock;
pub mod customers;
pub mod dovecot;
pub mod house;
pub mod overlay;
pub mod scratch;
pub mod sink;
pub mod story;
pub mod subscriber;

use std::time::Duration;

use crate::cli::terminal::Output;
use crate::cli::{Exit, Failure, Installation};
use clock::Clock;
use scratch::Scratch;
use story::Stage;

/// Everything up to the last step; stopping and clearing up then fit into the minute that the demo may take.
const LIMIT: Duration = Duration::from_secs(48);

/// Arguments of `hilo demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    #[command(flatten)]
    installation: Installation,
    /// Always start a private stack, even when one runs
    #[arg(long)]
    private: bool,
    /// Keep the folder with the demo's mails, logs and data
    #[arg(long)]
    keep: bool,
}

/// Runs the demo. Must be awaited on the main thread: its children die with the thread that started them.
///
/// # Errors
/// `DEMO_FAILED` (exit code 1), naming the step that did not happen.
pub async fn execute(args: DemoArgs) -> Result<(), Failure> {
    let mut clock = Clock::start(Output::stdout());
    let mut scratch = Scratch::create()?;
    let mut stage = Stage::default();
    let told = tokio::select! {
        told = tokio::time::timeout(LIMIT, story::tell(&args, &mut clock, &scratch, &mut stage)) => told,
        () = interrupted() => Ok(Err(Failure::new(Exit::Failed, "INTERRUPTED", "stopped by a signal"))),
    };
    let told = told.unwrap_or_else(|_| {
        Err(Failure::new(Exit::Failed, "TOO_LONG", format!("not finished within {} s", LIMIT.as_secs())))
    });
    stage.clear(&mut clock).await;
    if told.is_err() || args.keep {
        scratch.keep();
    }
    match told {
        Ok(()) => {
            drop(scratch);
            clock.end()
        }
        Err(failure) => Err(failed(&failure, &clock, &scratch)),
    }
}

fn failed(failure: &Failure, clock: &Clock, scratch: &Scratch) -> Failure {
    let message = format!("step {}: {failure}", clock.current());
    let mut ended = Failure::new(Exit::Failed, "DEMO_FAILED", message);
    ended.details.extend(failure.details.iter().cloned());
    ended.detail(format!("logs, mails and data are kept in {}", scratch.path().display()))
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
