//! What is known of every message of a run: when it was due, and when, at whom and as which interaction it first rang.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::Took;

/// One message's marks; zero is "not yet".
#[derive(Debug, Default)]
struct Line {
    /// The campaign it is for.
    campaign: AtomicUsize,
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

/// What rang in one second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Second {
    /// Messages.
    pub rang: usize,
    /// Median of their time to assign, in milliseconds.
    pub p50: f64,
    /// Its 99th percentile.
    pub p99: f64,
}

/// What was found of a range of messages.
#[derive(Debug)]
pub struct Found {
    /// From the due instant to the first ring.
    pub time_to_assign: Took,
    /// Messages that never rang.
    pub lost: usize,
    /// By second from the first due instant.
    pub seconds: Vec<Second>,
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

    /// A message for a campaign is due at an instant.
    pub fn due(&self, message: usize, campaign: usize, at: Instant) {
        if let Some(line) = self.lines.get(message) {
            line.campaign.store(campaign, Ordering::Relaxed);
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

    /// From an instant until in every group of so many campaigns a message that was due after it had rung; nothing when in one none has.
    pub fn again(&self, at: Instant, group: usize) -> Option<Duration> {
        let after = self.micros(at);
        let mut first: BTreeMap<usize, u64> = BTreeMap::new();
        for line in self.lines.iter().filter(|line| line.due.load(Ordering::Relaxed) > after) {
            let rang = Some(line.rang.load(Ordering::Acquire)).filter(|rang| *rang > 0).unwrap_or(u64::MAX);
            let known = first.entry(line.campaign.load(Ordering::Relaxed) / group.max(1)).or_insert(u64::MAX);
            *known = rang.min(*known);
        }
        let last = first.into_values().max().filter(|last| *last < u64::MAX)?;
        Some(Duration::from_micros(last.saturating_sub(after)))
    }

    /// The largest difference between the items of a range of two agents of one team: what turns or least load let grow among equals.
    pub fn spread(&self, range: std::ops::Range<usize>, agents: usize, team: usize) -> usize {
        let mut counts = vec![0_usize; agents];
        for line in self.lines.get(range).unwrap_or_default() {
            let agent = line.agent.load(Ordering::Relaxed).checked_sub(1);
            if let Some(count) = agent.and_then(|agent| counts.get_mut(agent)) {
                *count += 1;
            }
        }
        let spread = |team: &[usize]| team.iter().max().unwrap_or(&0) - team.iter().min().unwrap_or(&0);
        counts.chunks(team.max(1)).map(spread).max().unwrap_or_default()
    }

    /// The last ring of a range of messages.
    pub fn last_ring(&self, range: std::ops::Range<usize>) -> Option<Instant> {
        let lines = self.lines.get(range).unwrap_or_default();
        let last =
            lines.iter().map(|line| line.rang.load(Ordering::Acquire)).max().filter(|rang| *rang > 0)?;
        Some(self.begun + Duration::from_micros(last - 1))
    }

    /// The figures of a range of messages, each counted from when it was due, or from `since` where that is later.
    ///
    /// # Errors
    /// When a duration is absurd.
    pub fn found(&self, range: std::ops::Range<usize>, since: Option<Instant>) -> anyhow::Result<Found> {
        let mut found =
            Found { time_to_assign: Took::none()?, lost: 0, seconds: Vec::new(), elapsed: Duration::ZERO };
        let lines = self.lines.get(range).unwrap_or_default();
        let since = since.map_or(0, |since| self.micros(since));
        let due = |line: &Line| line.due.load(Ordering::Relaxed);
        let first = lines.iter().map(due).filter(|due| *due > 0).min().unwrap_or(0).max(since);
        let (mut last, mut seconds): (u64, Vec<Vec<u32>>) = (first, Vec::new());
        for line in lines {
            let rang = line.rang.load(Ordering::Acquire);
            if rang == 0 || due(line) == 0 {
                found.lost += 1;
                continue;
            }
            last = last.max(rang);
            let took = rang.saturating_sub(due(line).max(since));
            found.time_to_assign.note(Duration::from_micros(took))?;
            let second = usize::try_from(rang.saturating_sub(first) / 1_000_000)?;
            if seconds.len() <= second {
                seconds.resize(second + 1, Vec::new());
            }
            if let Some(second) = seconds.get_mut(second) {
                second.push(u32::try_from(took).unwrap_or(u32::MAX));
            }
        }
        found.seconds = seconds.into_iter().map(Second::of).collect();
        found.elapsed = Duration::from_micros(last - first);
        Ok(found)
    }
}

impl Second {
    fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let at = |hundredth: usize| {
            let place = (micros.len() * hundredth / 100).min(micros.len().saturating_sub(1));
            micros.get(place).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
        };
        Self { rang: micros.len(), p50: at(50), p99: at(99) }
    }
}
