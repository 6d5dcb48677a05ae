//! Hundreds of desks on one replica, cut again and again under traffic.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};
use hilo_load::desks;

use crate::report::{Measured, Verdict};
use crate::targets::Desks;

/// Most that a run may miss of the promised events and cuts; fewer would prove less.
const SHORT: f64 = 0.95;

/// Runs the desks scenario as promised. Memory is judged by its highest, not only by what is left in the end.
///
/// # Errors
/// When the installation cannot be used.
pub async fn run(target: &Desks) -> Result<Measured> {
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
        "{} of {} desks equal to the list {:.1} s after the traffic, {} cuts, {} streams begun, {:.1} events/s, {} repeated, \
         {:.1} KiB per stream at most, {:.1} in the end",
        report.streams - report.different.len(),
        report.streams,
        report.settled_after.as_secs_f64(),
        report.cuts,
        report.begun,
        report.events_per_second,
        report.repeated,
        report.kibibytes_per_stream_at_most,
        report.kibibytes_per_stream,
    );
    let cuts = target.cuts_per_second as f64 * target.seconds as f64;
    let enough = report.events_per_second >= target.events_per_second * SHORT
        && report.cuts as f64 >= cuts * SHORT
        // A stream that is cut again before its first answer never began; most must have.
        && report.begun as f64 >= cuts / 2.0;
    let small = report.kibibytes_per_stream_at_most <= target.kibibytes_per_stream_at_most;
    let verdict = match (report.is_exact(), small, enough) {
        (false, _, _) | (true, false, true) => {
            let first = report.different.first().map_or_else(String::new, |one| format!("; {one}"));
            Verdict::Fail(format!("{figure}{first}"))
        }
        (true, _, false) => Verdict::NotMeasured(format!("too little happened: {figure}")),
        (true, true, true) => Verdict::Pass(figure),
    };
    Ok(Measured::from(verdict)
        .with("events_per_second", report.events_per_second)
        .with("kib_per_stream_at_most", report.kibibytes_per_stream_at_most)
        .with("kib_per_stream_at_the_end", report.kibibytes_per_stream)
        .with_milliseconds("settled_ms", report.settled_after))
}
