//! A change of configuration while offers run.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};
use hilo_load::change;

use crate::report::Verdict;
use crate::targets::Change;

/// Most that a run may miss of the promised rate; fewer offers would prove less.
const RATE_SHORT: f64 = 0.9;

/// Changes the members of a campaign while offers run at the promised rate.
///
/// # Errors
/// When the installation cannot be used.
pub async fn run(target: &Change) -> Result<Verdict> {
    let options = Options { agents: target.agents, mode: "round_robin", ..Options::default() };
    let installation = Installation::start(options).await?;
    let size = hilo_load::Change {
        rate: target.offers_per_second,
        mails: target.mails,
        settle: Duration::from_secs(60),
    };
    let report = change(&installation, size).await?;
    let figure = format!(
        "effective {:.0?} after the answer (applied in {:.0?}), {:.0} offers/s around it; {} offers before, {} after, \
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
    if report.rate < target.offers_per_second * RATE_SHORT {
        return Ok(Verdict::NotMeasured(format!("too few offers: {figure}")));
    }
    // The clock begins with the answer: before it the change is not made, and most of the call verifies the passwords that
    // the test directory spells out. Both are printed.
    let soon = report.effective <= Duration::from_millis(target.effective_within_milliseconds);
    Ok(if report.is_exact() && soon { Verdict::Pass(figure) } else { Verdict::Fail(figure) })
}
