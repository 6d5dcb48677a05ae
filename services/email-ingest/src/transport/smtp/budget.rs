//! The memory that all sessions together may hold: many large mails at once must not be more than the machine has.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Smallest amount that is counted, in bytes.
const UNIT: usize = 1024;

/// So many bytes for all sessions.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// Of `bytes`, rounded down to 1,024.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// A share of nothing yet.
    pub fn share(&self) -> Share {
        Share { budget: self.0.clone(), permit: None, units: 0 }
    }
}

/// What one mail holds; given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    units: usize,
}

impl Share {
    /// Grows to `bytes`; `false` when there is no room for that now. Never waits: two sessions that each held half would
    /// wait for each other.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.div_ceil(UNIT).saturating_sub(self.units);
        let Ok(wanted) = u32::try_from(more) else { return false };
        let Ok(permit) = self.budget.clone().try_acquire_many_owned(wanted) else { return false };
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        self.units += more;
        true
    }

    /// Gives everything back.
    pub fn give_back(&mut self) {
        self.permit = None;
        self.units = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_within_the_budget_and_come_back() {
        let budget = Budget::new(10 * UNIT);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert!(one.grow_to(1) && one.grow_to(6 * UNIT) && one.grow_to(UNIT));
        assert!(two.grow_to(4 * UNIT) && !two.grow_to(4 * UNIT + 1));
        drop(one);
        assert!(two.grow_to(10 * UNIT) && !budget.share().grow_to(1));
        two.give_back();
        assert!(budget.share().grow_to(10 * UNIT));
    }
}
