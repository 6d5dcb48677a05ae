//! The ledger in PostgreSQL (schema `whatsapp`): every state change is one transaction with what it tells others.

mod begin;
mod claims;
mod customers;
mod directory;
mod held;
mod ledger;
mod media;
mod parsing;
mod reports;
mod sending;
mod settling;
mod statuses;
mod strays;
mod templates;
mod turn;
mod uploads;
mod written;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::Subjects;
use parking_lot::Mutex;
use sqlx::PgConnection;
use tokio::sync::Notify;

pub use begin::{Ask, Begun, Picked};
pub use held::Held;
pub use ledger::NewWebhook;
pub use media::{Again, Wanted};
pub use parsing::{Claimed, Heard, ItemAt, MAX_ATTEMPTS, Parsed, Waits};
pub use sending::{Due, SENDER};
pub use settling::AttemptResult;
pub use strays::{PARSER, SLOW, Stray, StrayAt, StrayPlace, Strays};
pub use uploads::Uploaded;

/// Name of the channel in subjects.
pub(crate) const CHANNEL: &str = "whatsapp";

/// Database work of this service.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
    subjects: Subjects,
    unparsed: Arc<Notify>,
    unfetched: Arc<Notify>,
    unsent: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
}

impl Store {
    /// Over this database.
    pub fn new(db: Db, subjects: Subjects) -> Self {
        Self { db, subjects, unparsed: Arc::default(), unfetched: Arc::default(), unsent: Arc::default() }
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Notified when a webhook of this process waits for the parser.
    pub fn unparsed(&self) -> Arc<Notify> {
        self.unparsed.clone()
    }

    /// Notified when a file may wait to be fetched.
    pub fn unfetched(&self) -> Arc<Notify> {
        self.unfetched.clone()
    }

    /// Notified when something of this account may be due; for its one owner here.
    pub fn unsent(&self, account: &str) -> Arc<Notify> {
        let mut unsent = self.unsent.lock();
        match unsent.get(account) {
            Some(bell) => bell.clone(),
            None => unsent.entry(account.to_owned()).or_default().clone(),
        }
    }
}

/// Takes the next numbers of keys, so many of each; answers the first of each. Their rows stay locked until the transaction
/// ends, so numbers are gapless and their order is the order of commit.
async fn take_numbers(
    tx: &mut PgConnection,
    kind: &str,
    counts: &BTreeMap<Uuid, i64>,
) -> Result<BTreeMap<Uuid, i64>, Error> {
    // In one order, so that two of these cannot wait for each other.
    let keys: Vec<Uuid> = counts.keys().copied().collect();
    let wanted: Vec<i64> = counts.values().copied().collect();
    let rows = sqlx::query!(
        "INSERT INTO whatsapp.sequence AS known (kind, key, last)
         SELECT $1, w.key, w.count FROM unnest($2::uuid[], $3::bigint[]) AS w (key, count) ORDER BY w.key
         ON CONFLICT (kind, key) DO UPDATE SET last = known.last + excluded.last
         RETURNING key, last",
        kind,
        &keys,
        &wanted,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.key, row.last - counts.get(&row.key).copied().unwrap_or(1) + 1))
        .collect())
}
