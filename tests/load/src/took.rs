//! How long things took, to be told by quantiles.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

/// Durations, to the microsecond and three digits.
#[derive(Debug)]
pub struct Took(Histogram<u64>);

impl Took {
    /// None yet.
    ///
    /// # Errors
    /// Never: three digits can be kept.
    pub fn none() -> Result<Self> {
        Ok(Self(Histogram::new(3)?))
    }

    /// Notes one.
    ///
    /// # Errors
    /// When there is no room for one as long as this.
    pub fn note(&mut self, one: Duration) -> Result<()> {
        Ok(self.0.record(u64::try_from(one.as_micros()).unwrap_or(u64::MAX))?)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// How many took how long, in steps of a tenth of a power of ten: the lower edge in milliseconds (the first, 0.1, has the shorter
    /// ones too) and the count, from the first step that has any to the last.
    pub fn steps(&self) -> Vec<(f64, u64)> {
        let mut counts: Vec<u64> = Vec::new();
        for value in self.0.iter_recorded() {
            let step = ((value.value_iterated_to() as f64 / 100.0).max(1.0).log10() * 10.0) as usize;
            if counts.len() <= step {
                counts.resize(step + 1, 0);
            }
            if let Some(count) = counts.get_mut(step) {
                *count += value.count_since_last_iteration();
            }
        }
        let edge = |step: usize| 0.1 * 10_f64.powf(step as f64 / 10.0);
        let steps = counts.into_iter().enumerate().map(|(step, count)| (edge(step), count));
        steps.skip_while(|step| step.1 == 0).collect()
    }

    /// A quantile, 0 to 1; zero when there are none.
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }
}

/// Median, 99th percentile and largest, in milliseconds.
impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |quantile: f64| self.quantile(quantile).as_secs_f64() * 1_000.0;
        write!(f, "{:.1} {:.1} {:.1}", at(0.5), at(0.99), at(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_hold_everything_once() -> Result<()> {
        let mut took = Took::none()?;
        for micros in [0, 5, 150, 5_000, 5_100, 2_000_000] {
            took.note(Duration::from_micros(micros))?;
        }
        let steps = took.steps();
        assert_eq!(steps.iter().map(|step| step.1).sum::<u64>(), 6);
        assert_eq!(steps.first().map(|step| (step.0 * 10.0, step.1)), Some((1.0, 2)));
        let last = steps.last().map(|step| (step.0.round(), step.1));
        assert_eq!(last, Some((1_995.0, 1)));
        Ok(())
    }
}
