//! A change of configuration while offers run.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};
use hilo_load::change;

use crate::report::{Measured, Verdict};
use crate::targets::Change;

/// Most that a run may miss of the promised rate; fewer offers would prove less.
const RATE_SHORT: f64 = 0.9;

/// Changes the members of a campaign while offers run at the promised rate.
///
/// # Errors
/// When the installation cannot be used.
pub async fn run(target: &Change) -> Result<Measured> {
    let options = Options { agents: target.agents, mode: "round_robin", ..Options::default() };
    let installation = Installation::start(options).await?;
    let size = hilo_load::Change {
        rate: target.offers_per_second,
        mails: target.mails,
        settle: Duration::from_secs(60),
    };
    let report = change(&installation, size).await?;
    let figure = format!(
        "effective {:.0?} after the call began, which was answered after {:.0?}; {:.0} offers/s until then; {} offers before, {} after, \
         {} under the old version, {} to who had left, {} lost",
        report.effective,
        report.applied_in,
        report.rate,
        report.before,
        report.after,
        report.stale,
        report.to_former,
        report.lost,
    );
    let soon = report.effective <= Duration::from_millis(target.effective_within_milliseconds);
    let enough = report.rate >= target.offers_per_second * RATE_SHORT;
    let verdict = match (report.is_exact(), soon, enough) {
        (false, _, _) | (true, false, true) => Verdict::Fail(figure),
        (true, _, false) => Verdict::NotMeasured(format!("too few offers: {figure}")),
        (true, true, true) => Verdict::Pass(figure),
    };
    Ok(Measured::from(verdict)
        .with_milliseconds("effective_ms", report.effective)
        .with_milliseconds("applied_ms", report.applied_in)
        .with("offers_per_second", report.rate))
}
