//! `hilo-acceptance AREA [ROW…]`: one row per promised line - PASS, FAIL or NOT MEASURED with a reason. Anything but PASS everywhere
//! ends with exit code 1. Runs release binaries on private stacks, never the user's `.hilo/`.

mod recorded;
mod report;
mod rows;
mod targets;

use std::process::ExitCode;

use report::{Report, Verdict};
use targets::{Main, Targets};

fn main() -> ExitCode {
    hilo_kit::install_crypto();
    let area = std::env::args().nth(1).unwrap_or_default();
    let only: Vec<String> = std::env::args().skip(2).collect();
    if area == rows::cases::RELAY {
        return relay();
    }
    let outcome = Targets::load().and_then(|targets| {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            match area.as_str() {
                "path" => path(&targets, &only).await,
                "main" => main_area(&targets.main, &only).await,
                "fresh" => rows::fresh::record(),
                other => {
                    anyhow::bail!("unknown area {other:?}; known: path, main (and fresh, which records)")
                }
            }
        })
    });
    match outcome {
        Ok(report) if report.all_passed() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("acceptance: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// This program as the relay that the row `cases` kills.
fn relay() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().map_err(anyhow::Error::from);
    let ended = runtime.and_then(|runtime| runtime.block_on(hilo_faults::cases::child_relay()));
    if let Err(error) = ended {
        eprintln!("relay: {error:#}");
    }
    ExitCode::FAILURE
}

/// Runs the named rows of an area (all when none is named), each to its verdict.
macro_rules! rows {
    ($targets:ident, $only:ident, $($name:ident: $measure:expr),+ $(,)?) => {{
        let mut report = Report::default();
        $(if $only.is_empty() || $only.iter().any(|row| row == stringify!($name)) {
            let verdict = match $measure {
                Ok(verdict) => verdict,
                Err(error) => Verdict::Fail(format!("{error:#}")),
            };
            report.add(stringify!($name), &$targets.$name.text, verdict);
        })+
        report.print();
        Ok(report)
    }};
}

async fn main_area(targets: &Main, only: &[String]) -> anyhow::Result<Report> {
    rows!(
        targets,
        only,
        desks: rows::desks::run(&targets.desks).await,
        change: rows::change::run(&targets.change).await,
        search: rows::search::run(&targets.search).await,
        cases: rows::cases::run(&targets.cases).await,
    )
}

async fn path(targets: &Targets, only: &[String]) -> anyhow::Result<Report> {
    rows!(
        targets,
        only,
        fresh_run: rows::fresh::within("fresh_run", targets.fresh_run.at_most_seconds),
        second_run: rows::fresh::within("second_run", targets.second_run.at_most_seconds),
        fresh_test: rows::fresh::within("fresh_test", targets.fresh_test.at_most_seconds),
        demo: rows::demo::run(&targets.demo).await,
        race: rows::race::run(&targets.race).await,
        chaos: rows::chaos::run(&targets.chaos).await,
        wipe: rows::wipe::run(&targets.wipe).await,
        latency: rows::latency::run(&targets.latency).await,
        memory: rows::memory::run(&targets.memory).await,
    )
}
