//! Webhooks: what happened, put into Meta's envelope, signed, posted, and tried again until it is answered with 200.

mod body;
mod deliver;
pub mod sign;

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;

use crate::world::Core;

pub(crate) use deliver::{handshake, loopback, run};

/// What an event adds to a value.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// One of `messages`.
    Message(Value),
    /// One of `statuses`.
    Status(Value),
    /// A value of its own.
    Whole(Value),
}

/// Something to tell.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub app: String,
    pub account: String,
    /// `metadata` of the value, for fields that have it.
    pub metadata: Value,
    pub field: String,
    pub contact: Option<Value>,
    pub item: Item,
    /// `time` of the entry, in seconds of Unix time; accounts' notices have it, messages do not.
    pub time: Option<i64>,
    /// What the record calls it.
    pub label: String,
}

/// What waits to be told.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<Vec<Event>>,
    wake: Notify,
    /// Events and planned statuses that are neither answered nor given up.
    pending: AtomicUsize,
    pub settled: Notify,
}

impl Outbox {
    pub fn push(&self, event: Event) {
        self.expect(1);
        self.queue.lock().push(event);
        self.wake.notify_one();
    }

    /// Something will be told later.
    pub fn expect(&self, count: usize) {
        self.pending.fetch_add(count, Ordering::SeqCst);
    }

    /// It was told, or never will be.
    pub fn done(&self, count: usize) {
        if self.pending.fetch_sub(count, Ordering::SeqCst) == count {
            self.settled.notify_waiters();
        }
    }

    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::SeqCst)
    }

    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Core {
    /// Resolves when everything that happened has been told.
    pub async fn settled(&self) {
        loop {
            let notified = self.outbox.settled.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.outbox.pending() == 0 {
                return;
            }
            notified.await;
        }
    }
}
