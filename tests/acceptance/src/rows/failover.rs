//! Parts that are killed, stopped or changed while messages are assigned.

use std::time::Duration;

use anyhow::Result;
use hilo_load::routing::{Disturbance, Scenario};

use super::routing::{run as run_scenario, scenario, told, with_figures};
use crate::report::{Measured, Verdict};
use crate::targets::{Failover, Reconfigure};

/// What happens, and whether assigning again is bounded by the promise.
const HAPPENS: [(Disturbance, &str, bool); 7] = [
    (Disturbance::KillRouting, "routing owner killed", true),
    (Disturbance::KillOutbox, "outbox owner killed", true),
    (Disturbance::EndRouting, "routing owner told to end", true),
    (Disturbance::PauseRouting, "one of two owners paused for three leases", false),
    (Disturbance::ScaleRouting, "1 to 3 to 1 replicas", false),
    (Disturbance::KillNats, "nats-server killed", false),
    (Disturbance::KillPostgres, "PostgreSQL killed", false),
];

fn disturbed(disturbance: Disturbance, name: &str, per_second: f64, seconds: u64) -> Scenario {
    let mut size = Scenario { disturbance: Some(disturbance), ..scenario(name, per_second, seconds) };
    // Every group hears of a message every second, so that it is known when each of them is assigned again.
    size.world.campaigns = 100;
    size
}

/// All of them, one after the other, each on an installation of its own.
///
/// # Errors
/// When an installation cannot be used.
pub async fn run(target: &Failover) -> Result<Measured> {
    let within = Duration::from_secs(target.again_within_seconds);
    let (mut holds, mut figures, mut worst) = (true, Vec::new(), Duration::ZERO);
    for (disturbance, words, bounded) in HAPPENS {
        let name = format!("failover-{disturbance:?}").to_lowercase();
        let size = disturbed(disturbance, &name, target.per_second, target.seconds);
        let (outcome, _) = run_scenario(&size).await?;
        let again = outcome.again.unwrap_or(Duration::MAX);
        holds &= outcome.is_exact() && (!bounded || again <= within);
        if bounded {
            worst = worst.max(again);
        }
        let bad = match outcome.is_exact() {
            true => String::new(),
            false => format!(" NOT EXACT ({})", told(&outcome)),
        };
        let again = match again < Duration::from_secs(3_600) {
            true => format!("{:.1} s", again.as_secs_f64()),
            false => "never in some group".to_owned(),
        };
        figures.push(format!("{words}: assigning again {again}{bad}"));
    }
    let figure = figures.join("; ");
    let verdict = if holds { Verdict::Pass(figure) } else { Verdict::Fail(figure) };
    Ok(Measured::from(verdict).with("again_s", worst.as_secs_f64()))
}

/// A new configuration under load.
///
/// # Errors
/// When the installation cannot be used.
pub async fn reconfigure(target: &Reconfigure) -> Result<Measured> {
    let size = disturbed(Disturbance::Reconfigure, "reconfigure", target.per_second, target.seconds);
    let (outcome, summary) = run_scenario(&size).await?;
    let effect = outcome.effect.unwrap_or_default();
    let figure = format!(
        "first used {:.0?} after the call began, the old one last after {:.0?}; answered after {:.0?}; {} decisions under the new one, {} \
         under the old one after the answer; {}",
        effect.first,
        effect.last,
        effect.applied_in,
        effect.after,
        effect.stale,
        told(&outcome)
    );
    let within = Duration::from_millis(target.effective_within_milliseconds);
    let soon = effect.first <= within && effect.last <= within;
    let holds = outcome.is_exact() && effect.after > 0 && effect.stale == 0 && soon;
    Ok(with_figures(if holds { Verdict::Pass(figure) } else { Verdict::Fail(figure) }, &summary))
}
