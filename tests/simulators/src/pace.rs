//! How fast is sent: the throughput of a number and the rate of a pair, counted, and every excess remembered.
//!
//! Plain counting without a clock of its own. Throughput: any second of a number, in and out together. Pair: 45 at
//! once, repaid at one per six seconds, which is a cell rate with a burst.

use std::collections::{HashMap, VecDeque};

use serde::Serialize;

use crate::config::Pace;

/// Which limit a message exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Excess {
    /// 130429: more than the number's throughput in one second.
    Number,
    /// 131056: more than the pair's rate.
    Pair,
}

impl Excess {
    /// Meta's code for it.
    pub fn code(self) -> u32 {
        match self {
            Self::Number => 130_429,
            Self::Pair => 131_056,
        }
    }
}

/// The counters.
#[derive(Debug, Default)]
pub struct Pacer {
    numbers: HashMap<String, VecDeque<u64>>,
    /// Per pair: when the next message would be due if all went evenly, in milliseconds.
    pairs: HashMap<(String, String), u64>,
    peaks: HashMap<String, usize>,
}

impl Pacer {
    /// A message out at `now` (milliseconds, any origin). What is refused does not count against the limits.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub fn outgoing(&mut self, limits: &Pace, number: &str, customer: &str, now: u64) -> Result<(), Excess> {
        let window = self.numbers.entry(number.to_owned()).or_default();
        forget(window, now);
        if window.len() >= limits.per_number_per_second as usize {
            return Err(Excess::Number);
        }
        let pair = (number.to_owned(), customer.to_owned());
        let due = self.pairs.get(&pair).copied().unwrap_or(0).max(now);
        let ahead = limits.pair_every_ms.saturating_mul(u64::from(limits.pair_burst.saturating_sub(1)));
        if due - now > ahead {
            return Err(Excess::Pair);
        }
        self.pairs.insert(pair, due + limits.pair_every_ms);
        self.count(number, now);
        Ok(())
    }

    /// A message in: it counts for the number's throughput, and is never refused.
    pub fn incoming(&mut self, number: &str, now: u64) {
        self.count(number, now);
    }

    /// Most messages of `number` in any one second so far.
    pub fn peak(&self, number: &str) -> usize {
        self.peaks.get(number).copied().unwrap_or(0)
    }

    fn count(&mut self, number: &str, now: u64) {
        let window = self.numbers.entry(number.to_owned()).or_default();
        forget(window, now);
        window.push_back(now);
        let peak = self.peaks.entry(number.to_owned()).or_default();
        *peak = (*peak).max(window.len());
    }
}

fn forget(window: &mut VecDeque<u64>, now: u64) {
    while window.front().is_some_and(|at| at + 1_000 <= now) {
        window.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_81st_message_within_a_second_is_one_too_many_and_the_next_second_is_free() {
        let (mut pacer, limits) = (Pacer::default(), Pace::default());
        for i in 0..80 {
            assert_eq!(pacer.outgoing(&limits, "n", &format!("c{i}"), 5), Ok(()), "message {i}");
        }
        assert_eq!(pacer.outgoing(&limits, "n", "c80", 1_004), Err(Excess::Number));
        assert_eq!(pacer.outgoing(&limits, "other", "c80", 1_004), Ok(()), "each number has its own");
        assert_eq!(pacer.outgoing(&limits, "n", "c80", 1_005), Ok(()));
        assert_eq!(pacer.peak("n"), 80);
    }

    #[test]
    fn messages_in_count_for_the_throughput() {
        let (mut pacer, limits) = (Pacer::default(), Pace { per_number_per_second: 2, ..Pace::default() });
        pacer.incoming("n", 0);
        pacer.incoming("n", 0);
        assert_eq!(pacer.outgoing(&limits, "n", "c", 10), Err(Excess::Number));
    }

    #[test]
    fn a_pair_may_burst_45_and_then_repays_at_one_per_six_seconds() {
        let (mut pacer, limits) = (Pacer::default(), Pace::default());
        for i in 0..45 {
            assert_eq!(pacer.outgoing(&limits, "n", "c", 0), Ok(()), "message {i}");
        }
        assert_eq!(pacer.outgoing(&limits, "n", "c", 5_999), Err(Excess::Pair));
        assert_eq!(pacer.outgoing(&limits, "n", "d", 5_999), Ok(()), "another customer is not touched");
        assert_eq!(pacer.outgoing(&limits, "n", "c", 6_000), Ok(()));
        assert_eq!(pacer.outgoing(&limits, "n", "c", 6_001), Err(Excess::Pair));
        let much_later = 6_000 + 46 * 6_000;
        for i in 0..45 {
            assert_eq!(pacer.outgoing(&limits, "n", "c", much_later), Ok(()), "full again, message {i}");
        }
        assert_eq!(pacer.outgoing(&limits, "n", "c", much_later), Err(Excess::Pair));
    }

    #[test]
    fn what_is_refused_costs_nothing() {
        let (mut pacer, limits) = (Pacer::default(), Pace { pair_burst: 1, ..Pace::default() });
        assert_eq!(pacer.outgoing(&limits, "n", "c", 0), Ok(()));
        for at in 0..50 {
            assert_eq!(pacer.outgoing(&limits, "n", "c", at), Err(Excess::Pair));
        }
        assert_eq!(pacer.outgoing(&limits, "n", "c", 6_000), Ok(()));
    }
}
