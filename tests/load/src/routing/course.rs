//! The course of a run on a private installation: messages of ever new customers on an open schedule, agents with spare capacity; every
//! message must ring once at one of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::{Installation, Service};
use tokio::sync::mpsc;

use super::disturb::Happened;
use super::floor::{Counts, floor};
use super::peer::peer;
use super::progress::Progress;
use super::work::{self, Work, Working};
use super::{
    Compared, Crowd, Cycles, Due, Inflow, Ledger, Meter, Order, Outcome, Phase, Rang, Scenario, Sent,
};
use crate::probe;

/// Most messages per second beforehand; what the broker's work queue cannot hold waits with the generator.
const BEFOREHAND: f64 = 2_000.0;
/// Looked at this often while waiting for something.
const LOOK: Duration = Duration::from_millis(20);

/// Numbers of messages: those beforehand that wait elsewhere, those that warm everything up, those that are measured.
#[derive(Clone, Copy)]
struct Numbers {
    waiting: usize,
    first: usize,
    all: usize,
}

/// Runs a scenario on an installation of its own.
///
/// # Errors
/// When the installation cannot be used at all; lost and doubled messages are figures, not errors.
pub async fn run(size: &Scenario) -> Result<Outcome> {
    let installation = size.world.start().await?;
    let outcome = on(&installation, size).await;
    keep(&installation);
    outcome
}

/// Runs a scenario on an installation that has its world.
///
/// # Errors
/// As [`run`].
pub async fn on(installation: &Installation, size: &Scenario) -> Result<Outcome> {
    let empty = resident(installation, Service::Routing)?;
    let messages: usize = size.phases.iter().map(Phase::messages).sum();
    let warm = if size.late { 0 } else { (size.world.campaigns * 2).max(20) };
    let numbers =
        Numbers { waiting: size.waiting, first: size.waiting + warm, all: size.waiting + warm + messages };
    let ledger = Arc::new(Ledger::new(numbers.all));
    let mut run = Run {
        installation,
        size,
        numbers,
        inflow: Inflow::connect(installation, Arc::clone(&ledger)).await?,
        ledger,
        crowd: None,
        working: None,
    };
    let counts = run.beforehand().await?;
    let mut outcome = run.measured(empty).await?;
    if let Some(lasting) = size.compare {
        outcome.compared = Some(compared(installation, &counts, messages, lasting).await?);
    }
    Ok(outcome)
}

struct Run<'r> {
    installation: &'r Installation,
    size: &'r Scenario,
    numbers: Numbers,
    inflow: Inflow,
    ledger: Arc<Ledger>,
    crowd: Option<Crowd>,
    working: Option<Working>,
}

