//! Whom sends reach, by the word of the provider: what follows of it for the contacts we wrote to, in the transaction of the report.
//!
//! Only what is not known yet is looked at further, so the reports of running conversations cost two reads. Lock order as for intake:
//! identity keys first, with the wamids of the batch.

use std::collections::{BTreeSet, HashSet};

use hilo_kit::error::Error;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use sqlx::PgConnection;
use uuid::Uuid;

use super::Report;
use crate::attention::chat::window;
use crate::attention::store::reached::{self, Written};
use crate::attention::work::Work;
use crate::contact::lock_number;
use crate::contact::whatsapp::{self as customers, identities};

/// A report that says more of the customer than is known.
#[derive(Clone, Debug)]
struct News {
    delivery: Uuid,
    written: Written,
    who: WhatsAppIdentity,
}

/// What a batch says of whom its sends reach.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached {
    news: Vec<News>,
    /// What must be locked before it is believed.
    pub(super) locks: BTreeSet<i64>,
}

/// Looks what of the batch is new.
///
/// # Errors
/// Database errors.
pub(super) async fn look(tx: &mut PgConnection, reports: &[Report]) -> Result<Reached, Error> {
    let told: Vec<(&Report, &WhatsAppIdentity)> =
        reports.iter().filter_map(|report| Some((report, report.reached.as_ref()?))).collect();
    if told.is_empty() {
        return Ok(Reached::default());
    }
    let sends: Vec<Uuid> = told.iter().map(|(report, _)| report.send).collect();
    let written = reached::of_sends(tx, &sends).await?;
    let named: Vec<_> = told.iter().flat_map(|(_, who)| identities(who)).collect();
    let known = customers::known(tx, &named).await?;
    let mut news = Vec::new();
    for (report, who) in told {
        let written = written.iter().find(|one| one.send == report.send).copied();
        let unknown = written.filter(|written| !known.has_all(written.contact, who));
        news.extend(unknown.map(|written| News { delivery: report.delivery, written, who: who.clone() }));
    }
    if news.is_empty() {
        return Ok(Reached::default());
    }
    let contacts: Vec<Uuid> = news.iter().map(|one| one.written.contact.uuid()).collect();
    let own = customers::of_contacts(tx, &contacts).await?;
    let gained = news.iter().flat_map(|one| identities(&one.who));
    // Those of the contacts keep merges away, which lock them all.
    let locks = gained.chain(own).map(|one| lock_number(one.kind.word().as_bytes(), one.value.as_bytes()));
    Ok(Reached { locks: locks.collect(), news })
}

impl Reached {
    /// Believes those reports that are taken now. The locks are held. A conversation that turns out to reach somebody who wrote on this number
    /// within the day goes on with his window.
    ///
    /// # Errors
    /// `CONTACT_CHANGED` when a contact was merged before the locks were held: the next attempt sees it; database errors.
    pub(super) async fn settle(
        self,
        tx: &mut PgConnection,
        work: &mut Work,
        fresh: &HashSet<Uuid>,
    ) -> Result<(), Error> {
        let news: Vec<News> = self.news.into_iter().filter(|one| fresh.contains(&one.delivery)).collect();
        if news.is_empty() {
            return Ok(());
        }
        let sends: Vec<Uuid> = news.iter().map(|one| one.written.send).collect();
        let now = reached::of_sends(tx, &sends).await?;
        if news.iter().any(|one| !now.contains(&one.written)) {
            return Err(Error::conflict("CONTACT_CHANGED", "the contact was merged at this moment"));
        }
        let contacts: Vec<Uuid> = news.iter().map(|one| one.written.contact.uuid()).collect();
        let own = customers::of_contacts(tx, &contacts).await?;
        let named: Vec<_> = news.iter().flat_map(|one| identities(&one.who)).chain(own).collect();
        let mut known = customers::known(tx, &named).await?;
        for one in news {
            let Written { attention, contact, .. } = one.written;
            for (other, named) in known.reach(tx, contact, &one.who).await? {
                tracing::warn!(attention = %attention, contact = %contact, other = %other,
                    "Meta says that what was sent to one contact reaches another; a person may merge them");
                crate::metrics::reached_another();
                reached::note(tx, attention, other, &named).await?;
            }
            // Of one that waits for the answer nobody has anything to write in yet.
            if work.state(attention, None).is_some_and(|state| state.interaction.is_some()) {
                window::take(tx, work, attention, &one.who).await?;
            }
        }
        Ok(())
    }
}
