//! The snapshot: read after the consumer stands, merged by version with the events that come meanwhile.
//!
//! The same way serves the first build and the comparison every few minutes. What the engine knew before the snapshot
//! began, and the snapshot does not mention, has gone.

use std::collections::HashMap;

use hilo_proto::internal::v1::LiveInteraction;

use super::{Effect, Partition};
use crate::domain::{Input, Instant, InteractionId, Span};

/// After a failed reading.
const RETRY: Span = Span::millis(500);

#[derive(Debug)]
struct Running {
    number: u64,
    /// Items known when it began and not mentioned yet, with their versions then.
    unmentioned: HashMap<InteractionId, i64>,
}

/// Where the reading stands.
#[derive(Debug, Default)]
pub struct SyncState {
    built: bool,
    started: u64,
    running: Option<Running>,
    /// Asked for while one was running.
    again: bool,
    due_at: Option<Instant>,
}

impl SyncState {
    /// True once a first reading is complete.
    pub fn is_built(&self) -> bool {
        self.built
    }

    /// When the next reading is due.
    pub fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// An item was mentioned, by whatever.
    pub fn saw(&mut self, interaction: InteractionId) {
        if let Some(running) = &mut self.running {
            running.unmentioned.remove(&interaction);
        }
    }
}

impl Partition {
    /// Reads the snapshot anew, now or right after the reading that is running.
    pub fn start_sync(&mut self) {
        if self.campaigns.is_empty() {
            return;
        }
        if self.sync.running.is_some() {
            self.sync.again = true;
            return;
        }
        self.sync.started += 1;
        self.sync.due_at = None;
        self.sync.running =
            Some(Running { number: self.sync.started, unmentioned: self.engine.live().collect() });
        self.around.metrics.syncs.add(1, &[]);
        self.effects.push(Effect::Sync(self.sync.started));
    }

    pub(super) fn sync_if_due(&mut self, now: Instant) {
        if self.sync.due_at.is_some_and(|at| at <= now) {
            self.start_sync();
        }
    }

    fn is_running(&self, number: u64) -> bool {
        self.sync.running.as_ref().is_some_and(|running| running.number == number)
    }

    /// A page of the snapshot.
    pub fn page(&mut self, number: u64, interactions: &[LiveInteraction], now: Instant) {
        if !self.is_running(number) {
            return;
        }
        for live in interactions {
            if let Err(error) = self.live(live, now) {
                self.around.metrics.poison.add(1, &[]);
                error.log("reading an item of the snapshot; it is not offered");
            }
        }
    }

    /// The last page is in, or the reading failed.
    pub fn synced(&mut self, number: u64, complete: bool, every: Span, now: Instant) {
        if !self.is_running(number) {
            return;
        }
        let Some(running) = self.sync.running.take() else { return };
        if !complete {
            self.sync.due_at = Some(now + RETRY);
            return;
        }
        for (interaction, version) in running.unmentioned {
            self.traces.remove(&interaction);
            self.feed(Input::Gone { interaction, version }, now);
        }
        self.sync.due_at = Some(now + every);
        if !self.sync.built {
            self.sync.built = true;
            tracing::info!(
                partition = self.number,
                epoch = self.epoch,
                items = self.engine.live_items(),
                seconds = self.held_since.elapsed().as_secs_f64(),
                "partition built"
            );
            // Only now is it known who waited longest, so only now may anybody be offered anything.
            self.look_at_everybody(now);
        }
        if std::mem::take(&mut self.sync.again) {
            self.start_sync();
        }
    }
}
