//! Pace: the generic cell rate algorithm (ITU-T I.371), per number in the owner's memory and per customer in the ledger.

use std::time::Duration;

/// Part of what Meta grants that is used: requests bunch up on their way.
const SHARE: f64 = 0.97;
/// The owner looks about this often, so that this part of a second leaves at once.
const LOOKS_PER_SECOND: f64 = 20.0;

/// Pace of a number: in no second more than it is granted.
#[derive(Clone, Copy, Debug)]
pub struct NumberPace {
    interval: f64,
    burst: f64,
    /// Theoretical arrival time, seconds on the owner's monotonic clock.
    arrival: f64,
}

impl NumberPace {
    /// For so many messages per second.
    pub fn new(per_second: u32) -> Self {
        let granted = f64::from(per_second.max(1));
        let burst = (granted / LOOKS_PER_SECOND).floor().max(1.0);
        // A burst and one second of the rate together are what a second may hold.
        let rate = (granted - burst + 1.0) * SHARE;
        Self { interval: 1.0 / rate, burst, arrival: 0.0 }
    }

    /// The same number under another grant.
    #[must_use]
    pub fn regranted(self, per_second: u32) -> Self {
        Self { arrival: self.arrival, ..Self::new(per_second) }
    }

    /// How many may leave now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the burst, at most 50"
    )]
    pub fn free(&self, now: Duration) -> usize {
        let ahead = (self.arrival - now.as_secs_f64()).max(0.0);
        (self.burst - ahead / self.interval + 1e-6).floor().clamp(0.0, self.burst) as usize
    }

    /// So many leave now.
    pub fn spend(&mut self, now: Duration, count: usize) {
        let count = u32::try_from(count).map_or(f64::from(u32::MAX), f64::from);
        self.arrival = self.arrival.max(now.as_secs_f64()) + self.interval * count;
    }

    /// Until the next one may leave.
    pub fn wait(&self, now: Duration) -> Duration {
        let ahead = self.arrival - now.as_secs_f64();
        Duration::from_secs_f64((ahead - (self.burst - 1.0) * self.interval).clamp(0.0, 3600.0))
    }
}

/// Pace towards one customer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairPace {
    /// Seconds between two in the long run.
    pub interval: f64,
    /// So many may follow each other at once.
    pub burst: u32,
}

impl PairPace {
    /// The pace where Meta grants so much: one of the burst is left, because a request can overtake the time that an earlier one
    /// took on its way, and Meta counts when they arrive.
    pub fn granted(interval: f64, burst: u32) -> Self {
        Self { interval: interval / SHARE, burst: burst.saturating_sub(1).max(1) }
    }

    /// `ahead`: seconds from now to the theoretical arrival time. Answers the same after one has left, or the seconds to wait.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn ask(self, ahead: f64) -> Result<f64, f64> {
        let ahead = ahead.max(0.0);
        let tolerance = self.interval * f64::from(self.burst.saturating_sub(1));
        if ahead <= tolerance + 1e-6 { Ok(ahead + self.interval) } else { Err(ahead - tolerance) }
    }

    /// Seconds to the theoretical arrival time after which nothing leaves for `pause`.
    pub fn paused(self, pause: Duration) -> f64 {
        self.interval * f64::from(self.burst.saturating_sub(1)) + pause.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Departures in milliseconds of everything that a number sends at once, looked for every `step` milliseconds.
    fn departures(per_second: u32, total: usize, step: u64) -> Vec<u64> {
        let mut pace = NumberPace::new(per_second);
        let (mut now, mut gone) = (0, Vec::new());
        while gone.len() < total {
            let free = pace.free(Duration::from_millis(now)).min(total - gone.len());
            pace.spend(Duration::from_millis(now), free);
            gone.extend(std::iter::repeat_n(now, free));
            now += step;
        }
        gone
    }

    #[test]
    fn no_second_holds_more_than_granted_and_the_rate_is_used() {
        for (granted, step) in [(1, 10), (7, 1), (20, 5), (80, 1), (80, 50), (80, 333), (500, 2), (1000, 1)] {
            let gone = departures(granted, granted as usize * 5, step);
            for (n, at) in gone.iter().enumerate() {
                let within = gone[n..].iter().take_while(|other| **other < at + 1000).count();
                assert!(within <= granted as usize, "{granted}/s, looked every {step} ms: {within}");
            }
            if step <= 50 {
                let took = *gone.last().unwrap();
                assert!(took <= 6_000, "{granted}/s, looked every {step} ms: {took} ms");
            }
        }
    }

    #[test]
    fn waiting_as_long_as_told_frees_one() {
        let mut pace = NumberPace::new(80);
        let now = Duration::from_secs(5);
        pace.spend(now, pace.free(now));
        assert_eq!(pace.free(now), 0);
        assert!(pace.free(now + pace.wait(now)) >= 1);
    }

    #[test]
    fn a_customer_gets_a_burst_and_then_one_every_interval() {
        let pace = PairPace { interval: 6.0, burst: 45 };
        let (mut ahead, mut sent, mut waited) = (0.0, 0, 0.0);
        while sent < 200 {
            match pace.ask(ahead) {
                Ok(next) => (ahead, sent) = (next, sent + 1),
                Err(wait) => {
                    assert!(sent >= 45, "the burst comes at once");
                    ahead -= wait;
                    waited += wait;
                }
            }
        }
        assert!((waited - 155.0 * 6.0).abs() < 0.01, "{waited}");
        assert_eq!(PairPace::granted(6.0, 45).burst, 44);
        assert_eq!(PairPace::granted(6.0, 1).burst, 1);
        assert!(pace.ask(pace.paused(Duration::from_secs(3))).is_err_and(|wait| (wait - 3.0).abs() < 1e-6));
    }
}
