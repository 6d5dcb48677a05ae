//! What a load run found.

use std::fmt;
use std::time::Duration;

use crate::Took;

/// Figures of one run.
#[derive(Debug)]
pub struct Report {
    /// Mails sent, every one acknowledged.
    pub sent: usize,
    /// Wall time from the first due instant to the last offer.
    pub elapsed: Duration,
    /// Time from the due instant of a mail to its first ring at an agent's desk.
    pub time_to_assign: Took,
    /// Mails that never rang.
    pub lost: usize,
    /// Mails that made more than one interaction, or interactions two agents had open.
    pub doubled: usize,
    /// Largest delay between a mail's due instant and the begin of its sending: the generator's own lateness.
    pub generator_lag: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        let assigned = |quantile: f64| milliseconds(self.time_to_assign.quantile(quantile));
        let rate = self.sent as f64 / self.elapsed.as_secs_f64().max(0.001);
        writeln!(f, "mails sent and acknowledged   {:>10}", self.sent)?;
        writeln!(f, "throughput                    {rate:>10.1} mails/s")?;
        writeln!(f, "time to assign p50            {:>10.1} ms", assigned(0.5))?;
        writeln!(f, "time to assign p99            {:>10.1} ms", assigned(0.99))?;
        writeln!(f, "time to assign max            {:>10.1} ms", assigned(1.0))?;
        writeln!(f, "generator late by at most     {:>10.1} ms", milliseconds(self.generator_lag))?;
        writeln!(f, "lost                          {:>10}", self.lost)?;
        write!(f, "double                        {:>10}", self.doubled)
    }
}
