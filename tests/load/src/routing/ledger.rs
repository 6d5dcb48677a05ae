//! What is known of every message of a run: when it was due, and when, at whom and as which interaction it first rang.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::Took;

/// One message's marks; zero is "not yet".
#[derive(Debug, Default)]
struct Line {
    /// Microseconds from the beginning of the run, plus one.
    due: AtomicU64,
    rang: AtomicU64,
    /// Number of the agent, plus one.
    agent: AtomicUsize,
    /// Half of the interaction's id, which is random.
    interaction: AtomicU64,
}

/// All of them; shared between the tasks without a lock.
#[derive(Debug)]
pub struct Ledger {
    begun: Instant,
    lines: Vec<Line>,
    rung: AtomicUsize,
    /// Rings at a second agent.
    moved: AtomicUsize,
    /// Second interactions of one message.
    twice: AtomicUsize,
}

/// What was found of a range of messages.
#[derive(Debug)]
pub struct Found {
    /// From the due instant to the first ring.
    pub time_to_assign: Took,
    /// Messages that never rang.
    pub lost: usize,
    /// Messages that rang, by second from the beginning of the range.
    pub per_second: Vec<u64>,
    /// Due instant of the first to the last ring.
    pub elapsed: Duration,
}

impl Ledger {
    /// With room for so many messages.
    pub fn new(messages: usize) -> Self {
        Self {
            begun: Instant::now(),
            lines: (0..messages).map(|_| Line::default()).collect(),
            rung: AtomicUsize::new(0),
            moved: AtomicUsize::new(0),
            twice: AtomicUsize::new(0),
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begun).as_micros()).unwrap_or(u64::MAX - 1) + 1
    }

    /// A message is due at an instant.
    pub fn due(&self, message: usize, at: Instant) {
        if let Some(line) = self.lines.get(message) {
            line.due.store(self.micros(at), Ordering::Relaxed);
        }
    }

    /// A message rings at an agent as an interaction; true the first time.
    pub fn rang(&self, message: usize, agent: usize, interaction: &str, at: Instant) -> bool {
        let Some(line) = self.lines.get(message) else { return false };
        let id = Uuid::try_parse(interaction).map_or(0, |id| id.as_u64_pair().1);
        if line
            .interaction
            .compare_exchange(0, id, Ordering::Relaxed, Ordering::Relaxed)
            .is_err_and(|known| known != id)
        {
            self.twice.fetch_add(1, Ordering::Relaxed);
        }
        match line.agent.compare_exchange(0, agent + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {
                line.rang.store(self.micros(at), Ordering::Release);
                self.rung.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(holder) => {
                if holder != agent + 1 {
                    self.moved.fetch_add(1, Ordering::Relaxed);
                }
                false
            }
        }
    }

    /// Messages that rang so far.
    pub fn rung(&self) -> usize {
        self.rung.load(Ordering::Relaxed)
    }

    /// Rings at a second agent, and second interactions of one message. Where nobody leaves and no offer expires both must be none.
    pub fn doubled(&self) -> usize {
        self.moved.load(Ordering::Relaxed) + self.twice.load(Ordering::Relaxed)
    }

    /// When a message first rang.
    pub fn rang_at(&self, message: usize) -> Option<Instant> {
        let rang = self.lines.get(message)?.rang.load(Ordering::Acquire);
        (rang > 0).then(|| self.begun + Duration::from_micros(rang - 1))
    }

    /// The figures of a range of messages.
    ///
    /// # Errors
    /// When a duration is absurd.
    pub fn found(&self, range: std::ops::Range<usize>) -> anyhow::Result<Found> {
        let mut found =
            Found { time_to_assign: Took::none()?, lost: 0, per_second: Vec::new(), elapsed: Duration::ZERO };
        let lines = self.lines.get(range).unwrap_or_default();
        let first = lines
            .iter()
            .map(|line| line.due.load(Ordering::Relaxed))
            .filter(|due| *due > 0)
            .min()
            .unwrap_or(0);
        let mut last = first;
        for line in lines {
            let (due, rang) = (line.due.load(Ordering::Relaxed), line.rang.load(Ordering::Acquire));
            if rang == 0 || due == 0 {
                found.lost += 1;
                continue;
            }
            last = last.max(rang);
            found.time_to_assign.note(Duration::from_micros(rang.saturating_sub(due)))?;
            let second = usize::try_from(rang.saturating_sub(first) / 1_000_000)?;
            if found.per_second.len() <= second {
                found.per_second.resize(second + 1, 0);
            }
            if let Some(count) = found.per_second.get_mut(second) {
                *count += 1;
            }
        }
        found.elapsed = Duration::from_micros(last - first);
        Ok(found)
    }
}
