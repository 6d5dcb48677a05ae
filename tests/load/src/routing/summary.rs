//! A run as it is kept: one JSON file and one page, `.hilo/load/NAME.json` and `.html`, and the lines printed at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use super::meter::{cores, memory, used};
use super::{Compared, Outcome, Scenario};
use crate::Took;

/// Durations by quantile, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Quantiles {
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

impl From<&Took> for Quantiles {
    fn from(took: &Took) -> Self {
        let at = |quantile: f64| took.quantile(quantile).as_secs_f64() * 1_000.0;
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: at(1.0) }
    }
}

/// A part of the house.
#[derive(Debug, Serialize)]
pub struct Part {
    name: String,
    /// CPU cores on average.
    cores: f64,
    /// Largest memory.
    most_mib: f64,
    /// Growth over the second half.
    mib_per_minute: f64,
    /// Cores, second by second.
    pub cores_by_second: Vec<f64>,
    /// MiB, second by second.
    pub mib_by_second: Vec<f64>,
}

impl Part {
    /// Its name: a service, `postgres`, `nats-server` or `generator`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A second of the run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Moment {
    /// Messages that rang.
    pub rang: usize,
    /// Median of their time to assign, in milliseconds.
    pub p50: f64,
    /// Its 99th percentile.
    pub p99: f64,
}

/// The figures of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The scenario.
    pub name: String,
    /// What it was, in a sentence.
    pub what: String,
    date: String,
    durability: String,
    messages: usize,
    assignments_per_second: f64,
    cycles_per_second: Option<f64>,
    cycles_unfinished: Option<usize>,
    /// Time to assign, in milliseconds.
    pub time_to_assign_ms: Quantiles,
    /// Lower edges in milliseconds, and counts.
    pub histogram: Vec<(f64, u64)>,
    /// Second by second.
    pub seconds: Vec<Moment>,
    lost: usize,
    doubled: usize,
    out_of_order: usize,
    events: usize,
    events_repeated: usize,
    /// The largest difference between two agents of one team, where they are equals.
    spread: Option<usize>,
    commit_ms: Quantiles,
    floor_per_second: Option<f64>,
    of_the_floor: Option<f64>,
    peer_per_second: Option<f64>,
    of_the_peer: Option<f64>,
    shape: Option<super::floor::Shape>,
    drained_seconds: f64,
    again_seconds: Option<f64>,
    first_effect_ms: Option<f64>,
    last_of_the_old_ms: Option<f64>,
    stale_decisions: Option<usize>,
    generator_late_ms: f64,
    publications_repeated: usize,
    streams_broken: usize,
    heartbeats_missed: usize,
    /// By part.
    pub parts: Vec<Part>,
}

/// What was run, in a sentence.
fn what(size: &Scenario) -> String {
    let world = &size.world;
    let phases: Vec<String> = size
        .phases
        .iter()
        .map(|phase| format!("{}/s for {} s", phase.rate, phase.lasting.as_secs()))
        .collect();
    let mut what = format!(
        "{} agents in {} campaigns ({} to a routing group), {}; {}",
        world.agents(),
        world.campaigns,
        world.group,
        world.mode,
        phases.join(", then ")
    );
    let more = [
        (size.waiting > 0, format!("{} messages wait in other campaigns", size.waiting)),
        (world.selection, "skills, weights, ageing, VIPs and preferred agents".to_owned()),
        (size.late, "agents come when all messages are in".to_owned()),
        (
            size.disturbance.is_some(),
            format!("in the middle: {}", size.disturbance.map_or(String::new(), |one| format!("{one:?}"))),
        ),
        (size.work != super::Work::None, format!("agents: {:?}", size.work)),
    ];
    more.into_iter().filter(|one| one.0).for_each(|one| {
        what.push_str("; ");
        what.push_str(&one.1);
    });
    what
}

