//! The steady scenario: a fixed rate of mails from ever new customers, agents who open and end what rings at them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::StreamExt;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Agent, Desk, Installation};
use hilo_proto::event::v1::InteractionState;
use tokio::sync::Mutex;

use crate::{Report, Took};

/// Size of a steady run.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    /// Mails per second.
    pub rate: f64,
    /// Mails in all.
    pub mails: usize,
    /// Longest wait for the last offer after the last mail.
    pub settle: Duration,
}

/// Openings that succeeded: interaction id → agents.
type Openings = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

/// Runs the scenario against an installation whose directory has `agents` as members of the campaign behind `address`.
///
/// # Errors
/// When the installation cannot be used at all; lost or doubled mails are figures, not errors.
pub async fn steady(installation: &Installation, address: &str, size: Steady) -> Result<Report> {
    let run = uuid::Uuid::new_v4().simple().to_string();
    let openings: Openings = Arc::default();
    let mut people = Vec::new();
    for user in installation.agent_keys() {
        let agent = installation.login(&user).await?;
        let presence = agent.be_present().await?;
        let desk = Arc::new(agent.watch());
        let worker = tokio::spawn(work(agent, Arc::clone(&desk), Arc::clone(&openings)));
        people.push((presence, desk, worker));
    }
    let begun = Instant::now() + Duration::from_millis(500);
    let due = |index: usize| begun + Duration::from_secs_f64(index as f64 / size.rate);
    let customer_of = |index: usize| format!("cliente-{run}-{index}@cliente.example");
    let lags: Vec<Duration> = futures::stream::iter(0..size.mails)
        .map(|index| {
            let mail = Mail::new(&customer_of(index), address, "Consulta", "Buenos días, ¿me pueden ayudar?");
            let server = installation.smtp();
            async move {
                tokio::time::sleep_until(due(index).into()).await;
                let lag = due(index).elapsed();
                customer::send(server, &mail).await.map(|()| lag)
            }
        })
        .buffered(256)
        .collect::<Vec<Result<Duration>>>()
        .await
        .into_iter()
        .collect::<Result<_>>()?;

    let desks: Vec<Arc<Desk>> = people.iter().map(|(_, desk, _)| Arc::clone(desk)).collect();
    let waiting_until = Instant::now() + size.settle;
    while rang(&desks, &run).len() < size.mails && Instant::now() < waiting_until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rings = rang(&desks, &run);
    for (_, _, worker) in &people {
        worker.abort();
    }

    let mut time_to_assign = Took::none()?;
    let (mut lost, mut doubled, mut last) = (0, 0, begun);
    for index in 0..size.mails {
        match rings.get(&customer_of(index)) {
            None => lost += 1,
            Some(ring) => {
                doubled += usize::from(ring.interactions.len() > 1);
                last = last.max(ring.first);
                time_to_assign.note(ring.first.saturating_duration_since(due(index)))?;
            }
        }
    }
    doubled += openings.lock().await.values().filter(|agents| agents.len() > 1).count();
    let generator_lag = lags.into_iter().max().unwrap_or_default();
    Ok(Report { sent: size.mails, elapsed: last - begun, time_to_assign, lost, doubled, generator_lag })
}

struct Ring {
    first: Instant,
    interactions: BTreeSet<String>,
}

/// First ring of each customer of this run, over all desks.
fn rang(desks: &[Arc<Desk>], run: &str) -> BTreeMap<String, Ring> {
    let mut rings: BTreeMap<String, Ring> = BTreeMap::new();
    for desk in desks {
        desk.with(|state| {
            for (interaction, customer) in
                state.rang_from.iter().filter(|(_, customer)| customer.contains(run))
            {
                let Some(at) = state.rang_at.get(interaction) else { continue };
                let ring = rings
                    .entry(customer.clone())
                    .or_insert_with(|| Ring { first: *at, interactions: BTreeSet::new() });
                ring.first = ring.first.min(*at);
                ring.interactions.insert(interaction.clone());
            }
        });
    }
    rings
}

/// An agent who opens what rings and ends it at once.
async fn work(agent: Agent, desk: Arc<Desk>, openings: Openings) {
    let mut done = BTreeSet::new();
    loop {
        let next = desk.with(|state| {
            state
                .items
                .values()
                .find(|item| {
                    item.ringing
                        && item.state == InteractionState::Queued as i32
                        && !done.contains(&item.interaction_id)
                })
                .map(|item| item.interaction_id.clone())
        });
        let Some(interaction) = next else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        if agent.open(&interaction).await.is_ok() {
            openings.lock().await.entry(interaction.clone()).or_default().insert(agent.key.clone());
            let _refused = agent.end(&interaction, false).await;
        }
        done.insert(interaction);
    }
}
