//! Hundreds of desks on one replica, cut again and again under traffic.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};
use hilo_load::desks;

use crate::report::Verdict;
use crate::targets::Desks;

/// Most that a run may miss of the promised events; fewer would prove less.
const EVENTS_SHORT: f64 = 0.9;

/// Runs the desks scenario as promised.
///
/// # Errors
/// When the installation cannot be used.
pub async fn run(target: &Desks) -> Result<Verdict> {
    let installation = Installation::start(Options { agents: target.streams, ..Options::default() }).await?;
    let size = hilo_load::Desks {
        streams: target.streams,
        cuts_per_second: target.cuts_per_second,
        events_per_second: target.events_per_second,
        lasting: Duration::from_secs(target.seconds),
        settle: Duration::from_secs(30),
    };
    let report = desks(&installation, size).await?;
    let figure = format!(
        "{} of {} desks equal to the list {:.1} s after the traffic, {} cuts, {:.1} events/s, {} repeated, {:.1} KiB per stream",
        report.streams - report.different.len(),
        report.streams,
        report.settled_after.as_secs_f64(),
        report.cuts,
        report.events_per_second,
        report.repeated,
        report.kibibytes_per_stream,
    );
    if report.events_per_second < target.events_per_second * EVENTS_SHORT {
        return Ok(Verdict::NotMeasured(format!("too few events: {figure}")));
    }
    let small = report.kibibytes_per_stream <= target.kibibytes_per_stream_at_most;
    Ok(if report.is_exact() && small { Verdict::Pass(figure) } else { Verdict::Fail(figure) })
}
