//! Batches that come while others are being committed are committed together: a router sends one per partition, most with a few
//! changes, and a transaction of many costs little more than one of a few. Who comes alone does not wait.

use std::collections::VecDeque;
use std::sync::Arc;

use hilo_kit::Error;
use hilo_kit::db::Db;
use hilo_kit::error::Class;
use hilo_kit::nats::Subjects;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use super::offers::{self, Applied, Batch, MAX_CHANGES};

/// Transactions at once: one is being committed while the next is decided.
const AT_ONCE: usize = 2;

/// Commits batches; clones share the work.
#[derive(Clone, Debug)]
pub struct Together(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    db: Db,
    subjects: Arc<Subjects>,
    waiting: Mutex<VecDeque<Waiting>>,
    turns: Semaphore,
}

#[derive(Debug)]
struct Waiting {
    batch: Arc<Batch>,
    answer: oneshot::Sender<Applied>,
}

impl Together {
    /// Commits by `db`; events are named by `subjects`.
    pub fn new(db: Db, subjects: Arc<Subjects>) -> Self {
        Self(Arc::new(Shared { db, subjects, waiting: Mutex::default(), turns: Semaphore::new(AT_ONCE) }))
    }

    /// Applies a batch, in one transaction with others that wait.
    ///
    /// # Errors
    /// `STALE_EPOCH`, `STALE_CONFIG` for the whole batch; database errors, after which it is not known whether it was committed
    /// where they say so.
    pub async fn apply(&self, batch: Batch) -> Applied {
        let (answer, answered) = oneshot::channel();
        self.0.waiting.lock().push_back(Waiting { batch: Arc::new(batch), answer });
        let shared = Arc::clone(&self.0);
        // A task of its own: a caller that goes away takes no other's batch along.
        tokio::spawn(async move { shared.serve().await });
        answered.await.unwrap_or_else(|_| Err(forgotten()))
    }
}

impl Shared {
    /// Waits for a turn and commits what waits by then; nothing when another turn took it.
    async fn serve(&self) {
        // The semaphore is never closed.
        let Ok(_turn) = self.turns.acquire().await else { return };
        let together = self.take();
        if together.is_empty() {
            return;
        }
        let batches = together.iter().map(|one| Arc::clone(&one.batch)).collect();
        match self.commit(batches).await {
            Ok(answers) => together.into_iter().zip(answers).for_each(|(one, answer)| one.end(answer)),
            Err(error) => self.failed(together, error).await,
        }
    }

    /// The oldest, as many as one transaction takes; what nobody waits for any more is decided anew by its router.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock();
        let (mut together, mut changes) = (Vec::new(), 0);
        while let Some(one) = waiting.pop_front() {
            if one.answer.is_closed() {
                continue;
            }
            changes += one.batch.len();
            if changes > MAX_CHANGES && !together.is_empty() {
                waiting.push_front(one);
                break;
            }
            together.push(one);
        }
        together
    }

    async fn commit(&self, batches: Vec<Arc<Batch>>) -> Result<Vec<Applied>, Error> {
        let (batches, subjects) = (Arc::new(batches), Arc::clone(&self.subjects));
        self.db
            .transaction(move |tx| {
                let (batches, subjects) = (Arc::clone(&batches), Arc::clone(&subjects));
                Box::pin(async move { offers::apply(tx, &subjects, &batches).await })
            })
            .await
    }

    /// Nothing was committed, or nobody knows: when the database is away all are told so, else each is tried by itself, so that
    /// none suffers for another.
    async fn failed(&self, mut together: Vec<Waiting>, error: Error) {
        if together.len() == 1 {
            return together.remove(0).end(Err(error));
        }
        let away = matches!(error.class(), Class::Unavailable | Class::Exhausted);
        error.log("committing offers together");
        for one in together.into_iter().filter(|one| !one.answer.is_closed()) {
            let answer = match away {
                true => Err(Error::unavailable("DATABASE_UNAVAILABLE", "offers could not be committed")),
                false => self.alone(&one.batch).await,
            };
            one.end(answer);
        }
    }

    async fn alone(&self, batch: &Arc<Batch>) -> Applied {
        let answers = self.commit(vec![Arc::clone(batch)]).await?;
        answers.into_iter().next().unwrap_or_else(|| Err(forgotten()))
    }
}

fn forgotten() -> Error {
    Error::internal("BATCH_FORGOTTEN", "no answer to the batch")
}

impl Waiting {
    /// Who asked may have gone; what was committed stays so.
    fn end(self, answer: Applied) {
        let _ = self.answer.send(answer);
    }
}
