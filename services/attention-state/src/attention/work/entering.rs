//! What an interaction asks for by itself is fixed here: in the transaction that lets it enter the queue of a campaign, by whatever
//! way it comes (a first message, another one in its attention, a transfer, an overflow, an answer to a dialer) or that an agent
//! begins or reopens it in. Being the one place through which all of them are written, it forgets none, and asks once for a whole batch.

use hilo_kit::error::Error;
use sqlx::PgConnection;

use super::{Touched, Work};
use crate::attention::domain::{Demand, Interaction, InteractionId, Stage};
use crate::attention::store::demand::{self, Entering};

impl Work {
    /// Fixes what those ask for that enter a queue, in their states and in the events since.
    pub(super) async fn fix_demands(&mut self, tx: &mut PgConnection) -> Result<(), Error> {
        let entering: Vec<Entering> = self.entering();
        if entering.is_empty() {
            return Ok(());
        }
        for (id, demand) in demand::read(tx, &entering).await? {
            self.fix(id, &demand);
        }
        Ok(())
    }

    fn entering(&self) -> Vec<Entering> {
        let mut entering = Vec::new();
        for entry in self.entries.values() {
            for touched in entry.interactions.values().filter(|touched| touched.enters()) {
                entering.push(Entering {
                    interaction: touched.now.id,
                    attention: entry.attention.id,
                    contact: entry.attention.contact,
                    campaign: touched.now.campaign.clone(),
                    queued_at: touched.now.queued_at,
                    waits: matches!(touched.now.stage, Stage::Queued { .. }),
                    from: touched.stored.as_ref().and_then(Interaction::holder).cloned(),
                });
            }
        }
        entering
    }

    fn fix(&mut self, id: InteractionId, demand: &Demand) {
        let entry = self.attentions.get(&id).and_then(|attention| self.entries.get_mut(attention));
        let Some(touched) = entry.and_then(|entry| entry.interactions.get_mut(&id)) else { return };
        touched.now.demand = demand.clone();
        for announcement in &mut self.announcements {
            // What happened before it came here happened with what it asked for there.
            if let Some(told) = announcement.happened.after.interaction.as_mut().filter(|told| told.id == id)
                && told.campaign == touched.now.campaign
            {
                told.demand = demand.clone();
            }
        }
    }
}

impl Touched {
    /// True when it came into its campaign, or was opened again there, since it was read.
    fn enters(&self) -> bool {
        let Some(stored) = &self.stored else { return true };
        let reopened = !stored.is_live() && self.now.is_live();
        reopened || stored.campaign != self.now.campaign
    }
}
