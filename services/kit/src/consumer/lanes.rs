//! Order and waiting of the messages a consumer holds: a lane per key, whose first message decides.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use async_nats::jetstream::message::Acker;
use tokio::time::Instant;
use uuid::Uuid;

use super::Delivery;

/// A held message.
pub(super) struct Entry {
    pub delivery: Delivery,
    /// Every delivery of it that wants an acknowledgement; none for a replay.
    pub ackers: Vec<Acker>,
    /// The dead letter it is a replay of.
    pub replay_of: Option<Uuid>,
    /// Attempts begun as far as known here; 0 before the first.
    pub attempts: u32,
    /// The next try must be counted before it begins.
    pub count_next: bool,
    /// Times it was busy or had to wait in a row.
    pub waits: u32,
    /// Last sign of life sent to the broker.
    pub alive_at: Instant,
}

/// Deliveries of one message that are remembered for acknowledgement.
const MAX_ACKERS: usize = 4;

type Lane = Uuid;

/// The messages held, by key.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: HashMap<Lane, VecDeque<Entry>>,
    ready: VecDeque<Lane>,
    waiting: BTreeMap<(Instant, u64), Lane>,
    /// Lanes with a message at work.
    working: HashSet<Lane>,
    ids: HashSet<Uuid>,
    /// Acks that came for a message while it was at work.
    late: HashMap<Uuid, Vec<Acker>>,
    counter: u64,
}

fn lane_of(delivery: &Delivery) -> Lane {
    delivery.key().unwrap_or_else(|| delivery.id())
}

impl Lanes {
    /// Takes a message in; a second delivery of a held one only adds its acknowledgement.
    pub fn push(&mut self, mut entry: Entry) {
        let (id, lane) = (entry.delivery.id(), lane_of(&entry.delivery));
        if !self.ids.insert(id) {
            let held = self
                .lanes
                .get_mut(&lane)
                .and_then(|lane| lane.iter_mut().find(|held| held.delivery.id() == id));
            let ackers = match held {
                Some(held) => &mut held.ackers,
                None => self.late.entry(id).or_default(),
            };
            ackers.append(&mut entry.ackers);
            let surplus = ackers.len().saturating_sub(MAX_ACKERS);
            ackers.drain(..surplus);
            return;
        }
        let entries = self.lanes.entry(lane).or_default();
        entries.push_back(entry);
        if entries.len() == 1 && !self.working.contains(&lane) {
            self.ready.push_back(lane);
        }
    }

