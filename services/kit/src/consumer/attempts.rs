//! Which tries of a message count. Tries are counted before they begin, as one of them may end the process; what came back and
//! only waits is taken back.

use uuid::Uuid;

use super::lanes::Entry;
use super::work::{Fate, Worker};
use crate::error::Error;

impl Worker {
    /// Counts the tries that must be counted, before they begin.
    pub(super) async fn count_attempts(&self, batch: &mut [Entry]) -> Result<(), Error> {
        let ids: Vec<Uuid> =
            batch.iter().filter(|entry| entry.count_next).map(|entry| entry.delivery.id()).collect();
        let mut counted = if ids.is_empty() {
            Vec::new()
        } else {
            self.sink.begin_attempts(&self.spec.durable, &ids).await?
        }
        .into_iter();
        for entry in batch {
            if entry.count_next {
                entry.attempts = counted.next().unwrap_or(entry.attempts + 1).max(entry.attempts + 1);
                entry.count_next = false;
            } else {
                entry.attempts = entry.attempts.max(1);
            }
        }
        Ok(())
    }

    /// What came back and only waits has killed no process: its counted try does not count, or those that wait while another
    /// message kills their process again and again would be buried beside it. Its next try is counted anew, as it may be the
    /// one that kills.
    pub(super) async fn take_back_attempts(&self, batch: &mut [Entry], fates: &[Fate]) {
        let counted = |entry: &Entry| entry.attempts > 1 && entry.replay_of.is_none();
        let mut back: Vec<&mut Entry> = batch
            .iter_mut()
            .zip(fates)
            .filter(|(entry, fate)| matches!(fate, Fate::Wait(_)) && counted(entry))
            .map(|(entry, _)| entry)
            .collect();
        if back.is_empty() {
            return;
        }
        let ids: Vec<Uuid> = back.iter().map(|entry| entry.delivery.id()).collect();
        match self.sink.take_back_attempts(&self.spec.durable, &ids).await {
            Ok(()) => back.iter_mut().for_each(|entry| {
                entry.attempts -= 1;
                entry.count_next = true;
            }),
            Err(error) => error.log("taking back attempts"),
        }
    }
}
