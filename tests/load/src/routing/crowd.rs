//! Thousands of agents: each watches his desk on a gRPC stream of his own and is kept present by heartbeats. Several share a
//! connection, as behind a gateway. Their tokens are signed with the installation's key, since thousands of passwords would take
//! an hour to hash.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use hilo_end_to_end::Installation;
use hilo_kit::auth::Issuer;
use hilo_proto::attention::v1::attention_service_client::AttentionServiceClient;
use hilo_proto::attention::v1::watch_desk_response::Update;
use hilo_proto::attention::v1::{DeskItem, WatchDeskRequest};
use hilo_proto::event::v1::InteractionState;
use hilo_proto::routing::v1::HeartbeatRequest;
use hilo_proto::routing::v1::routing_service_client::RoutingServiceClient;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::inflow::message_of;
use super::{Ledger, World};

/// Streams on one connection.
const PER_CONNECTION: usize = 100;
/// A third of the lease of presence.
const BEAT_EVERY: Duration = Duration::from_secs(20);
/// Calls at once while everybody comes.
const AT_ONCE: usize = 64;
/// Flow control: an update must not wait for a window.
const WINDOW: u32 = 4 * 1024 * 1024;

/// Something that rings at an agent for the first time.
#[derive(Clone, Debug)]
pub struct Rang {
    /// The agent's number.
    pub agent: usize,
    /// Number of the message.
    pub message: usize,
    /// The interaction.
    pub interaction: String,
}

/// An agent's way in.
#[derive(Clone)]
pub struct Seat {
    token: MetadataValue<Ascii>,
    attention: Channel,
    routing: Channel,
}

/// Everybody, until dropped.
pub struct Crowd {
    seats: Vec<Seat>,
    tasks: Vec<JoinHandle<()>>,
    begun: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
    missed: Arc<AtomicUsize>,
    complete: Instant,
}

fn channel(url: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?
        .connect_timeout(Duration::from_secs(5))
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .connect_lazy())
}

impl Seat {
    /// A request with the agent's token.
    pub fn request<T>(&self, body: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(body);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }

    /// Client of the AttentionService.
    pub fn attention(&self) -> AttentionServiceClient<Channel> {
        AttentionServiceClient::new(self.attention.clone())
    }

    async fn beat(&self, leave: bool) -> Result<(), tonic::Status> {
        let request = self.request(HeartbeatRequest { session_id: "mesa".to_owned(), leave });
        RoutingServiceClient::new(self.routing.clone()).heartbeat(request).await.map(drop)
    }
}