fn parts(outcome: &Outcome) -> Vec<Part> {
    let (mut by_cores, mut by_memory) = (cores(&outcome.samples), memory(&outcome.samples));
    let part = |(name, used): (String, super::meter::Used)| Part {
        cores: used.cores,
        most_mib: used.most_kib as f64 / 1_024.0,
        mib_per_minute: used.slope_kib / 1_024.0,
        cores_by_second: by_cores.remove(&name).unwrap_or_default(),
        mib_by_second: by_memory.remove(&name).unwrap_or_default(),
        name,
    };
    used(&outcome.samples).into_iter().map(part).collect()
}

impl Summary {
    /// Of a run.
    pub fn of(size: &Scenario, outcome: &Outcome) -> Self {
        let milliseconds = |duration: std::time::Duration| duration.as_secs_f64() * 1_000.0;
        let compared = outcome.compared.as_ref();
        let ratio = |other: fn(&Compared) -> f64| compared.map(|one| outcome.rate() / other(one).max(0.001));
        let sync = if size.world.synced { "always" } else { "2m (default)" };
        Self {
            name: size.name.clone(),
            what: what(size),
            date: time::OffsetDateTime::now_utc().date().to_string(),
            durability: format!("PostgreSQL fsync and synchronous_commit on, NATS sync_interval {sync}"),
            messages: outcome.messages,
            assignments_per_second: outcome.rate(),
            cycles_per_second: outcome.cycles.as_ref().map(|_| outcome.cycle_rate()),
            cycles_unfinished: outcome.cycles.as_ref().map(|cycles| cycles.unfinished(outcome.messages)),
            time_to_assign_ms: (&outcome.found.time_to_assign).into(),
            histogram: outcome.found.time_to_assign.steps(),
            seconds: outcome
                .found
                .seconds
                .iter()
                .map(|second| Moment { rang: second.rang, p50: second.p50, p99: second.p99 })
                .collect(),
            lost: outcome.found.lost,
            doubled: outcome.doubled,
            out_of_order: outcome.order.out_of_order,
            events: outcome.order.events,
            events_repeated: outcome.order.repeated,
            spread: outcome.spread,
            commit_ms: (&outcome.commits.took).into(),
            floor_per_second: compared.map(|one| one.floor),
            of_the_floor: ratio(|one| one.floor),
            peer_per_second: compared.map(|one| one.peer),
            of_the_peer: ratio(|one| one.peer),
            shape: compared.map(|one| one.shape),
            drained_seconds: outcome.drained.as_secs_f64(),
            again_seconds: outcome.again.map(|again| again.as_secs_f64()),
            first_effect_ms: outcome.effect.map(|effect| milliseconds(effect.first)),
            last_of_the_old_ms: outcome.effect.map(|effect| milliseconds(effect.last)),
            stale_decisions: outcome.effect.map(|effect| effect.stale),
            generator_late_ms: milliseconds(outcome.sent.lag),
            publications_repeated: outcome.sent.repeated,
            streams_broken: outcome.broken,
            heartbeats_missed: outcome.missed,
            parts: parts(outcome),
        }
    }

    /// The figures in the order they are told.
    pub fn figures(&self) -> Vec<(&'static str, String)> {
        let Self { time_to_assign_ms: took, commit_ms: commit, .. } = self;
        let per_second = |rate: f64, ratio: Option<f64>| {
            format!("{rate:.0}/s, we do {:.1} % of it", ratio.unwrap_or_default() * 100.0)
        };
        let quantiles = |of: &Quantiles| {
            let Quantiles { p50, p90, p99, p99_9, max } = of;
            format!("p50 {p50:.1} p90 {p90:.1} p99 {p99:.1} p99.9 {p99_9:.1} max {max:.1} ms")
        };
        let mut lines = vec![
            ("durability", self.durability.clone()),
            ("assignments", format!("{:.0}/s of {} messages", self.assignments_per_second, self.messages)),
            ("time to assign", quantiles(took)),
            (
                "faults",
                format!("{} lost, {} doubled, {} out of order", self.lost, self.doubled, self.out_of_order),
            ),
            ("events", format!("{} read afterwards, {} repeated", self.events, self.events_repeated)),
            ("commits meanwhile", quantiles(commit)),
            ("drained after", format!("{:.1} s", self.drained_seconds)),
        ];
        let optional = [
            ("fairness", self.spread.map(|spread| format!("spread {spread} among the agents of a team"))),
            (
                "cycles",
                self.cycles_per_second.map(|rate| {
                    format!("{rate:.0}/s whole, {} unfinished", self.cycles_unfinished.unwrap_or_default())
                }),
            ),
            (
                "assigning again",
                self.again_seconds.map(|again| match again < 1e6 {
                    true => format!("{again:.1} s after it began, in every group"),
                    false => "not in every group".to_owned(),
                }),
            ),
            ("new configuration", self.first_effect_ms.map(|first| self.effect(first))),
            ("floor", self.floor_per_second.map(|floor| per_second(floor, self.of_the_floor))),
            ("peer", self.peer_per_second.map(|peer| per_second(peer, self.of_the_peer))),
        ];
        lines.extend(optional.into_iter().filter_map(|(name, line)| Some((name, line?))));
        lines.push(("generator", self.generator()));
        lines
    }

