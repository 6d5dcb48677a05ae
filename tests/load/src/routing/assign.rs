//! The scenario `assign`: messages of ever new customers at a fixed rate, agents with spare capacity; every message must ring once at
//! one of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hilo_end_to_end::Installation;

use super::meter::Sample;
use super::{Crowd, Due, Found, Inflow, Ledger, Meter, Order, Sent, World};
use crate::probe::{self, Commits};

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Assign {
    /// Who works where.
    pub world: World,
    /// Messages per second.
    pub rate: f64,
    /// For so long.
    pub lasting: Duration,
    /// Longest wait for the last ring after the last message.
    pub settle: Duration,
}

/// What was found.
#[derive(Debug)]
pub struct AssignReport {
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
    /// Streams that broke, heartbeats that were missed.
    pub broken: (usize, usize),
}

impl AssignReport {
    /// Assignments per second, from the first due instant to the last ring.
    pub fn rate(&self) -> f64 {
        (self.messages - self.found.lost) as f64 / self.found.elapsed.as_secs_f64().max(0.001)
    }

    /// True when nothing was lost, doubled or out of order.
    pub fn is_exact(&self) -> bool {
        self.found.lost == 0 && self.doubled == 0 && self.order.out_of_order == 0
    }
}

/// Messages before the measured ones, so that every part has done everything once.
fn warm_up(world: &World) -> usize {
    (world.campaigns * 2).max(20)
}

/// Runs the scenario.
///
/// # Errors
/// When the installation cannot be used at all; lost and doubled messages are figures, not errors.
pub async fn assign(size: &Assign) -> Result<AssignReport> {
    let installation = size.world.start().await?;
    let (first, messages) = (warm_up(&size.world), (size.rate * size.lasting.as_secs_f64()).round() as usize);
    let ledger = Arc::new(Ledger::new(first + messages));
    let crowd = Crowd::come(&installation, 0..size.world.agents(), &ledger, None).await?;
    let inflow = Inflow::connect(&installation, Arc::clone(&ledger)).await?;
    let campaigns = 0..size.world.campaigns;
    let warm = Due { messages: 0..first, campaigns: campaigns.clone(), rate: (size.rate / 5.0).max(10.0) };
    inflow.run(warm).await?;
    rung(&ledger, first, Duration::from_secs(60)).await?;

    let meter = Meter::start();
    let database = installation.database("postgres");
    let lasting = size.lasting;
    let probing = tokio::spawn(async move { probe::run(&database, lasting).await });
    let progress = tokio::spawn(progress(Arc::clone(&ledger), first, messages));
    let due = Due { messages: first..first + messages, campaigns, rate: size.rate };
    let sent = inflow.run(due).await?;
    // What does not come is counted as lost.
    let _lost = rung(&ledger, first + messages, size.settle).await;
    progress.abort();
    let samples = meter.samples();
    let found = ledger.found(first..first + messages)?;
    let commits = probing.await??;
    let broken = (crowd.broken(), crowd.missed());
    drop(crowd);
    let order = Order::read(&installation).await?;
    keep(&installation);
    Ok(AssignReport { messages, found, doubled: ledger.doubled(), sent, order, commits, samples, broken })
}

/// Keeps the services' logs where `HILO_LOAD_KEEP` says, for a look at what went wrong.
fn keep(installation: &Installation) {
    let Some(folder) = std::env::var_os("HILO_LOAD_KEEP").map(std::path::PathBuf::from) else { return };
    let Ok(entries) = std::fs::read_dir(installation.folder()) else { return };
    for log in entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
    {
        if let Some(name) = log.file_name() {
            let _ = std::fs::copy(&log, folder.join(name));
        }
    }
}

/// Waits until so many messages rang.
///
/// # Errors
/// When they have not in time.
pub async fn rung(ledger: &Ledger, messages: usize, within: Duration) -> Result<()> {
    let until = Instant::now() + within;
    while ledger.rung() < messages {
        anyhow::ensure!(
            Instant::now() < until,
            "{} of {messages} messages rang in {within:?}",
            ledger.rung()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// A line a second: how many rang.
async fn progress(ledger: Arc<Ledger>, before: usize, messages: usize) {
    let begun = Instant::now();
    let mut known = before;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rung = ledger.rung();
        eprint!(
            "\r{:>5.0} s  {:>7} of {messages} rang, {:>6} in the last second ",
            begun.elapsed().as_secs_f64(),
            rung.saturating_sub(before),
            rung.saturating_sub(known)
        );
        known = rung;
    }
}
