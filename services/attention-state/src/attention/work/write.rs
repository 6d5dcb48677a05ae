//! Writing what was decided, in the order in which the tables' rules allow it.

use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Entry, Work};
use crate::assignment::load;
use crate::attention::{outbox, store};

impl Work {
    /// Fixes what those ask for that enter a queue, and writes everything that changed: attentions, interactions, loads, events into the outbox. Call it once, last.
    ///
    /// # Errors
    /// `LOST_UPDATE` when a row is not at the version read; database errors.
    pub async fn write(&mut self, tx: &mut PgConnection, subjects: &Subjects) -> Result<(), Error> {
        self.fix_demands(tx).await?;
        self.write_attentions(tx).await?;
        self.write_interactions(tx).await?;
        load::change_many(tx, &self.loads()).await?;
        outbox::append_events(tx, subjects, &self.announcements, self.now).await
    }

    async fn write_attentions(&self, tx: &mut PgConnection) -> Result<(), Error> {
        let (new, old): (Vec<&Entry>, Vec<&Entry>) =
            self.entries.values().partition(|entry| entry.stored_sequence == 0);
        // Before its successor comes in: of a lineage one open attention takes messages.
        let flooded: Vec<Uuid> =
            old.iter().filter(|entry| entry.floods).map(|entry| entry.attention.id.uuid()).collect();
        if !flooded.is_empty() {
            store::mark_flooded(tx, &flooded).await?;
        }
        let new: Vec<_> = new.into_iter().map(|entry| (&entry.attention, &entry.head)).collect();
        store::insert_attentions(tx, &new).await?;
        let changed: Vec<_> = old
            .into_iter()
            .filter(|entry| entry.head_changed || entry.attention.sequence != entry.stored_sequence)
            .map(|entry| (entry.stored_sequence, &entry.attention, &entry.head))
            .collect();
        store::update_attentions(tx, &changed).await
    }

    async fn write_interactions(&self, tx: &mut PgConnection) -> Result<(), Error> {
        let (mut new, mut changed, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        for entry in self.entries.values() {
            for touched in entry.interactions.values() {
                match &touched.stored {
                    None => new.push((&entry.attention, &touched.now, &touched.lines)),
                    Some(stored) if *stored != touched.now => {
                        if stored.campaign != touched.now.campaign {
                            moved.push(touched.now.id.uuid());
                        }
                        changed.push((stored.version, &entry.attention, &touched.now, &touched.lines));
                    }
                    Some(_) => {}
                }
            }
        }
        // Changes first: an interaction may end and another of the same attention begin in one transaction.
        store::update_interactions(tx, &changed).await?;
        if !moved.is_empty() {
            store::forget_kept_forms(tx, &moved).await?;
        }
        store::insert_interactions(tx, &new).await
    }
}
