//! Agents who work: what rings is opened, answered once and ended, and must be found in the history afterwards.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use hilo_end_to_end::Installation;
use hilo_proto::attention::v1::{EndInteractionRequest, OpenInteractionRequest, SendMessageRequest};
use hilo_proto::history::v1::SearchThreadsRequest;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::Crowd;
use super::crowd::{Rang, Seat};
use super::inflow::message_of;

/// Agents acting at once.
const AT_ONCE: usize = 128;

/// What agents do with what rings at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing: it goes on ringing.
    None,
    /// Open it and end it.
    End,
    /// Open it, answer once and end it.
    Answer,
}

/// What the agents did.
#[derive(Clone, Debug)]
pub struct Cycles {
    /// Items ended.
    pub ended: usize,
    /// Calls that were refused or failed.
    pub failed: usize,
    /// Messages found in the history.
    pub found: usize,
    /// From the beginning of the schedule until all were found.
    pub lasted: Duration,
}

impl Cycles {
    /// Measured messages whose cycle did not come to its end.
    pub fn unfinished(&self, messages: usize) -> usize {
        messages.saturating_sub(self.found)
    }
}

#[derive(Default)]
struct Counts {
    ended: AtomicUsize,
    failed: AtomicUsize,
}

/// The work, under way.
pub struct Working {
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// Begins to act on what rings.
pub fn begin(crowd: &Crowd, mut rings: mpsc::UnboundedReceiver<Rang>, work: Work) -> Working {
    let counts: Arc<Counts> = Arc::default();
    let seats: Vec<Seat> = crowd.seats().to_vec();
    let (shared, turns) = (Arc::clone(&counts), Arc::new(Semaphore::new(AT_ONCE)));
    let task = tokio::spawn(async move {
        while let Some(rang) = rings.recv().await {
            let Some(seat) = seats.get(rang.agent).cloned() else { continue };
            let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
            let counts = Arc::clone(&shared);
            tokio::spawn(async move {
                let done = cycle(&seat, &rang.interaction, work == Work::Answer).await;
                drop(turn);
                if let Err(status) = &done {
                    eprintln!("\n{}: {status}", rang.interaction);
                }
                let count = if done.is_ok() { &counts.ended } else { &counts.failed };
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    Working { counts, task }
}

fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

async fn cycle(seat: &Seat, interaction: &str, answer: bool) -> Result<(), tonic::Status> {
    let (mut client, interaction_id) = (seat.attention(), interaction.to_owned());
    let open = OpenInteractionRequest { interaction_id: interaction_id.clone(), request_id: request_id() };
    client.open_interaction(seat.request(open)).await?;
    if answer {
        let send = SendMessageRequest {
            interaction_id: interaction_id.clone(),
            request_id: request_id(),
            text: "Buenos días, su pedido llega mañana.".to_owned(),
            ..SendMessageRequest::default()
        };
        client.send_message(seat.request(send)).await?;
    }
    let end = EndInteractionRequest { interaction_id, close_attention: true, request_id: request_id() };
    client.end_interaction(seat.request(end)).await.map(drop)
}

impl Working {
    /// Items ended, and calls that failed.
    pub fn acted(&self) -> usize {
        self.counts.ended.load(Ordering::Relaxed) + self.counts.failed.load(Ordering::Relaxed)
    }

    /// Waits until the history has everything of a schedule that began at `begun`, the `before` messages of the warm-up included, or the time
    /// is over.
    ///
    /// # Errors
    /// When the history cannot be searched.
    pub async fn finish(
        self,
        installation: &Installation,
        messages: usize,
        before: usize,
        (begun, settle): (Instant, Duration),
    ) -> Result<Cycles> {
        let until = Instant::now() + settle;
        let all = messages + before;
        loop {
            let late = Instant::now() >= until;
            let found = if self.acted() >= all || late { in_history(installation).await? } else { 0 };
            if found >= all || late {
                self.task.abort();
                return Ok(Cycles {
                    ended: self.counts.ended.load(Ordering::Relaxed).saturating_sub(before),
                    failed: self.counts.failed.load(Ordering::Relaxed),
                    found: found.saturating_sub(before),
                    lasted: begun.elapsed(),
                });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Messages of ours whose thread the history has, page by page as a coordinator sees them.
async fn in_history(installation: &Installation) -> Result<usize> {
    let coordinator = installation.signed_in("coordinadora")?;
    let mut request = SearchThreadsRequest { page_size: 200, ..SearchThreadsRequest::default() };
    let mut known = HashSet::new();
    loop {
        let page = coordinator.history().search_threads(request.clone()).await?.into_inner();
        known.extend(page.threads.iter().filter_map(|thread| message_of(&thread.customer_address)));
        if page.next_page_token.is_empty() {
            return Ok(known.len());
        }
        request.page_token = page.next_page_token;
    }
}
