//! Answers that are here before the report on what they answer.
//!
//! Meta may know a telephone by other digits than those that were dialled, and says so in its answer to the send. Both ways from the channel
//! are read beside each other, so after a standstill the customer's answer may be read first: he would be somebody unknown, and a
//! second conversation begin. Such an item waits for the report, for a while.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hilo_kit::error::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Item, Sort};
use crate::attention::store::reached;
use crate::contact::whatsapp::{names, other_digits};

/// How long such an item waits. A send whose attempt got no answer is reported on after 60 s (`unknown`), and reading a backlog takes its time.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most items that wait at a time in a process; what comes beyond does not wait. What waits counts among what the broker hands out to all
/// replicas together before it waits for acknowledgements (1,024): mails and everybody else's messages must go on beside it.
const MOST: usize = 128;

/// Since when items wait, as far as this process knows.
#[derive(Debug)]
pub(in crate::intake) struct Patience {
    lasts: Duration,
    since: Mutex<HashMap<Uuid, Instant>>,
}

impl Default for Patience {
    fn default() -> Self {
        Self::of(PATIENCE)
    }
}

impl Patience {
    pub(in crate::intake) fn of(lasts: Duration) -> Self {
        Self { lasts, since: Mutex::default() }
    }

    /// Whether the item may wait (again).
    pub(in crate::intake) fn lasts(&self, item: &Item) -> bool {
        if item.sort != Sort::Said || written_otherwise(item).is_empty() {
            return false;
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let room = since.len() < MOST;
        match since.get(&item.delivery) {
            Some(began) => began.elapsed() < self.lasts,
            None if room => {
                since.insert(item.delivery, Instant::now());
                !self.lasts.is_zero()
            }
            None => {
                // Those that another replica took in meanwhile.
                since.retain(|_, began| began.elapsed() < 2 * self.lasts);
                false
            }
        }
    }

    /// These wait no more.
    pub(in crate::intake) fn ends(&self, items: impl Iterator<Item = Uuid>) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            since.remove(&item);
        }
    }
}

/// The other digits by which the customer's telephone may have been dialled.
fn written_otherwise(item: &Item) -> Vec<String> {
    names(&item.customer).iter().flat_map(|name| other_digits(name)).collect()
}

/// Which of these, all of whom would begin a conversation, may be the answer to what we have begun on the same number and nothing is
/// reported of yet; with what follows them in the batch. Answers their deliveries.
///
/// # Errors
/// Database errors.
pub(super) async fn held(
    tx: &mut PgConnection,
    items: &[Item],
    begins: impl Fn(&Item) -> bool,
) -> Result<HashSet<Uuid>, Error> {
    let (mut deliveries, mut asked) = (Vec::new(), Vec::new());
    for item in items.iter().filter(|item| item.patient && begins(item)) {
        for digits in written_otherwise(item) {
            deliveries.push(item.delivery);
            asked.push(reached::Asked {
                account: item.account.clone(),
                number: format!("+{digits}"),
                before: item.received_at,
            });
        }
    }
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    let found = reached::unreported(tx, &asked).await?;
    let held: HashSet<Uuid> = found.into_iter().filter_map(|at| deliveries.get(at).copied()).collect();
    let mut behind = HashSet::new();
    let mut all = HashSet::new();
    for item in items {
        if held.contains(&item.delivery) || behind.contains(&item.conversation) {
            behind.insert(item.conversation);
            all.insert(item.delivery);
        }
    }
    if !all.is_empty() {
        tracing::debug!(
            items = all.len(),
            "answers wait for reports on what was sent to numbers like theirs"
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use hilo_kit::consumer::ConsumerSpec;
    use hilo_kit::nats::StreamKind;

    #[test]
    fn what_waits_leaves_room_for_everybody_else() {
        let handed_out = ConsumerSpec::new(StreamKind::Inbound, "any").max_ack_pending;
        let waiting = i64::try_from(4 * super::MOST).unwrap();
        assert!(2 * waiting <= handed_out, "four replicas keep {waiting} of {handed_out}");
    }
}