impl Run<'_> {
    /// What waits elsewhere; then everybody comes, and a few messages for all, so that every part has done everything once.
    async fn beforehand(&mut self) -> Result<Counts> {
        let (numbers, world) = (self.numbers, &self.size.world);
        if world.selection {
            world.important(self.installation, numbers.all).await?;
        }
        if numbers.waiting > 0 {
            let unserved = world.campaigns..world.campaigns + world.waiting_campaigns;
            eprintln!("{} messages that nobody will serve …", numbers.waiting);
            self.inflow
                .run(Due { messages: 0..numbers.waiting, campaigns: unserved, rate: BEFOREHAND })
                .await?;
            self.inflow.taken_in(Duration::from_secs(900)).await?;
        }
        if !self.size.late {
            self.come().await?;
        }
        if numbers.first > numbers.waiting {
            let warm = numbers.waiting..numbers.first;
            let many = warm.len();
            self.inflow.run(Due { messages: warm, campaigns: 0..world.campaigns, rate: 200.0 }).await?;
            let working = self.working.as_ref();
            until(Duration::from_secs(120), "the first messages", || {
                self.ledger.rung() >= many && working.is_none_or(|working| working.acted() >= many)
            })
            .await?;
        }
        Counts::read(self.installation).await
    }

    async fn come(&mut self) -> Result<()> {
        let agents = 0..self.size.world.agents();
        eprintln!("{} agents come …", agents.len());
        let (rings, rung_here) = mpsc::unbounded_channel::<Rang>();
        let rings = (self.size.work != Work::None).then_some(rings);
        let crowd = Crowd::come(self.installation, agents, &self.ledger, rings).await?;
        if self.size.work != Work::None {
            self.working = Some(work::begin(&crowd, rung_here, self.size.work));
        }
        self.crowd = Some(crowd);
        Ok(())
    }

    /// The schedule, and the wait for what rings of it.
    async fn measured(&mut self, empty: u64) -> Result<Outcome> {
        let (size, numbers) = (self.size, self.numbers);
        let messages = numbers.all - numbers.first;
        let (meter, begun) = (Meter::start(), Instant::now());
        let lasting: Duration = size.phases.iter().map(|phase| phase.lasting).sum();
        let (database, probed) = (self.installation.database("postgres"), lasting);
        let probing = tokio::spawn(async move { probe::run(&database, probed).await });
        let progress = Progress::start(&size.name, Arc::clone(&self.ledger), messages);
        let disturbing = async {
            match &size.disturbance {
                Some(disturbance) => {
                    disturbance.happen(self.installation, &size.world, lasting / 2).await.map(Some)
                }
                None => anyhow::Ok(None),
            }
        };
        let (sent, happened) = tokio::join!(self.schedule(), disturbing);
        let ((sent, fastest), happened) = (sent?, happened?);
        let full = resident(self.installation, Service::Routing)?;
        let mut since = None;
        if size.late {
            self.inflow.taken_in(size.settle).await?;
            self.come().await?;
            since = self.crowd.as_ref().map(Crowd::complete);
        }
        // What does not come is counted as lost.
        let _lost =
            until(size.settle, "all messages", || self.ledger.rung() >= numbers.all - numbers.waiting).await;
        let cycles = self.cycles(begun).await?;
        progress.end();
        let crowd = self.crowd.take().context("nobody came")?;
        let (broken, missed) = (crowd.broken(), crowd.missed());
        drop(crowd);
        let probed = probing.await.context("the probe panicked")?;
        // Who comes first gets what waits, and who is not skilled gets nothing.
        let equals = !size.late && !size.world.selection;
        let commits = match probed {
            // A server that was killed on purpose ends the probe's session.
            Err(_) if happened.is_some() => probe::Commits { took: crate::Took::none()? },
            probed => probed?,
        };
        Ok(Outcome {
            messages,
            found: self.ledger.found(numbers.first..numbers.all, since)?,
            doubled: self.ledger.doubled(),
            order: Order::read(self.installation).await?,
            commits,
            samples: meter.samples(),
            broken,
            missed,
            drained: self.drained(&fastest),
            again: happened.as_ref().map(|happened| self.again(happened)),
            effect: match &happened {
                Some(happened) => happened.effect(self.installation).await?,
                None => None,
            },
            cycles,
            spread: equals.then(|| {
                let range = numbers.first..numbers.all;
                self.ledger.spread(range, size.world.agents(), size.world.team)
            }),
            sent,
            routing_kib: (empty, full),
            compared: None,
        })
    }

    async fn cycles(&mut self, begun: Instant) -> Result<Option<Cycles>> {
        let (messages, warm) =
            (self.numbers.all - self.numbers.first, self.numbers.first - self.numbers.waiting);
        match self.working.take() {
            Some(working) => {
                Ok(Some(working.finish(self.installation, messages, warm, (begun, self.size.settle)).await?))
            }
            None => Ok(None),
        }
    }

    fn again(&self, happened: &Happened) -> Duration {
        self.ledger.again(happened.at, self.size.world.group).unwrap_or(Duration::MAX)
    }

    fn drained(&self, fastest: &Fastest) -> Duration {
        let last = self.ledger.last_ring(self.numbers.first..fastest.until);
        last.map_or(Duration::MAX, |last| last.saturating_duration_since(fastest.ended))
    }

    /// Phase after phase; answers when the fastest ended.
    async fn schedule(&self) -> Result<(Sent, Fastest)> {
        let (mut from, mut all) = (self.numbers.first, Sent::default());
        let mut fastest = Fastest { rate: 0.0, until: from, ended: Instant::now() };
        for phase in &self.size.phases {
            let to = from + phase.messages();
            let due = Due { messages: from..to, campaigns: 0..self.size.world.campaigns, rate: phase.rate };
            let sent = self.inflow.run(due).await?;
            all = Sent { lag: all.lag.max(sent.lag), repeated: all.repeated + sent.repeated };
            if phase.rate > fastest.rate {
                fastest = Fastest { rate: phase.rate, until: to, ended: Instant::now() };
            }
            from = to;
        }
        Ok((all, fastest))
    }
}

/// The end of the fastest phase.
struct Fastest {
    rate: f64,
    /// Number of the first message after it.
    until: usize,
    ended: Instant,
}

/// What the servers do without Hilo: its processes are ended first.
async fn compared(
    installation: &Installation,
    before: &Counts,
    messages: usize,
    lasting: Duration,
) -> Result<Compared> {
    // PostgreSQL's counters come late.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let shape = Counts::shape(before, &Counts::read(installation).await?, messages);
    for service in Service::ALL {
        installation.kill(Part::Service(service)).await?;
    }
    eprintln!("the floor …");
    let floor = floor(installation, shape, lasting).await?;
    eprintln!("the peer …");
    Ok(Compared { floor, peer: peer(installation, lasting).await?, shape })
}

/// Keeps the services' logs where `HILO_LOAD_KEEP` says, for a look at what went wrong.
fn keep(installation: &Installation) {
    let Some(folder) = std::env::var_os("HILO_LOAD_KEEP").map(std::path::PathBuf::from) else { return };
    let Ok(entries) = std::fs::read_dir(installation.folder()) else { return };
    let is_log = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "log");
    for log in entries.flatten().map(|entry| entry.path()).filter(is_log) {
        if let Some(name) = log.file_name() {
            let _copied = std::fs::copy(&log, folder.join(name));
        }
    }
}

/// `VmRSS` of a service; 0 while it is not running.
fn resident(installation: &Installation, service: Service) -> Result<u64> {
    Ok(installation.process_id(service).map_or(0, super::meter::resident))
}

/// Waits until something is so.
///
/// # Errors
/// When it is not in time.
async fn until(within: Duration, what: &str, so: impl Fn() -> bool) -> Result<()> {
    let until = Instant::now() + within;
    while !so() {
        anyhow::ensure!(Instant::now() < until, "{what} did not ring and end in {within:?}");
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}
