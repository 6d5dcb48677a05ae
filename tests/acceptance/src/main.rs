//! `hilo-acceptance path`: one row per promised line - PASS, FAIL or NOT MEASURED with a reason. Anything but PASS everywhere
//! ends with exit code 1. Runs release binaries on private stacks, never the user's `.hilo/`.

mod recorded;
mod report;
mod rows;
mod targets;

use std::process::ExitCode;

use report::{Report, Verdict};
use targets::Targets;

fn main() -> ExitCode {
    hilo_kit::install_crypto();
    let area = std::env::args().nth(1).unwrap_or_default();
    let only: Vec<String> = std::env::args().skip(2).collect();
    let outcome = Targets::load().and_then(|targets| {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            match area.as_str() {
                "path" => path(&targets, &only).await,
                "fresh" => rows::fresh::record(),
                other => anyhow::bail!("unknown area {other:?}; known: path (and fresh, which records)"),
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

async fn path(targets: &Targets, only: &[String]) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|row| row == name);
    macro_rules! row {
        ($name:ident, $measure:expr) => {
            if wanted(stringify!($name)) {
                let verdict = match $measure {
                    Ok(verdict) => verdict,
                    Err(error) => Verdict::Fail(format!("{error:#}")),
                };
                report.add(stringify!($name), &targets.$name.text, verdict);
            }
        };
    }
    row!(fresh_run, rows::fresh::within("fresh_run", targets.fresh_run.at_most_seconds));
    row!(second_run, rows::fresh::within("second_run", targets.second_run.at_most_seconds));
    row!(fresh_test, rows::fresh::within("fresh_test", targets.fresh_test.at_most_seconds));
    row!(demo, rows::demo::run(&targets.demo).await);
    row!(race, rows::race::run(&targets.race).await);
    row!(chaos, rows::chaos::run(&targets.chaos).await);
    row!(wipe, rows::wipe::run(&targets.wipe).await);
    row!(latency, rows::latency::run(&targets.latency).await);
    row!(memory, rows::memory::run(&targets.memory).await);
    report.print();
    Ok(report)
}
