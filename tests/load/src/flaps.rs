//! Agents whose connections come and go all the time, some of them signing off in between, while mails are offered to one
//! agent at a time: nobody holds or is offered what another one has, nothing is left over, and in the end every desk is as the
//! server's list.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::subscriber::{Log, Seen, Subscriber};
use hilo_end_to_end::{Agent, Installation};
use hilo_proto::attention::v1::{
    DeskItem, EndInteractionRequest, OpenInteractionRequest, ReleaseInteractionRequest, WatchDeskRequest,
};
use hilo_proto::event::v1::InteractionState;
use hilo_proto::routing::v1::HeartbeatRequest;
use parking_lot::Mutex;
use rand::Rng;
use uuid::Uuid;

use crate::desks::{State, Watched, compare, send_mails};

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Flaps {
    /// Agents.
    pub agents: usize,
    /// How often each connection comes and goes.
    pub flaps: usize,
    /// A connection stays at most this long.
    pub up: Duration,
    /// And is away at most this long.
    pub down: Duration,
    /// Mails meanwhile.
    pub mails: usize,
    /// Longest wait for what must come to rest.
    pub settle: Duration,
}

/// What a run found.
#[derive(Debug)]
pub struct FlapsReport {
    /// Connections that came and went.
    pub flaps: usize,
    /// Of these, with the agent signing off.
    pub left: usize,
    /// Mails.
    pub mails: usize,
    /// Offers, by the public events.
    pub offers: usize,
    /// Openings, by the public events.
    pub openings: usize,
    /// What two agents had at one time; nothing when all is well.
    pub shared: Vec<String>,
    /// Desks that were not as the server's list in the end.
    pub different: Vec<String>,
    /// From the last change to the last desk being as the list.
    pub converged_after: Duration,
}

impl FlapsReport {
    /// True when nothing was shared and every desk is as the list.
    pub fn is_exact(&self) -> bool {
        self.shared.is_empty()
            && self.different.is_empty()
            && self.left > 0
            && self.offers > 0
            && self.openings >= self.mails
    }
}

impl fmt::Display for FlapsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} connections came and went, {} signing off; {} mails, {} offers, {} openings; {} with two agents, {} desks unlike the list, as the list {:.1} s after the last change",
            self.flaps,
            self.left,
            self.mails,
            self.offers,
            self.openings,
            self.shared.len(),
            self.different.len(),
            self.converged_after.as_secs_f64()
        )?;
        self.shared.iter().chain(&self.different).next().map_or(Ok(()), |first| write!(f, "\nfirst: {first}"))
    }
}

