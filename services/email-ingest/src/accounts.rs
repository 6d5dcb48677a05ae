//! The accounts of the current directory, derived once per version.

use std::sync::Arc;

use hilo_kit::directory::DirectoryCache;
use parking_lot::Mutex;

use crate::domain::accounts::Accounts;

/// Follows the directory.
#[derive(Clone, Debug)]
pub struct AccountsCache {
    directory: DirectoryCache,
    derived: Arc<Mutex<(i64, Arc<Accounts>)>>,
}

impl AccountsCache {
    /// Over this directory.
    pub fn new(directory: DirectoryCache) -> Self {
        Self { directory, derived: Arc::default() }
    }

    /// The accounts now; `None` before the first directory was read.
    pub fn current(&self) -> Option<Arc<Accounts>> {
        let directory = self.directory.current();
        if !directory.is_loaded() {
            return None;
        }
        let mut derived = self.derived.lock();
        if derived.0 != directory.version() {
            let all: Vec<_> = directory.accounts().cloned().collect();
            let accounts = Accounts::new(&all);
            warn_of_switches(&accounts);
            *derived = (directory.version(), Arc::new(accounts));
        }
        Some(derived.1.clone())
    }

    /// Waits until a directory was read.
    pub async fn loaded(&self) {
        self.directory.loaded().await;
    }
}

/// The one switch that relaxes who may join a thread is never silent.
fn warn_of_switches(accounts: &Accounts) {
    for account in accounts.iter().filter(|account| account.accept_unauthenticated_replies) {
        tracing::warn!(
            account = %account.key,
            "accept_unauthenticated_replies is ON: mails of this account may join a thread without an authenticated sender"
        );
    }
}
