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
