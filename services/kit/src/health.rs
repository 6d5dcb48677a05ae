//! Readiness as latches: every named condition must be on, and shutdown switches the whole off first.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Collects named conditions; ready when every one is on and nothing has begun to stop.
#[derive(Clone, Debug)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    conditions: Mutex<State>,
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    conditions: BTreeMap<String, bool>,
    stopping: bool,
}

/// Handle of one condition; off until it is set.
#[derive(Clone, Debug)]
pub struct Condition {
    name: String,
    shared: Arc<Shared>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// No conditions yet: ready.
    pub fn new() -> Self {
        let shared = Shared { conditions: Mutex::default(), ready: watch::Sender::new(true) };
        Self { shared: Arc::new(shared) }
    }

    /// Declares a condition, off until its handle is set.
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let condition = Condition { name: name.into(), shared: self.shared.clone() };
        condition.set(false);
        condition
    }

    /// Off for good: the process is about to stop.
    pub fn stopping(&self) {
        self.shared.change(|state| state.stopping = true);
    }

    /// True when every condition is on.
    pub fn is_ready(&self) -> bool {
        *self.shared.ready.borrow()
    }

    /// Names of the conditions that are off.
    pub fn missing(&self) -> Vec<String> {
        let state = self.shared.conditions.lock();
        state.conditions.iter().filter(|(_, on)| !**on).map(|(name, _)| name.clone()).collect()
    }

    /// Follows the value.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.shared.ready.subscribe()
    }

    /// Waits until ready.
    pub async fn ready(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.watch().wait_for(|ready| *ready).await;
    }
}

impl Condition {
    /// Switches the condition.
    pub fn set(&self, on: bool) {
        let before = self.shared.change(|state| state.conditions.insert(self.name.clone(), on));
        if before.is_some_and(|before| before != on) {
            tracing::info!(condition = %self.name, on, "readiness condition changed");
        }
    }
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.conditions.lock();
        let result = change(&mut state);
        let ready = !state.stopping && state.conditions.values().all(|on| *on);
        self.ready.send_if_modified(|current| std::mem::replace(current, ready) != ready);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_with_every_condition_and_never_while_stopping() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let nats = readiness.condition("nats");
        let database = readiness.condition("database");
        nats.set(true);
        assert_eq!(readiness.missing(), vec!["database".to_owned()]);
        assert!(!readiness.is_ready());
        database.set(true);
        assert!(readiness.is_ready());
        readiness.stopping();
        nats.set(true);
        assert!(!readiness.is_ready());
    }
}