    /// Lanes whose waiting time is over become ready.
    pub fn wake(&mut self, now: Instant) {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > now {
                return;
            }
            self.ready.push_back(first.remove());
        }
    }

    /// When the next lane wakes.
    pub fn next_wake(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(at, _)| *at)
    }

    /// True when as many messages are held as the broker may have out; redeliveries come on top of that.
    pub fn is_full(&self, max_ack_pending: i64) -> bool {
        i64::try_from(self.ids.len()).unwrap_or(i64::MAX) >= max_ack_pending.saturating_mul(2)
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Takes the next batch: a message that must be tried alone makes a batch of its own.
    pub fn take(&mut self, max: usize, one_per_key: bool, alone: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut batch = Vec::new();
        while batch.len() < max {
            let Some(lane) = self.ready.pop_front() else { break };
            let Some(entries) = self.lanes.get_mut(&lane) else { continue };
            let single = entries.front().is_some_and(&alone);
            if single && !batch.is_empty() {
                self.ready.push_front(lane);
                break;
            }
            self.working.insert(lane);
            while let Some(entry) = entries.pop_front() {
                batch.push(entry);
                let next_alone = entries.front().is_some_and(&alone);
                if single || one_per_key || next_alone || batch.len() >= max {
                    break;
                }
            }
            if entries.is_empty() {
                self.lanes.remove(&lane);
            }
            if single {
                break;
            }
        }
        batch
    }

    /// A message is done; answers every acknowledgement it is owed.
    pub fn done(&mut self, entry: Entry) -> Vec<Acker> {
        self.ids.remove(&entry.delivery.id());
        let mut ackers = entry.ackers;
        ackers.append(&mut self.late.remove(&entry.delivery.id()).unwrap_or_default());
        ackers
    }

    /// Puts messages of a batch that are not done back, at the front of their lanes, in the order given.
    pub fn put_back(&mut self, entries: Vec<(Entry, Instant)>) {
        for (mut entry, until) in entries.into_iter().rev() {
            let lane = lane_of(&entry.delivery);
            if let Some(mut late) = self.late.remove(&entry.delivery.id()) {
                entry.ackers.append(&mut late);
            }
            self.lanes.entry(lane).or_default().push_front(entry);
            self.working.remove(&lane);
            // Only the last one put at the front of a lane decides when the lane wakes.
            self.waiting.retain(|_, waiting| *waiting != lane);
            self.counter += 1;
            self.waiting.insert((until, self.counter), lane);
        }
    }

    /// After a batch: lanes at work that were not put back go on with their next message.
    pub fn finish_batch(&mut self) {
        for lane in std::mem::take(&mut self.working) {
            let waits = self.waiting.values().any(|waiting| *waiting == lane);
            if self.lanes.contains_key(&lane) && !waits {
                self.ready.push_back(lane);
            }
        }
    }

    pub fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.lanes.values_mut().flatten()
    }

    /// Everything held, to be handed back to the broker.
    pub fn drain(&mut self) -> Vec<Entry> {
        self.lanes.drain().flat_map(|(_, entries)| entries).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{HEADER_ID, HEADER_KEY};

    fn entry(key: u128, id: u128) -> Entry {
        let headers = vec![
            (HEADER_ID.to_owned(), Uuid::from_u128(id).to_string()),
            (HEADER_KEY.to_owned(), Uuid::from_u128(key).to_string()),
        ];
        Entry {
            delivery: Delivery::new("s", headers, ""),
            ackers: vec![],
            replay_of: None,
            attempts: 0,
            count_next: false,
            waits: 0,
            alive_at: Instant::now(),
        }
    }

    fn ids(batch: &[Entry]) -> Vec<u128> {
        batch.iter().map(|entry| entry.delivery.id().as_u128()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_per_key_in_order_and_a_held_message_holds_its_key() {
        let mut lanes = Lanes::default();
        for (key, id) in [(1, 10), (1, 11), (2, 20), (1, 12)] {
            lanes.push(entry(key, id));
        }
        let batch = lanes.take(10, true, |_| false);
        assert_eq!(ids(&batch), vec![10, 20]);
        let mut batch = batch.into_iter();
        let held = batch.next().unwrap();
        let _ = lanes.done(batch.next().unwrap());
        let until = Instant::now() + std::time::Duration::from_secs(1);
        lanes.put_back(vec![(held, until)]);
        lanes.finish_batch();
        assert!(!lanes.has_ready(), "11 must wait for 10");
        lanes.wake(until);
        let batch = lanes.take(10, true, |_| false);
        assert_eq!(ids(&batch), vec![10]);
        for entry in batch {
            let _ = lanes.done(entry);
        }
        lanes.finish_batch();
        assert_eq!(ids(&lanes.take(10, true, |_| false)), vec![11]);
    }

    #[tokio::test(start_paused = true)]
    async fn together_keeps_the_order_and_alone_is_alone() {
        let mut lanes = Lanes::default();
        for (key, id) in [(1, 10), (1, 11), (2, 20)] {
            lanes.push(entry(key, id));
        }
        lanes.push(entry(1, 10));
        let batch = lanes.take(10, false, |_| false);
        assert_eq!(ids(&batch), vec![10, 11, 20]);
        let until = Instant::now();
        lanes.put_back(batch.into_iter().map(|entry| (entry, until)).collect());
        lanes.finish_batch();
        lanes.wake(until);
        let alone = |entry: &Entry| entry.delivery.id().as_u128() == 11;
        let first = lanes.take(10, false, alone);
        assert!(!ids(&first).contains(&11));
        for entry in first {
            let _ = lanes.done(entry);
        }
        lanes.finish_batch();
        assert_eq!(ids(&lanes.take(10, false, alone)), vec![11]);
    }
}
