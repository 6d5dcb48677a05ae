//! `hilo-acceptance AREA [ROW…]`: one row per promised line - PASS, FAIL or NOT MEASURED with a reason. Anything but PASS everywhere
//! ends with exit code 1. Runs release binaries on private stacks, never the user's `.hilo/`.

mod recorded;
mod report;
mod rows;
mod targets;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::FutureExt;
use report::{Measured, Report, Verdict};
use targets::{Main, Routing, Targets, Whatsapp};

fn main() -> ExitCode {
    hilo_kit::install_crypto();
    let area = std::env::args().nth(1).unwrap_or_else(|| "all".to_owned());
    let only: Vec<String> = std::env::args().skip(2).collect();
    if area == rows::cases::RELAY {
        return relay();
    }
    let outcome = Targets::load().and_then(|targets| {
        let runtime = tokio::runtime::Runtime::new()?;
        let report = runtime.block_on(run(&area, &targets, &only));
        // What a row that was given up left behind must not keep the process.
        runtime.shutdown_timeout(Duration::from_secs(10));
        report
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

async fn run(area: &str, targets: &Targets, only: &[String]) -> anyhow::Result<Report> {
    if area == "fresh" {
        return rows::fresh::record();
    }
    let mut report = Report::new(area, only);
    match area {
        "path" => path(&mut report, targets, only).await,
        "main" => main_area(&mut report, &targets.main, only).await,
        "whatsapp" => whatsapp(&mut report, &targets.whatsapp, only).await,
        "routing" => routing(&mut report, &targets.routing, only).await,
        "all" => {
            path(&mut report, targets, only).await;
            main_area(&mut report, &targets.main, only).await;
            whatsapp(&mut report, &targets.whatsapp, only).await;
            routing(&mut report, &targets.routing, only).await;
        }
        other => {
            anyhow::bail!(
                "unknown area {other:?}; known: path, main, whatsapp, routing, all (and fresh, which records)"
            )
        }
    }
    report.print();
    Ok(report)
}

/// Runs a row to its verdict. A row that fails, panics or is not over in time is a FAIL: it never takes the others with it.
async fn judged<M: Into<Measured>>(
    seconds: u64,
    measure: impl Future<Output = anyhow::Result<M>>,
) -> (Duration, Measured) {
    let started = Instant::now();
    let measure = AssertUnwindSafe(measure).catch_unwind();
    let measured = match tokio::time::timeout(Duration::from_secs(seconds), measure).await {
        Ok(Ok(Ok(measured))) => measured.into(),
        Ok(Ok(Err(error))) => Verdict::Fail(format!("{error:#}")).into(),
        Ok(Err(_)) => Verdict::Fail("the row panicked; see above".to_owned()).into(),
        Err(_) => {
            Verdict::Fail(format!("not over after {seconds} s, which is far more than it takes")).into()
        }
    };
    (started.elapsed(), measured)
}

/// Runs the named rows of an area (all when none is named), each at most so many seconds.
macro_rules! rows {
    ($report:ident, $targets:ident, $only:ident, $($name:ident within $seconds:literal: $measure:expr),+ $(,)?) => {
        $(if $only.is_empty() || $only.iter().any(|row| row == stringify!($name)) {
            eprintln!("{} … (at most {} s)", stringify!($name), $seconds);
            let (took, measured) = judged($seconds, $measure).await;
            $report.add(stringify!($name), &$targets.$name.text, took, measured);
        })+
    };
}

async fn main_area(report: &mut Report, targets: &Main, only: &[String]) {
    rows!(
        report,
        targets,
        only,
        desks within 600: rows::desks::run(&targets.desks),
        change within 600: rows::change::run(&targets.change),
        act within 900: rows::act::run(&targets.act),
        search within 3_600: rows::search::run(&targets.search),
        cases within 3_600: rows::cases::run(&targets.cases),
    );
}

async fn whatsapp(report: &mut Report, targets: &Whatsapp, only: &[String]) {
    rows!(
        report,
        targets,
        only,
        batch within 900: rows::chat::batch(&targets.batch),
        cases within 2_400: rows::chat::cases(&targets.cases),
        nats_down within 600: rows::chat::nats_down(&targets.nats_down),
        postgres_down within 600: rows::chat::postgres_down(&targets.postgres_down),
        load within 900: rows::chat::load(&targets.load),
        pace within 2_400: rows::chat::pace(&targets.pace),
        altered within 300: rows::chat::altered(&targets.altered),
        kinds within 300: rows::chat::kinds(&targets.kinds),
    );
}

async fn routing(report: &mut Report, targets: &Routing, only: &[String]) {
    rows!(
        report,
        targets,
        only,
        engine within 900: async { rows::engine::run(&targets.engine) },
        assign within 1_800: rows::routing::assign(&targets.assign),
        mixed within 1_800: rows::routing::mixed(&targets.mixed),
        cycles within 1_800: rows::routing::cycles(&targets.cycles),
        pace within 2_400: rows::routing::pace(&targets.pace),
        burst within 900: rows::routing::burst(&targets.burst),
        backlog within 3_600: rows::routing::backlog(&targets.backlog),
        soak within 4_800: rows::routing::soak(&targets.soak),
        failover within 2_400: rows::failover::run(&targets.failover),
        reconfigure within 900: rows::failover::reconfigure(&targets.reconfigure),
        rebuild within 1_800: rows::waiting::rebuild(&targets.rebuild),
        memory within 3_600: rows::waiting::memory(&targets.memory),
        explain within 900: rows::explained::run(&targets.explain),
        plans within 3_600: rows::waiting::plans(&targets.plans),
    );
}

async fn path(report: &mut Report, targets: &Targets, only: &[String]) {
    rows!(
        report,
        targets,
        only,
        fresh_run within 60: async { rows::fresh::within("fresh_run", targets.fresh_run.at_most_seconds) },
        second_run within 60: async { rows::fresh::within("second_run", targets.second_run.at_most_seconds) },
        fresh_test within 60: async { rows::fresh::within("fresh_test", targets.fresh_test.at_most_seconds) },
        demo within 1_800: rows::demo::run(&targets.demo),
        race within 1_200: rows::race::run(&targets.race),
        chaos within 1_800: rows::chaos::run(&targets.chaos),
        wipe within 1_200: rows::wipe::run(&targets.wipe),
        latency within 600: rows::latency::run(&targets.latency),
        memory within 600: rows::memory::run(&targets.memory),
    );
}
