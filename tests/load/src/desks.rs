//! The desks scenario: hundreds of `WatchDesk` streams on one replica, many of them cut at random every second, while mails
//! come in and agents open and end them. In the end every desk must hold exactly the server's list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::subscriber::Subscriber;
use hilo_end_to_end::{Agent, Installation, Service};
use hilo_proto::attention::v1::watch_desk_response::Update;
use hilo_proto::attention::v1::{DeskCounters, DeskItem, ListInteractionsRequest, WatchDeskRequest};
use hilo_proto::event::v1::InteractionState;
use parking_lot::Mutex;
use rand::seq::index::sample;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

mod report;

pub use report::DesksReport;

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Desks {
    /// Streams, one user each.
    pub streams: usize,
    /// Streams cut every second: the connection is dropped and a new one opened at once.
    pub cuts_per_second: usize,
    /// Events aimed at; mails come at the rate that makes them.
    pub events_per_second: f64,
    /// How long.
    pub lasting: Duration,
    /// Longest wait for the desks to be equal to the server's list after the last event.
    pub settle: Duration,
}

/// Events one mail makes that is offered, opened and ended: opened, queued, received, offered, opened, ended. Taken as fewer
/// than these six, as one of ten is not opened and the last are on their way when time is up.
const EVENTS_PER_MAIL: f64 = 5.2;
/// Agents who serve; the others watch.
const SERVING: usize = 10;
/// One item of so many stays queued, and one stays open.
const LEFT_OVER: usize = 10;
/// Mails before the memory is measured first.
const WARM_UP: usize = 20;

