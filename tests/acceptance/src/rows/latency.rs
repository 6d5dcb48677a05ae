//! Time from a mail's due instant to its ring at an agent's desk.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};
use hilo_load::{Steady, steady};

use crate::report::Verdict;
use crate::targets::Latency;

/// Runs the steady scenario at the promised rate.
///
/// # Errors
/// When the installation cannot be used.
pub async fn run(target: &Latency) -> Result<Verdict> {
    let installation = Installation::start(Options { agents: 20, ..Options::default() }).await?;
    let size = Steady { rate: target.rate, mails: target.mails, settle: Duration::from_secs(30) };
    let report = steady(&installation, installation.support_address(), size).await?;
    let [p50, p99, most] = [0.5, 0.99, 1.0].map(|quantile| report.time_to_assign.quantile(quantile));
    let figure = format!(
        "p50 {p50:.1?}, p99 {p99:.1?}, max {most:.1?} over {} mails at {}/s; lost {}, double {}",
        report.sent, target.rate, report.lost, report.doubled
    );
    let within = p99 <= Duration::from_millis(target.p99_at_most_milliseconds);
    Ok(if within && report.lost == 0 && report.doubled == 0 {
        Verdict::Pass(figure)
    } else {
        Verdict::Fail(figure)
    })
}
