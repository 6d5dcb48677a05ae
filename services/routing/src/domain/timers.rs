//! Deadlines of items and holds: buckets of about a second, and a heap for the bucket that has come.
//!
//! Setting a timer appends to a bucket, so it costs the same with half a million of them as with a thousand (a single
//! heap did not: every offer's timer rises to its top through memory that no cache holds). Entries are never searched
//! for: one that no longer counts is dropped when it surfaces, a bucket in which none counts is dropped whole, and when
//! litter prevails all the same, each call sweeps one bucket, so that no call pays for all of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::ids::{AgentId, Channel};
use super::time::Instant;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKind {
    /// The item in this slot, if its timer is still set to this instant (a later tenant with a timer for the very same
    /// instant is woken once too often, which changes nothing).
    Item { slot: u32 },
    /// The end of an agent's hold.
    Hold { agent: AgentId, channel: Channel },
}

/// A timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub(super) at: Instant,
    pub(super) kind: TimerKind,
}

/// Width of a bucket: 2^20 microseconds.
const BUCKET_BITS: u32 = 20;
/// Litter below this number is not worth a sweep.
const SWEEP_FLOOR: usize = 1_024;

/// Timers of one bucket.
#[derive(Debug, Default)]
struct Bucket {
    timers: Vec<Timer>,
    /// How many of them count.
    live: usize,
}

/// All timers.
#[derive(Debug)]
pub(super) struct Timers {
    /// Timers of the buckets that have come.
    near: BinaryHeap<Reverse<Timer>>,
    near_live: usize,
    /// The later ones by bucket.
    far: BTreeMap<i64, Bucket>,
    far_stored: usize,
    far_live: usize,
    /// Buckets up to this one have come.
    came: i64,
    /// Where sweeping goes on.
    broom: i64,
}

impl Default for Timers {
    fn default() -> Self {
        let (near, far) = (BinaryHeap::new(), BTreeMap::new());
        Self { near, near_live: 0, far, far_stored: 0, far_live: 0, came: i64::MIN, broom: i64::MIN }
    }
}

fn bucket_of(at: Instant) -> i64 {
    at.0 >> BUCKET_BITS
}

impl Timers {
    pub(super) fn push(&mut self, timer: Timer) {
        let number = bucket_of(timer.at);
        if number <= self.came {
            self.near_live += 1;
            self.near.push(Reverse(timer));
        } else {
            self.far_stored += 1;
            self.far_live += 1;
            let bucket = self.far.entry(number).or_default();
            bucket.live += 1;
            bucket.timers.push(timer);
        }
    }

    /// Says that the timer pushed for this instant no longer counts. A bucket in which none counts is dropped whole,
    /// without looking at its entries: what is served in order of arrival empties bucket after bucket.
    pub(super) fn forget(&mut self, at: Instant) {
        let number = bucket_of(at);
        if number <= self.came {
            self.near_live = self.near_live.saturating_sub(1);
        } else if let Some(bucket) = self.far.get_mut(&number) {
            self.far_live = self.far_live.saturating_sub(1);
            bucket.live = bucket.live.saturating_sub(1);
            if bucket.live == 0 {
                self.far_stored -= bucket.timers.len();
                self.far.remove(&number);
            }
        }
    }

    /// Takes the earliest timer that is due and counts, if any.
    pub(super) fn pop_due(&mut self, now: Instant, counts: impl Fn(&Timer) -> bool) -> Option<Timer> {
        self.advance(now, &counts);
        while let Some(Reverse(first)) = self.near.peek().copied()
            && first.at <= now
        {
            self.near.pop();
            if counts(&first) {
                self.near_live = self.near_live.saturating_sub(1);
                return Some(first);
            }
        }
        None
    }

    /// Moves the buckets that have come into the heap.
    fn advance(&mut self, now: Instant, counts: &impl Fn(&Timer) -> bool) {
        let present = bucket_of(now);
        if present <= self.came {
            return;
        }
        self.came = present;
        while let Some(entry) = self.far.first_entry()
            && *entry.key() <= present
        {
            let bucket = entry.remove();
            self.far_stored -= bucket.timers.len();
            self.far_live -= bucket.live;
            self.near_live += bucket.live;
            self.near.extend(bucket.timers.into_iter().filter(counts).map(Reverse));
        }
    }

    /// Sweeps one bucket when litter prevails.
    pub(super) fn sweep_some(&mut self, counts: impl Fn(&Timer) -> bool) {
        if self.near.len() > 2 * self.near_live + SWEEP_FLOOR {
            self.near.retain(|Reverse(timer)| counts(timer));
        }
        if self.far_stored <= 2 * self.far_live + SWEEP_FLOOR {
            return;
        }
        let Some((number, bucket)) = self.far.range_mut(self.broom..).next() else {
            self.broom = i64::MIN;
            return;
        };
        self.broom = *number + 1;
        if bucket.timers.len() > 2 * bucket.live {
            let before = bucket.timers.len();
            bucket.timers.retain(|timer| counts(timer));
            self.far_stored -= before - bucket.timers.len();
        }
    }

    /// When to look again at the latest: not later than the earliest timer that counts, possibly earlier.
    pub(super) fn first(&self) -> Option<Instant> {
        let near = self.near.peek().map(|Reverse(timer)| timer.at);
        let far = self.far.first_key_value().map(|(bucket, _)| Instant(bucket << BUCKET_BITS));
        match (near, far) {
            (Some(near), Some(far)) => Some(near.min(far)),
            (near, far) => near.or(far),
        }
    }
}
