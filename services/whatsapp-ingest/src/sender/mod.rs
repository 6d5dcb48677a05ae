//! Sends what the ledger holds: one owner per number by lease, attempts committed before they begin, at the pace that Meta grants.

mod attempt;
mod owner;
mod uploads;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hilo_kit::ids::Uuid;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::secrets::Secrets;

pub use uploads::Uploads;

use crate::accounts::NumbersCache;
use crate::adapter::graph::Graph;
use crate::config::SenderConfig;
use crate::store::Store;

/// New numbers are looked for this often.
const NUMBERS: Duration = Duration::from_secs(1);

/// What a sender needs.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Ledger.
    pub store: Store,
    /// Directory.
    pub numbers: NumbersCache,
    /// Access tokens.
    pub secrets: Secrets,
    /// The Graph API.
    pub graph: Graph,
    /// Files on their way to it.
    pub uploads: Uploads,
    /// Settings.
    pub config: SenderConfig,
}

/// Runs an owner for every number of the directory and for every account that still has something to send.
pub async fn run(parts: Parts, shutdown: Shutdown) {
    let holder = format!("whatsapp-ingest-{}", Uuid::new_v4());
    let parts = Arc::new(parts);
    let mut owned: BTreeSet<String> = BTreeSet::new();
    tokio::select! {
        () = parts.numbers.loaded() => {}
        () = shutdown.cancelled() => return,
    }
    loop {
        for account in wanted(&parts).await {
            if owned.insert(account.clone()) {
                owner::spawn(parts.clone(), account, &holder, &shutdown);
            }
        }
        if !shutdown.sleep(NUMBERS).await {
            return;
        }
    }
}

async fn wanted(parts: &Parts) -> Vec<String> {
    let mut wanted: Vec<String> = match parts.numbers.current() {
        Some(numbers) => numbers.iter().map(|number| number.key.clone()).collect(),
        None => Vec::new(),
    };
    match parts.store.accounts_with_open_sends().await {
        Ok(open) => wanted.extend(open),
        Err(error) => error.log("looking for accounts with open sends"),
    }
    wanted
}
