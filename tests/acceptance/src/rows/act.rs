//! Hundreds of agents at their desks, each opening and answering once per second.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};
use hilo_load::act;

use crate::report::{Measured, Verdict};
use crate::targets::Act;

/// Runs the act scenario as promised, beside a probe of what a commit costs.
///
/// # Errors
/// When the installation cannot be used, or too little rings beforehand.
pub async fn run(target: &Act) -> Result<Measured> {
    let options = Options { agents: target.agents, mode: "round_robin", ..Options::default() };
    let installation = Installation::start(options).await?;
    let size = hilo_load::Act {
        teams: target.teams,
        acts: usize::try_from(target.seconds)?,
        settle: Duration::from_secs(120),
    };
    let report = act(&installation, size).await?;
    let (quiet, loaded) = &report.commits;
    let commit = loaded.took.quantile(0.99);
    let figure = format!(
        "OpenInteraction p50 {:.1?}, p99 {:.1?}, max {:.1?} of {}; SendMessage p50 {:.1?}, p99 {:.1?}, max {:.1?} of {}; \
         commit p50 {:.1?}, p99 {commit:.1?}, max {:.1?} meanwhile, p99 {:.1?} before; {} of {} acts failed, {} answers arrived \
         {:.1} s after the last act; generator late by at most {:.1?}",
        report.opens.quantile(0.5),
        report.opens.quantile(0.99),
        report.opens.quantile(1.0),
        report.opens.count(),
        report.sends.quantile(0.5),
        report.sends.quantile(0.99),
        report.sends.quantile(1.0),
        report.sends.count(),
        loaded.took.quantile(0.5),
        loaded.took.quantile(1.0),
        quiet.took.quantile(0.99),
        report.failures.len(),
        report.due,
        report.arrived,
        report.arrived_after.as_secs_f64(),
        report.generator_lag,
    );
    let figures = [
        ("open_p50_ms", report.opens.quantile(0.5)),
        ("open_p99_ms", report.opens.quantile(0.99)),
        ("open_max_ms", report.opens.quantile(1.0)),
        ("send_p50_ms", report.sends.quantile(0.5)),
        ("send_p99_ms", report.sends.quantile(0.99)),
        ("send_max_ms", report.sends.quantile(1.0)),
        ("commit_p50_ms", loaded.took.quantile(0.5)),
        ("commit_p99_ms", commit),
        ("commit_max_ms", loaded.took.quantile(1.0)),
        ("commit_quiet_p99_ms", quiet.took.quantile(0.99)),
        ("generator_lag_ms", report.generator_lag),
    ];
    let verdict = judge(target, &report, commit, figure);
    Ok(figures
        .into_iter()
        .fold(Measured::from(verdict), |row, (name, value)| row.with_milliseconds(name, value)))
}

fn judge(target: &Act, report: &hilo_load::ActReport, commit: Duration, figure: String) -> Verdict {
    let within = report.opens.quantile(0.99) <= Duration::from_millis(target.open_p99_at_most_milliseconds)
        && report.sends.quantile(0.99) <= Duration::from_millis(target.send_p99_at_most_milliseconds);
    let quick = commit <= Duration::from_millis(target.commit_p99_at_most_milliseconds);
    match (report.is_exact(), within, quick) {
        (false, _, _) => Verdict::Fail(format!("{figure}; {:?}", report.failures.first())),
        (true, true, _) => Verdict::Pass(figure),
        // The promise is made for a disk that is quick enough.
        (true, false, false) => Verdict::NotMeasured(format!("commit p99 {commit:.1?}: {figure}")),
        (true, false, true) => Verdict::Fail(figure),
    }
}
