//! The ledger in PostgreSQL (schema `mail`): every state change is one transaction with what it tells others.

mod bounced;
mod cut_off;
mod directory;
mod held;
mod inbound;
mod parsing;
mod sending;
mod settling;
mod taken_over;

use std::collections::HashMap;
use std::sync::Arc;

use hilo_kit::db::Db;
use hilo_kit::nats::Subjects;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use inbound::{CursorMove, Naming, NewMail, Source, Stored};
pub use parsing::{Claim, PARSER, Waiting};
pub use sending::{AttemptResult, Due, Picked, PickedRecipient, SENDER};

/// Largest mail kept in the row itself; a larger one goes into the object store.
pub const INLINE_BYTES: usize = 256 * 1024;

/// Database work of this service.
#[derive(Clone, Debug)]
pub struct Store {
    db: Db,
    subjects: Subjects,
    unparsed: Arc<Notify>,
    unsent: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
}

impl Store {
    /// Over this database.
    pub fn new(db: Db, subjects: Subjects) -> Self {
        Self { db, subjects, unparsed: Arc::default(), unsent: Arc::default() }
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Notified when a mail of this process waits for a parser.
    pub fn unparsed(&self) -> Arc<Notify> {
        self.unparsed.clone()
    }

    /// Notified when a send of this account that this process took may be due; for its one owner here.
    pub fn unsent(&self, account: &str) -> Arc<Notify> {
        let mut unsent = self.unsent.lock();
        match unsent.get(account) {
            Some(bell) => bell.clone(),
            None => unsent.entry(account.to_owned()).or_default().clone(),
        }
    }
}

/// The next number of a key; its row stays locked until the transaction ends, so numbers are gapless and in order.
async fn next_sequence(
    tx: &mut sqlx::PgConnection,
    kind: &str,
    key: hilo_kit::ids::Uuid,
) -> Result<i64, hilo_kit::Error> {
    Ok(sqlx::query_scalar!(
        "INSERT INTO mail.sequence AS known (kind, key, last) VALUES ($1, $2, 1)
         ON CONFLICT (kind, key) DO UPDATE SET last = known.last + 1
         RETURNING last",
        kind,
        key,
    )
    .fetch_one(tx)
    .await?)
}