/// Runs the scenario on an installation with at least `size.streams` agents, members of one campaign.
///
/// # Errors
/// When the installation cannot be used at all; desks that differ are figures, not errors.
pub async fn desks(installation: &Installation, size: Desks) -> Result<DesksReport> {
    let agents: Vec<Agent> = installation
        .agent_keys()
        .iter()
        .take(size.streams)
        .map(|user| installation.signed_in(user))
        .collect::<Result<_>>()?;
    let events = Subscriber::start(installation.nats_url(), installation.prefix());
    let (mut people, mut serving) = (Vec::new(), Vec::new());
    for agent in agents.iter().take(SERVING) {
        let watched = Watched::start(agent);
        serving.push(Serving(tokio::spawn(serve(agent.clone(), watched.state.clone()))));
        people.push((agent.be_present().await?, watched));
    }
    send_mails(installation, "antes", WARM_UP, Duration::from_secs(2)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = memory(installation)?;
    let mut desks: Vec<Watched> = agents.iter().map(Watched::start).collect();
    let seen =
        |log: &hilo_end_to_end::subscriber::Log| log.attentions.values().map(BTreeMap::len).sum::<usize>();
    let events_before = events.with(seen);
    let begun = Instant::now();
    let mails = (size.events_per_second / EVENTS_PER_MAIL * size.lasting.as_secs_f64()).ceil() as usize;
    let traffic = send_mails(installation, "durante", mails, size.lasting);
    let highest = highest_memory(installation, size.lasting);
    let (sent, cuts, highest) = tokio::join!(traffic, cut(&mut desks, &agents, size), highest);
    sent?;
    let events_per_second = (events.with(seen) - events_before) as f64 / begun.elapsed().as_secs_f64();
    // A desk shows the newest of a long queue, so the backlog is served first; then nothing changes any more.
    let watching = agents.first().context("no agent")?;
    served(watching, size.settle * 4).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(serving);
    let quiet = Instant::now();
    let different = compare(&desks, &agents, size.settle).await?;
    let settled_after = quiet.elapsed();
    let grown = memory(installation)?.saturating_sub(before);
    let highest = highest?.max(before + grown) - before;
    let per_stream = |kibibytes: u64| kibibytes as f64 / desks.len().max(1) as f64;
    drop(people);
    let sum = |of: fn(&State) -> u64| desks.iter().map(|desk| of(&desk.state.lock())).sum();
    Ok(DesksReport {
        streams: desks.len(),
        cuts,
        events_per_second,
        mails,
        repeated: sum(|state| state.repeated),
        without_snapshot: sum(|state| state.without_snapshot),
        different,
        begun: sum(|state| state.begun),
        kibibytes_per_stream: per_stream(grown),
        kibibytes_per_stream_at_most: per_stream(highest),
        settled_after,
    })
}

/// Sends mails of ever new customers, evenly over the time.
pub(crate) async fn send_mails(
    installation: &Installation,
    run: &str,
    mails: usize,
    over: Duration,
) -> Result<()> {
    let begun = Instant::now();
    futures::stream::iter(0..mails)
        .map(|index| {
            let due = begun + over.mul_f64(index as f64 / mails.max(1) as f64);
            let customer = format!("{run}-{index}@cliente.example");
            let mail = Mail::new(&customer, installation.support_address(), "Consulta", "¿Me pueden ayudar?");
            let server = installation.smtp();
            async move {
                tokio::time::sleep_until(due.into()).await;
                customer::send(server, &mail).await
            }
        })
        .buffer_unordered(32)
        .collect::<Vec<Result<()>>>()
        .await
        .into_iter()
        .collect()
}

/// Cuts streams at random, once a second.
async fn cut(desks: &mut [Watched], agents: &[Agent], size: Desks) -> usize {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cuts = 0;
    for _ in 0..size.lasting.as_secs() {
        seconds.tick().await;
        let some = sample(&mut rand::rng(), desks.len(), size.cuts_per_second.min(desks.len()));
        for index in some {
            if let (Some(desk), Some(agent)) = (desks.get_mut(index), agents.get(index)) {
                desk.cut(agent);
                cuts += 1;
            }
        }
    }
    cuts
}

fn memory(installation: &Installation) -> Result<u64> {
    let figures = installation.resident_kibibytes()?;
    let own = figures.iter().find(|(service, _)| *service == Service::AttentionState.name());
    own.map(|(_, kibibytes)| *kibibytes).context("attention-state is gone")
}

/// The highest of what is seen once a second.
async fn highest_memory(installation: &Installation, lasting: Duration) -> Result<u64> {
    let until = Instant::now() + lasting;
    let mut highest = 0;
    while Instant::now() < until {
        highest = highest.max(memory(installation)?);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(highest)
}

/// A serving agent, who stops with the run, however that ends.
struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens what rings and ends it, but for what is left over.
async fn serve(agent: Agent, state: Arc<Mutex<State>>) {
    let mut done = std::collections::BTreeSet::new();
    loop {
        let rings = |item: &&DeskItem| {
            item.ringing
                && item.state() == InteractionState::Queued
                && !is_left_over(item)
                && !done.contains(&item.interaction_id)
        };
        let next = state.lock().items.values().find(rings).cloned();
        let Some(item) = next else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let opened = agent.open(&item.interaction_id).await.is_ok();
        if opened && number(&item) % LEFT_OVER != 1 {
            let _refused = agent.end(&item.interaction_id, true).await;
        }
        done.insert(item.interaction_id);
    }
}

/// What a desk shows.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) items: BTreeMap<String, DeskItem>,
    counters: DeskCounters,
    repeated: u64,
    without_snapshot: u64,
    begun: u64,
}

/// A desk on a connection of its own.
pub(crate) struct Watched {
    pub(crate) state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watched {
    pub(crate) fn start(agent: &Agent) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let task = tokio::spawn(follow_always(agent.clone(), state.clone()));
        Self { state, task }
    }

    /// Drops the connection in the middle of whatever it does and opens another.
    fn cut(&mut self, agent: &Agent) {
        self.task.abort();
        self.task = tokio::spawn(follow_always(agent.clone(), self.state.clone()));
    }
}

async fn follow_always(agent: Agent, state: Arc<Mutex<State>>) {
    loop {
        let _lost = follow(&agent, &state).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn follow(agent: &Agent, state: &Mutex<State>) -> Result<()> {
    // Its own channel ends with this future, and the connection with it.
    let mut client = agent.separate_attention()?;
    let mut stream = client.watch_desk(WatchDeskRequest { channel: "email".to_owned() }).await?.into_inner();
    let mut first = true;
    while let Some(answer) = tokio::time::timeout(Duration::from_secs(40), stream.message()).await?? {
        let Some(update) = answer.update else { continue };
        let mut state = state.lock();
        if std::mem::take(&mut first) {
            state.begun += 1;
            state.without_snapshot += u64::from(!matches!(update, Update::Snapshot(_)));
        }
        state.take(update);
    }
    Ok(())
}

impl State {
    pub(crate) fn take(&mut self, update: Update) {
        match update {
            Update::Snapshot(snapshot) => {
                self.counters = snapshot.counters.unwrap_or_default();
                self.items =
                    snapshot.items.into_iter().map(|item| (item.interaction_id.clone(), item)).collect();
            }
            Update::Item(item) => {
                let known = self.items.get(&item.interaction_id).map(|known| known.version);
                if known.is_some_and(|known| known >= item.version) {
                    self.repeated += 1;
                } else {
                    self.items.insert(item.interaction_id.clone(), item);
                }
            }
            Update::Removal(removal) => {
                if self.items.remove(&removal.interaction_id).is_none() {
                    self.repeated += 1;
                }
            }
            Update::Counters(counters) => self.counters = counters,
            Update::Alive(_) => {}
        }
    }

    /// What is not as in the server's list; nothing when all is.
    fn difference(&self, items: &BTreeMap<String, DeskItem>, counters: DeskCounters) -> Option<String> {
        let ids = self.items.keys().chain(items.keys());
        let item = ids.into_iter().find(|id| self.items.get(*id) != items.get(*id));
        if let Some(id) = item {
            return Some(format!("{id}: shown {:?}, listed {:?}", self.items.get(id), items.get(id)));
        }
        (self.counters != counters)
            .then(|| format!("counters: shown {:?}, listed {counters:?}", self.counters))
    }
}

/// Waits until nothing is queued but what is left over.
async fn served(agent: &Agent, deadline: Duration) -> Result<()> {
    let until = Instant::now() + deadline;
    loop {
        let (items, _) = listed(agent).await?;
        let waiting = |item: &&DeskItem| item.state() == InteractionState::Queued && !is_left_over(item);
        let waiting = items.values().filter(waiting).count();
        if waiting == 0 {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < until, "{waiting} mails were not served in time");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One item of so many stays queued.
fn is_left_over(item: &DeskItem) -> bool {
    number(item).is_multiple_of(LEFT_OVER)
}

fn number(item: &DeskItem) -> usize {
    usize::try_from(item.attention_number).unwrap_or_default()
}

/// Desks that differ from the server's list when the time is over.
pub(crate) async fn compare(desks: &[Watched], agents: &[Agent], settle: Duration) -> Result<Vec<String>> {
    let until = Instant::now() + settle;
    loop {
        let mut different = Vec::new();
        for (desk, agent) in desks.iter().zip(agents) {
            let (items, counters) = listed(agent).await?;
            if let Some(difference) = desk.state.lock().difference(&items, counters) {
                different.push(format!("{}: {difference}", agent.key));
            }
        }
        if different.is_empty() || Instant::now() >= until {
            return Ok(different);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The server's list, all pages.
async fn listed(agent: &Agent) -> Result<(BTreeMap<String, DeskItem>, DeskCounters)> {
    let mut request =
        ListInteractionsRequest { channel: "email".to_owned(), page_size: 200, ..Default::default() };
    let mut items = BTreeMap::new();
    loop {
        let page = agent.attention().list_interactions(request.clone()).await?.into_inner();
        items.extend(page.items.into_iter().map(|item| (item.interaction_id.clone(), item)));
        if page.next_page_token.is_empty() {
            return Ok((items, page.counters.unwrap_or_default()));
        }
        request.page_token = page.next_page_token;
    }
}
