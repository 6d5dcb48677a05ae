//! Sends what the ledger holds: one owner per account by lease, attempts committed before they begin, people's order
//! kept within a conversation.

mod attempt;
mod owner;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hilo_kit::ids::Uuid;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::objects::Objects;

use crate::accounts::AccountsCache;
use crate::adapter::tls::Tls;
use crate::config::SenderConfig;
use crate::store::Store;
use hilo_kit::secrets::Secrets;

/// New accounts are looked for this often.
const ACCOUNTS: Duration = Duration::from_secs(1);

/// What a sender needs.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Ledger.
    pub store: Store,
    /// Object store.
    pub objects: Objects,
    /// Directory.
    pub accounts: AccountsCache,
    /// Passwords.
    pub secrets: Secrets,
    /// Certificate authorities.
    pub tls: Tls,
    /// Settings.
    pub config: SenderConfig,
    /// Our name in EHLO.
    pub helo: String,
}

/// Runs an owner for every account of the directory and for every other one that still has something to send.
pub async fn run(parts: Parts, shutdown: Shutdown) {
    let holder = format!("email-ingest-{}", Uuid::new_v4());
    let parts = Arc::new(parts);
    let mut owned: BTreeSet<String> = BTreeSet::new();
    tokio::select! {
        () = parts.accounts.loaded() => {}
        () = shutdown.cancelled() => return,
    }
    loop {
        for account in wanted(&parts).await {
            if owned.insert(account.clone()) {
                owner::spawn(parts.clone(), account, &holder, &shutdown);
            }
        }
        if !shutdown.sleep(ACCOUNTS).await {
            return;
        }
    }
}

async fn wanted(parts: &Parts) -> Vec<String> {
    let mut wanted: Vec<String> = match parts.accounts.current() {
        Some(accounts) => accounts.iter().map(|account| account.key.clone()).collect(),
        None => Vec::new(),
    };
    match parts.store.accounts_with_open_sends().await {
        Ok(open) => wanted.extend(open),
        Err(error) => error.log("looking for accounts with open sends"),
    }
    wanted
}
