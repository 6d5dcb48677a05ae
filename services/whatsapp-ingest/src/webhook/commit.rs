//! Group commit: bodies that come while one commit is under way share the next one, so that a commit's price is shared by all
//! that wait. Nobody is told that a body arrived before its commit has.

use std::time::{Duration, Instant};

use hilo_kit::error::{Class, Error};
use hilo_kit::fault;
use hilo_kit::lifecycle::Shutdown;
use tokio::sync::{mpsc, oneshot};

use super::body::Room;
use crate::metrics;
use crate::store::{NewWebhook, Store};

/// Bodies of one commit.
const AT_ONCE: usize = 256;
/// Their bytes together, unless one alone has more.
const BYTES_AT_ONCE: usize = 8 * 1024 * 1024;
/// Bodies that wait for the next commit; beyond it a POST is refused at once.
const WAITING: usize = 4_096;
/// Longest wait of a POST for its commit; Meta gives up on an answer later than that and sends it again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A body, the memory it takes until its commit, and who waits for that.
struct Waiting {
    webhook: NewWebhook,
    room: Room,
    answer: oneshot::Sender<bool>,
}

/// Commits bodies.
#[derive(Clone, Debug)]
pub struct Committer(mpsc::Sender<Waiting>);

impl Committer {
    /// Starts committing.
    pub fn start(store: Store, shutdown: &Shutdown) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        // Ends when the last handler is gone: what has come before a stop is committed.
        shutdown.spawn("webhook ledger", run(store, receiver));
        Self(sender)
    }

    /// Waits until the body is committed. `false`: nobody knows that it is, so nobody may say so.
    pub async fn commit(&self, webhook: NewWebhook, room: Room) -> bool {
        let (answer, told) = oneshot::channel();
        if self.0.try_send(Waiting { webhook, room, answer }).is_err() {
            return false;
        }
        let began = Instant::now();
        let committed = matches!(tokio::time::timeout(PATIENCE, told).await, Ok(Ok(true)));
        if committed {
            metrics::committed(began.elapsed().as_secs_f64());
        }
        committed
    }
}

async fn run(store: Store, mut receiver: mpsc::Receiver<Waiting>) {
    let mut carried: Option<Waiting> = None;
    loop {
        let first = match carried.take() {
            Some(first) => first,
            None => match receiver.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut bytes = first.webhook.body.len();
        let mut batch = vec![first];
        while batch.len() < AT_ONCE {
            let Ok(next) = receiver.try_recv() else { break };
            bytes += next.webhook.body.len();
            if bytes > BYTES_AT_ONCE {
                carried = Some(next);
                break;
            }
            batch.push(next);
        }
        // Nobody waits for these any more; Meta sends them again.
        batch.retain(|one| !one.answer.is_closed());
        if !batch.is_empty() {
            commit(&store, batch).await;
        }
    }
}

async fn commit(store: &Store, batch: Vec<Waiting>) {
    let (mut rows, mut rooms, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for Waiting { webhook, room, answer } in batch {
        rows.push(webhook);
        rooms.push(room);
        answers.push(answer);
    }
    fault::point("whatsapp.webhook.before_commit").await;
    let kept = store.keep(rows.clone()).await;
    fault::point("whatsapp.webhook.after_commit").await;
    match kept {
        Ok(()) => answers.into_iter().for_each(|answer| tell(answer, true)),
        Err(error) if error.class() == Class::Unavailable || rows.len() == 1 => {
            error.log("committing webhooks");
            answers.into_iter().for_each(|answer| tell(answer, false));
        }
        // One of them may be the reason; the others must not suffer for it.
        Err(error) => {
            error.log("committing webhooks; one by one now");
            for (row, answer) in rows.into_iter().zip(answers) {
                let kept: Result<(), Error> = store.keep(vec![row]).await;
                if let Err(error) = &kept {
                    error.log("committing a webhook");
                }
                tell(answer, kept.is_ok());
            }
        }
    }
    drop(rooms);
}

fn tell(answer: oneshot::Sender<bool>, kept: bool) {
    // Who does not wait any more answers 503 himself, and Meta sends it again.
    let _ = answer.send(kept);
}
