//! A desk as its agent's frontend holds it: the stream's snapshot and changes, followed again after every loss.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hilo_proto::attention::v1 as attention;
use hilo_proto::attention::v1::watch_desk_response::Update;
use hilo_proto::event::v1::InteractionState;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::agent::Agent;

/// What a desk shows, and when things came.
#[derive(Debug, Default)]
pub struct DeskState {
    /// The list by interaction id.
    pub items: BTreeMap<String, attention::DeskItem>,
    /// First instant at which an interaction rang here.
    pub rang_at: BTreeMap<String, Instant>,
    /// Customer address of each interaction that ever rang here.
    pub rang_from: BTreeMap<String, String>,
    /// traceparents seen, by interaction id.
    pub traces: BTreeMap<String, String>,
    /// Counters last sent.
    pub counters: attention::DeskCounters,
    /// Streams that were opened: each begins with a snapshot.
    pub snapshots: u32,
    /// Lost streams.
    pub reconnects: u32,
}

/// A watched desk.
#[derive(Debug)]
pub struct Desk {
    state: Arc<Mutex<DeskState>>,
    task: JoinHandle<()>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Desk {
    pub(crate) fn watch(agent: &Agent, channel: &'static str) -> Self {
        let state = Arc::new(Mutex::new(DeskState::default()));
        let (agent, shared) = (agent.clone(), Arc::clone(&state));
        let task = tokio::spawn(async move {
            loop {
                let _ended = follow(&agent, channel, &shared).await;
                shared.lock().reconnects += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Self { state, task }
    }

    /// Looks at the desk.
    pub fn with<T>(&self, look: impl FnOnce(&DeskState) -> T) -> T {
        look(&self.state.lock())
    }

    /// Waits until the stream is open: what happens from then on comes as a change, and not with the snapshot.
    ///
    /// # Errors
    /// When it is not before the deadline.
    pub async fn is_open(&self, deadline: Duration) -> Result<()> {
        let open = || async { self.with(|desk| desk.snapshots > 0) };
        hilo_test_support::eventually("the desk's stream is open", deadline, open).await
    }

    /// Waits for an item that fits.
    ///
    /// # Errors
    /// When none came before the deadline.
    pub async fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        fits: impl Fn(&attention::DeskItem) -> bool,
    ) -> Result<attention::DeskItem> {
        let started = Instant::now();
        loop {
            if let Some(item) = self.with(|desk| desk.items.values().find(|item| fits(item)).cloned()) {
                return Ok(item);
            }
            anyhow::ensure!(started.elapsed() < deadline, "the desk did not show in {deadline:?}: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for a ringing, queued item of a customer.
    ///
    /// # Errors
    /// When none came before the deadline.
    pub async fn wait_for_offer(&self, customer: &str, deadline: Duration) -> Result<attention::DeskItem> {
        let queued = InteractionState::Queued as i32;
        self.wait_for(&format!("an offer from {customer}"), deadline, |item| {
            item.ringing && item.state == queued && item.customer_address == customer
        })
        .await
    }
}

async fn follow(agent: &Agent, channel: &str, shared: &Mutex<DeskState>) -> Result<()> {
    let request = attention::WatchDeskRequest { channel: channel.to_owned() };
    let mut stream = agent.attention().watch_desk(request).await?.into_inner();
    while let Some(response) = tokio::time::timeout(Duration::from_secs(40), stream.message()).await?? {
        let mut desk = shared.lock();
        match response.update {
            Some(Update::Snapshot(snapshot)) => {
                desk.snapshots += 1;
                desk.items.clear();
                desk.counters = snapshot.counters.unwrap_or_default();
                for item in snapshot.items {
                    desk.put(item, &response.traceparent);
                }
            }
            Some(Update::Item(item)) => desk.put(item, &response.traceparent),
            Some(Update::Removal(removal)) => {
                desk.items.remove(&removal.interaction_id);
            }
            Some(Update::Counters(counters)) => desk.counters = counters,
            Some(Update::Alive(_)) | None => {}
        }
    }
    Ok(())
}

impl DeskState {
    fn put(&mut self, item: attention::DeskItem, traceparent: &str) {
        if item.ringing {
            self.rang_at.entry(item.interaction_id.clone()).or_insert_with(Instant::now);
            self.rang_from.insert(item.interaction_id.clone(), item.customer_address.clone());
        }
        if !traceparent.is_empty() {
            self.traces.insert(item.interaction_id.clone(), traceparent.to_owned());
        }
        let newer = self.items.get(&item.interaction_id).is_none_or(|known| known.version <= item.version);
        if newer {
            self.items.insert(item.interaction_id.clone(), item);
        }
    }
}