    fn effect(&self, first: f64) -> String {
        format!(
            "first used after {first:.0} ms, the old one last after {:.0} ms, {} decisions under the old one after the answer",
            self.last_of_the_old_ms.unwrap_or_default(),
            self.stale_decisions.unwrap_or_default()
        )
    }

    fn generator(&self) -> String {
        format!(
            "late by at most {:.1} ms, {} publications repeated, {} streams broke, {} heartbeats missed",
            self.generator_late_ms, self.publications_repeated, self.streams_broken, self.heartbeats_missed
        )
    }

    /// Columns of [`Summary::usage`].
    pub const COLUMNS: [&str; 4] = ["part", "cores", "MiB at most", "MiB per minute"];

    /// What each part used: its name, cores, largest memory and growth. PostgreSQL's processes share memory, so theirs is not told.
    pub fn usage(&self) -> Vec<[String; 4]> {
        let line = |part: &Part| {
            let memory = |value: f64, digits: usize| match part.name.as_str() {
                "postgres" => "-".to_owned(),
                _ => format!("{value:.digits$}"),
            };
            [
                part.name.clone(),
                format!("{:.2}", part.cores),
                memory(part.most_mib, 1),
                memory(part.mib_per_minute, 2),
            ]
        };
        self.parts.iter().map(line).collect()
    }

    /// Writes the JSON file and the page; answers where the page is.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep(&self, folder: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join(format!("{}.json", self.name)), serde_json::to_string_pretty(self)?)?;
        let page = folder.join(format!("{}.html", self.name));
        std::fs::write(&page, super::page::html(self))?;
        Ok(page)
    }

    /// Figures by name, for who judges them.
    pub fn judged(&self) -> BTreeMap<&'static str, f64> {
        let took = &self.time_to_assign_ms;
        let mut figures = BTreeMap::from([
            ("assignments_per_second", self.assignments_per_second),
            ("assign_p50_ms", took.p50),
            ("assign_p90_ms", took.p90),
            ("assign_p99_ms", took.p99),
            ("assign_p99_9_ms", took.p99_9),
            ("assign_max_ms", took.max),
            ("commit_p99_ms", self.commit_ms.p99),
            ("generator_late_ms", self.generator_late_ms),
            ("lost", self.lost as f64),
            ("doubled", self.doubled as f64),
            ("out_of_order", self.out_of_order as f64),
        ]);
        let optional = [
            ("floor_per_second", self.floor_per_second),
            ("of_the_floor", self.of_the_floor),
            ("peer_per_second", self.peer_per_second),
            ("cycles_per_second", self.cycles_per_second),
            ("again_s", self.again_seconds),
            ("last_of_the_old_ms", self.last_of_the_old_ms),
        ];
        figures.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        figures
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.what)?;
        for (name, line) in self.figures() {
            writeln!(f, "  {name:<18} {line}")?;
        }
        let [part, cores, most, growth] = Self::COLUMNS;
        write!(f, "  {part:<18} {cores:>8} {most:>12} {growth:>15}")?;
        for [part, cores, most, growth] in self.usage() {
            write!(f, "\n  {part:<18} {cores:>8} {most:>12} {growth:>15}")?;
        }
        Ok(())
    }
}