/// Runs the scenario on an installation whose campaigns offer to one agent at a time.
///
/// # Errors
/// When the installation cannot be used, or an item is left that nobody was offered.
pub async fn flaps(installation: &Installation, size: Flaps) -> Result<FlapsReport> {
    let users = installation.agent_keys();
    let agents: Vec<Agent> =
        users.iter().take(size.agents).map(|user| installation.signed_in(user)).collect::<Result<_>>()?;
    let events = Subscriber::start(installation.nats_url(), installation.prefix());
    // Until email-ingest has heard of the account, it knows no such mailbox.
    let first = Mail::new("primera@cliente.example", installation.support_address(), "Consulta", "hola");
    customer::send_until_accepted(installation.smtp(), &first, size.settle).await?;
    let sightings = Arc::new(Mutex::new(Sightings::default()));
    let flapping: Vec<_> =
        agents.iter().map(|agent| tokio::spawn(flap(agent.clone(), sightings.clone(), size))).collect();
    let over = (size.up + size.down).mul_f64(size.flaps as f64 / 2.0);
    send_mails(installation, "aleteo", size.mails.saturating_sub(1), over).await?;
    let (mut flaps, mut left) = (0, 0);
    for task in flapping {
        let tally = task.await??;
        flaps += tally.flaps;
        left += tally.left;
    }
    // Everybody is back for good, and takes what rings until nothing waits any more.
    let (mut desks, mut present, mut taking) = (Vec::new(), Vec::new(), Vec::new());
    for agent in &agents {
        let desk = Watched::start(agent);
        present.push(agent.be_present().await?);
        taking.push(tokio::spawn(take_all(agent.clone(), desk.state.clone(), sightings.clone())));
        desks.push(desk);
    }
    let none_waits = |log: &Log| taken(log) >= size.mails;
    events.wait_until("every mail is with an agent or ended", size.settle * 2, none_waits).await?;
    let quiet = Instant::now();
    let different = compare(&desks, &agents, size.settle).await?;
    let converged_after = quiet.elapsed();
    taking.iter().for_each(tokio::task::JoinHandle::abort);
    let mut shared = std::mem::take(&mut sightings.lock().shared);
    let (offers, openings) = events.with(|log| {
        shared.extend(log.violations.iter().cloned());
        log.attentions
            .values()
            .map(|events| one_at_a_time(events.values(), &mut shared))
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    Ok(FlapsReport { flaps, left, mails: size.mails, offers, openings, shared, different, converged_after })
}

/// Attentions whose interaction somebody has, or has ended.
fn taken(log: &Log) -> usize {
    let state = |events: &BTreeMap<u64, Seen>| {
        let last = events.values().rev().find_map(|event| event.data.pointer("/interaction/state"));
        last.and_then(|state| state.as_str()).unwrap_or_default().to_owned()
    };
    let with_somebody = |state: &String| state.ends_with("_OPEN") || state.ends_with("_ENDED");
    log.attentions.values().map(state).filter(with_somebody).count()
}

/// Walks the events of an attention: no offer while another one stands, none to everyone, no opening of what is open.
/// Answers offers and openings.
fn one_at_a_time<'a>(events: impl Iterator<Item = &'a Seen>, shared: &mut Vec<String>) -> (usize, usize) {
    let (mut offered, mut open): (Option<String>, Option<String>) = (None, None);
    let (mut offers, mut openings) = (0, 0);
    for event in events {
        let text = |pointer: &str| {
            event.data.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
        };
        match event.kind.rsplit('.').next().unwrap_or_default() {
            "interaction_offered" => {
                let to = text("/interaction/offer/agentKey");
                if to.is_empty() {
                    shared.push(format!("{}: offered to everyone", text("/attentionId")));
                }
                if let Some(before) = offered.replace(to.clone()) {
                    shared.push(format!("{}: offered to {before} and {to}", text("/attentionId")));
                }
                offers += 1;
            }
            "offer_withdrawn" => offered = None,
            "interaction_opened" => {
                let by = text("/interaction/agentKey");
                if let Some(before) = open.replace(by.clone()) {
                    shared.push(format!("{}: opened by {by} while {before} had it", text("/attentionId")));
                }
                offered = None;
                openings += 1;
            }
            "interaction_released" | "interaction_orphaned" | "interaction_ended" => open = None,
            _ => {}
        }
    }
    (offers, openings)
}

/// Who was shown what, by interaction and version: two desks may be late, but never see one version as theirs both.
#[derive(Debug, Default)]
struct Sightings {
    theirs: BTreeMap<(String, i64), String>,
    shared: Vec<String>,
}

impl Sightings {
    fn look(&mut self, agent: &str, items: &BTreeMap<String, DeskItem>) {
        for item in items.values() {
            let rings = item.ringing && item.state() == InteractionState::Queued;
            if !rings && item.state() != InteractionState::Open {
                continue;
            }
            let version = (item.interaction_id.clone(), item.version);
            let first = self.theirs.entry(version).or_insert_with(|| agent.to_owned());
            if first.as_str() != agent {
                let what = format!("{} at version {}", item.interaction_id, item.version);
                self.shared.push(format!("{what}: on the desks of {first} and {agent}"));
            }
        }
    }
}

#[derive(Default)]
struct Tally {
    flaps: usize,
    left: usize,
}

/// Comes and goes; what it was doing when it goes is cut off in the middle.
async fn flap(agent: Agent, sightings: Arc<Mutex<Sightings>>, size: Flaps) -> Result<Tally> {
    let mut tally = Tally::default();
    for _ in 0..size.flaps {
        let (up, down, leaves) = {
            let mut random = rand::rng();
            (random.random_range(0.2..1.0), random.random_range(0.0..1.0), random.random_bool(0.5))
        };
        let session_id = Uuid::new_v4().to_string();
        let beat = |leave: bool| HeartbeatRequest { session_id: session_id.clone(), leave };
        let mut routing = agent.routing();
        tokio::time::timeout(size.settle, routing.heartbeat(beat(false))).await.context("heartbeat")??;
        let desk = attend(&agent, &sightings);
        // A flap that was broken off has nothing to say.
        if let Ok(Err(error)) = tokio::time::timeout(size.up.mul_f64(up), desk).await {
            return Err(error);
        }
        tally.flaps += 1;
        if leaves {
            tokio::time::timeout(size.settle, routing.heartbeat(beat(true))).await.context("leave")??;
            tally.left += 1;
        }
        tokio::time::sleep(size.down.mul_f64(down)).await;
    }
    Ok(tally)
}

/// Watches the desk on a connection of its own and takes, gives back, ends or ignores what waits, until it is cut off. What rings
/// at another one may be taken as well, and everybody sees the same first item, so several reach for it at once.
async fn attend(agent: &Agent, sightings: &Mutex<Sightings>) -> Result<()> {
    let mut client = agent.separate_attention()?;
    let mut stream = client.watch_desk(WatchDeskRequest { channel: "email".to_owned() }).await?.into_inner();
    let mut state = State::default();
    while let Some(answer) = stream.message().await? {
        let Some(update) = answer.update else { continue };
        state.take(update);
        sightings.lock().look(&agent.key, &state.items);
        let waits = |item: &&DeskItem| item.state() == InteractionState::Queued;
        let Some(item) = state.items.values().find(waits).cloned() else { continue };
        let choice = rand::rng().random_range(0..6);
        if choice < 3 {
            // Lets it pass: the accept timeout moves it on.
            continue;
        }
        let (interaction_id, request_id) = (item.interaction_id.clone(), Uuid::now_v7().to_string());
        let open = OpenInteractionRequest { interaction_id: interaction_id.clone(), request_id };
        if client.open_interaction(open).await.is_err() {
            continue;
        }
        let request_id = Uuid::now_v7().to_string();
        // Another command may have come first; the events tell what became of it.
        if choice == 3 {
            let _refused =
                client.release_interaction(ReleaseInteractionRequest { interaction_id, request_id }).await;
        } else if choice == 4 {
            let end = EndInteractionRequest { interaction_id, close_attention: true, request_id };
            let _refused = client.end_interaction(end).await;
        }
    }
    Ok(())
}

/// Opens whatever rings, for good.
async fn take_all(agent: Agent, state: Arc<Mutex<State>>, sightings: Arc<Mutex<Sightings>>) {
    loop {
        let items = state.lock().items.clone();
        sightings.lock().look(&agent.key, &items);
        let rings = |item: &&DeskItem| item.ringing && item.state() == InteractionState::Queued;
        for item in items.values().filter(rings) {
            // An offer that has moved on meanwhile comes again.
            let _moved_on = agent.open(&item.interaction_id).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
