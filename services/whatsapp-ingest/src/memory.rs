//! Memory for files under way, one bound for the whole process: whoever brings a file in or out takes room for it first.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is counted in these.
const UNIT: u64 = 1_024;

/// What all files of this process together may take; clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    free: Arc<Semaphore>,
    units: u32,
}

/// Memory of one file, given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    _permit: OwnedSemaphorePermit,
}

impl Memory {
    /// So many bytes.
    pub fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(units).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(permits)), units }
    }

    /// Room for so many bytes; waits for others to be done, in turn. `None` when that is more than there is in all.
    pub async fn room(&self, bytes: u64) -> Option<Room> {
        let units = u32::try_from(bytes.div_ceil(UNIT).max(1)).ok().filter(|units| *units <= self.units)?;
        let permit = self.free.clone().acquire_many_owned(units).await;
        Some(Room { _permit: permit.expect("invariant: nobody closes the semaphore") })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_together_never_take_more_than_there_is() {
        let memory = Memory::new(10 * UNIT);
        let other = memory.clone();
        let held = memory.room(8 * UNIT).await.unwrap();
        let waits = tokio::time::timeout(Duration::from_secs(60), other.room(2 * UNIT + 1)).await;
        assert!(waits.is_err(), "clones share one bound");
        drop(held);
        assert!(other.room(10 * UNIT).await.is_some());
        assert!(memory.room(10 * UNIT + 1).await.is_none(), "it would never fit");
        assert!(memory.room(0).await.is_some());
    }
}
