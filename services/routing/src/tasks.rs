//! Carries out what partitions ask for; every task comes back with exactly one result (a snapshot with its pages first).

use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::internal::v1::LiveInteraction;
use tokio::sync::mpsc;

use crate::attention::AttentionState;
use crate::directory::Refresh;
use crate::partition::Effect;
use crate::router::{Message, TaskResult};

/// Starts tasks.
#[derive(Clone, Debug)]
pub struct Tasks {
    attention: AttentionState,
    router: mpsc::Sender<Message>,
    shutdown: Shutdown,
}

/// The way back to the partition.
#[derive(Clone, Debug)]
struct Back {
    router: mpsc::Sender<Message>,
    partition: i32,
    epoch: i64,
}

impl Back {
    /// False when the router has ended.
    async fn send(&self, result: TaskResult) -> bool {
        let Self { partition, epoch, .. } = *self;
        self.router.send(Message::Result { partition, epoch, result }).await.is_ok()
    }
}

impl Tasks {
    /// Tasks run under the shutdown and come back to the router.
    pub fn new(attention: AttentionState, router: mpsc::Sender<Message>, shutdown: Shutdown) -> Self {
        Self { attention, router, shutdown }
    }

    /// Starts the task of an effect.
    pub fn carry_out(&self, partition: i32, epoch: i64, effect: Effect, refresh: &Refresh) {
        let back = Back { router: self.router.clone(), partition, epoch };
        let attention = self.attention.clone();
        match effect {
            Effect::RefreshConfig => refresh.by_version(),
            Effect::Apply(request, batch) => {
                self.shutdown.spawn("apply offers", async move {
                    fault::point("routing.offers.before_apply").await;
                    let answer = attention.apply(request).await;
                    fault::point("routing.offers.after_apply").await;
                    back.send(TaskResult::Applied(batch, answer)).await;
                });
            }
            Effect::Sync(number) => {
                self.shutdown.spawn("read snapshot", async move {
                    let complete = match pages(&attention, &back, number).await {
                        Ok(complete) => complete,
                        Err(error) => {
                            error.log("reading the snapshot of a partition");
                            false
                        }
                    };
                    back.send(TaskResult::Synced(number, complete)).await;
                });
            }
            Effect::Fetch(attention_id) => {
                self.shutdown.spawn("read attention", async move {
                    match fetch(&attention, partition, &attention_id).await {
                        Ok(found) => {
                            back.send(TaskResult::Fetched(attention_id, found)).await;
                        }
                        // The comparison with the snapshot finds it later.
                        Err(error) => error.log("reading an attention again"),
                    }
                });
            }
            Effect::Report(reports) => {
                self.shutdown.spawn("report presence", async move {
                    let keys = reports.iter().map(|report| report.agent_key.clone()).collect();
                    let answer =
                        attention.report(reports).await.inspect_err(|error| error.log("reporting presence"));
                    back.send(TaskResult::Reported(keys, answer.ok())).await;
                });
            }
        }
    }
}

async fn pages(attention: &AttentionState, back: &Back, number: u64) -> Result<bool, Error> {
    let mut token = String::new();
    loop {
        let page = attention.live(back.partition, Vec::new(), token).await?;
        if !back.send(TaskResult::Page(number, page.interactions)).await {
            return Ok(false);
        }
        if page.next_page_token.is_empty() {
            return Ok(true);
        }
        token = page.next_page_token;
    }
}

/// Reads to the end whatever the answer, since only then is a missing item known to be gone.
async fn fetch(attention: &AttentionState, partition: i32, id: &str) -> Result<Vec<LiveInteraction>, Error> {
    let (mut token, mut found) = (String::new(), Vec::new());
    loop {
        let page = attention.live(partition, vec![id.to_owned()], token).await?;
        found.extend(page.interactions.into_iter().filter(|live| live.attention_id == id));
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        token = page.next_page_token;
    }
}