impl Crowd {
    /// Everybody of the world comes: streams first, then presence. What rings for the first time is also told to `rings`.
    ///
    /// # Errors
    /// When a stream or a heartbeat is refused.
    pub async fn come(
        installation: &Installation,
        agents: std::ops::Range<usize>,
        ledger: &Arc<Ledger>,
        rings: Option<mpsc::UnboundedSender<Rang>>,
    ) -> Result<Self> {
        let mut crowd = Self::seated(installation, agents.clone())?;
        for (seat, agent) in crowd.seats.iter().zip(agents) {
            let watcher = Watcher {
                seat: seat.clone(),
                agent,
                ledger: Arc::clone(ledger),
                rings: rings.clone(),
                begun: Arc::clone(&crowd.begun),
                broken: Arc::clone(&crowd.broken),
            };
            crowd.tasks.push(tokio::spawn(watcher.watch()));
        }
        let until = Instant::now() + Duration::from_secs(120);
        while crowd.begun.load(Ordering::Relaxed) < crowd.seats.len() {
            anyhow::ensure!(
                Instant::now() < until,
                "only {} streams began",
                crowd.begun.load(Ordering::Relaxed)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        crowd.be_present().await?;
        Ok(crowd)
    }

    fn seated(installation: &Installation, agents: std::ops::Range<usize>) -> Result<Self> {
        let issuer = Issuer::new(installation.keys().signing_key.expose(), "hilo").context("issuer")?;
        let endpoints = installation.endpoints();
        let (mut seats, mut channels): (Vec<Seat>, Option<(Channel, Channel)>) = (Vec::new(), None);
        for (nth, agent) in agents.enumerate() {
            let fresh = nth % PER_CONNECTION == 0;
            let (attention, routing) = match channels.take().filter(|_| !fresh) {
                Some(known) => known,
                None => (channel(&endpoints.attention_state)?, channel(&endpoints.routing)?),
            };
            channels = Some((attention.clone(), routing.clone()));
            let issued = issuer
                .issue(&World::agent(agent), hilo_kit::clock::wall(), Duration::from_secs(6 * 3600))
                .context("token")?;
            let token = format!("Bearer {}", issued.token).parse()?;
            seats.push(Seat { token, attention, routing });
        }
        Ok(Self {
            seats,
            tasks: Vec::new(),
            begun: Arc::default(),
            broken: Arc::default(),
            missed: Arc::default(),
            complete: Instant::now(),
        })
    }

    /// The first heartbeat of everybody, then one task that goes on with them, evenly spread.
    async fn be_present(&mut self) -> Result<()> {
        let beats =
            futures::stream::iter(self.seats.clone()).map(|seat| async move { seat.beat(false).await });
        let outcomes: Vec<_> = beats.buffer_unordered(AT_ONCE).collect().await;
        outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
        self.complete = Instant::now();
        let (seats, missed) = (self.seats.clone(), Arc::clone(&self.missed));
        self.tasks.push(tokio::spawn(async move {
            let pause = BEAT_EVERY / u32::try_from(seats.len().max(1)).unwrap_or(1);
            let mut ticks = tokio::time::interval(pause);
            for seat in seats.iter().cycle() {
                ticks.tick().await;
                let (seat, missed) = (seat.clone(), Arc::clone(&missed));
                tokio::spawn(async move {
                    let beaten = tokio::time::timeout(Duration::from_secs(5), seat.beat(false)).await;
                    missed.fetch_add(usize::from(!matches!(beaten, Ok(Ok(())))), Ordering::Relaxed);
                });
            }
        }));
        Ok(())
    }

    /// Everybody's way in, in the order of their numbers.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// When the last of them was there.
    pub fn complete(&self) -> Instant {
        self.complete
    }

    /// Streams that broke and were begun anew.
    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }

    /// Heartbeats that were not answered.
    pub fn missed(&self) -> usize {
        self.missed.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct Watcher {
    seat: Seat,
    agent: usize,
    ledger: Arc<Ledger>,
    rings: Option<mpsc::UnboundedSender<Rang>>,
    begun: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
}

impl Watcher {
    async fn watch(self) {
        let mut first = true;
        loop {
            let _ended = self.stream(&mut first).await;
            self.broken.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn stream(&self, first: &mut bool) -> Result<(), tonic::Status> {
        let request = self.seat.request(WatchDeskRequest { channel: "email".to_owned() });
        let mut updates = self.seat.attention().watch_desk(request).await?.into_inner();
        while let Some(answer) = updates.message().await? {
            let now = Instant::now();
            if std::mem::take(first) {
                self.begun.fetch_add(1, Ordering::Relaxed);
            }
            match answer.update {
                Some(Update::Item(item)) => self.item(&item, now),
                Some(Update::Snapshot(snapshot)) => {
                    snapshot.items.iter().for_each(|item| self.item(item, now))
                }
                Some(Update::Removal(_) | Update::Counters(_) | Update::Alive(_)) | None => {}
            }
        }
        Ok(())
    }

    fn item(&self, item: &DeskItem, now: Instant) {
        if !item.ringing || item.state != InteractionState::Queued as i32 {
            return;
        }
        let Some(message) = message_of(&item.customer_address) else { return };
        if self.ledger.rang(message, self.agent, &item.interaction_id, now)
            && let Some(rings) = &self.rings
        {
            let _ = rings.send(Rang { agent: self.agent, message, interaction: item.interaction_id.clone() });
        }
    }
}
