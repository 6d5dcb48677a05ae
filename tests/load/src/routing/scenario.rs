//! What a run is, and what was found. The scenarios differ in what is beside the messages: items that wait elsewhere, a schedule with a
//! burst, agents who come late, agents who work, a part that is killed or a configuration that changes in the middle.

use std::time::Duration;

use super::disturb::{Disturbance, Effect};
use super::meter::Sample;
use super::work::{Cycles, Work};
use super::{Found, Order, Sent, World};
use crate::probe::Commits;

/// Messages at one rate.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// Messages per second.
    pub rate: f64,
    /// For so long.
    pub lasting: Duration,
}

impl Phase {
    /// How many.
    pub fn messages(&self) -> usize {
        (self.rate * self.lasting.as_secs_f64()).round() as usize
    }
}

/// What a run is.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// Who works where.
    pub world: World,
    /// Messages beforehand for campaigns nobody serves.
    pub waiting: usize,
    /// The schedule.
    pub phases: Vec<Phase>,
    /// Agents come only when all messages are in; time to assign then counts from when they all are there.
    pub late: bool,
    /// What agents do with what rings at them.
    pub work: Work,
    /// What happens in the middle of the schedule.
    pub disturbance: Option<Disturbance>,
    /// Longest wait for the last ring after the last message.
    pub settle: Duration,
    /// The floor and the peer run for so long each, after the scenario.
    pub compare: Option<Duration>,
}

/// What else the same servers do.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// Messages per second of the floor: the same rows, bytes and publications without any logic.
    pub floor: f64,
    /// Assignments per second of a plain durable queue in PostgreSQL.
    pub peer: f64,
    /// Rows inserted, updated and deleted, and events published, per message: what the floor repeats.
    pub shape: super::floor::Shape,
}

/// What was found.
#[derive(Debug)]
pub struct Outcome {
    /// Messages that were due.
    pub messages: usize,
    /// Rings.
    pub found: Found,
    /// Rings at a second agent, and second interactions of one message.
    pub doubled: usize,
    /// The generator.
    pub sent: Sent,
    /// The public events, read afterwards.
    pub order: Order,
    /// Single-row commits meanwhile.
    pub commits: Commits,
    /// Every second's processes.
    pub samples: Vec<Sample>,
    /// Streams that broke.
    pub broken: usize,
    /// Heartbeats that were not answered.
    pub missed: usize,
    /// From the end of the fastest phase to the last ring of a message due until then.
    pub drained: Duration,
    /// From the disturbance until in every group a message due after it had rung; the largest duration when in one none had.
    pub again: Option<Duration>,
    /// What a new configuration did.
    pub effect: Option<Effect>,
    /// What the agents did.
    pub cycles: Option<Cycles>,
    /// The largest difference between the items of two agents of one team; nothing where they are no equals.
    pub spread: Option<usize>,
    /// Memory of routing before anything waited and when all did, in KiB.
    pub routing_kib: (u64, u64),
    /// The same servers without Hilo.
    pub compared: Option<Compared>,
}

impl Outcome {
    /// Assignments per second, from the first due instant to the last ring.
    pub fn rate(&self) -> f64 {
        (self.messages - self.found.lost) as f64 / self.found.elapsed.as_secs_f64().max(0.001)
    }

    /// Whole cycles per second, from the first due instant until the last was found in the history.
    pub fn cycle_rate(&self) -> f64 {
        self.cycles
            .as_ref()
            .map_or(0.0, |cycles| cycles.found as f64 / cycles.lasted.as_secs_f64().max(0.001))
    }

    /// True when nothing was lost, doubled or out of order, and every cycle came to its end.
    pub fn is_exact(&self) -> bool {
        let whole = self.cycles.as_ref().is_none_or(|cycles| cycles.unfinished(self.messages) == 0);
        self.found.lost == 0 && self.doubled == 0 && self.order.out_of_order == 0 && whole
    }
}
