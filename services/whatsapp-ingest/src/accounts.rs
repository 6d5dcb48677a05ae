//! The numbers of the current directory, derived once per version; after a start, until attention-state answers, those that were
//! kept in the database.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::directory::DirectoryCache;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;
use parking_lot::Mutex;

use crate::domain::accounts::Numbers;
use crate::store::Store;

/// Follows the directory.
#[derive(Clone, Debug)]
pub struct NumbersCache {
    directory: DirectoryCache,
    kept: Option<Arc<Numbers>>,
    derived: Arc<Mutex<(i64, Arc<Numbers>)>>,
}

impl NumbersCache {
    /// Over this directory and what was kept of it, and keeps what comes.
    ///
    /// # Errors
    /// Database errors.
    pub async fn start(directory: DirectoryCache, store: &Store, shutdown: &Shutdown) -> Result<Self, Error> {
        let kept = match store.kept_accounts().await {
            Ok(kept) => kept.map(|accounts| Arc::new(Numbers::new(0, &accounts))),
            Err(error) if error.reason() == "DIRECTORY_UNREADABLE" => {
                error.log("reading the kept directory");
                None
            }
            Err(error) => return Err(error),
        };
        let (following, store, stop) = (directory.clone(), store.clone(), shutdown.clone());
        shutdown.spawn("directory keeper", async move { keep(&following, &store, &stop).await });
        Ok(Self { directory, kept, derived: Arc::default() })
    }

    /// The numbers now; `None` before any directory was ever read.
    pub fn current(&self) -> Option<Arc<Numbers>> {
        let directory = self.directory.current();
        if !directory.is_loaded() {
            return self.kept.clone();
        }
        let mut derived = self.derived.lock();
        if derived.0 != directory.version() {
            let all: Vec<_> = directory.accounts().cloned().collect();
            *derived = (directory.version(), Arc::new(Numbers::new(directory.version(), &all)));
        }
        Some(derived.1.clone())
    }

    /// Waits until numbers are known.
    pub async fn loaded(&self) {
        if self.kept.is_none() {
            self.directory.loaded().await;
        }
    }
}

async fn keep(directory: &DirectoryCache, store: &Store, stop: &Shutdown) {
    let mut changes = directory.watch();
    let mut kept = 0;
    loop {
        let now = changes.borrow_and_update().clone();
        if now.is_loaded() && now.version() != kept {
            match store.keep_accounts(now.version(), now.accounts().cloned().collect()).await {
                Ok(()) => kept = now.version(),
                Err(error) => {
                    error.log("keeping the directory");
                    if !stop.sleep(Duration::from_secs(2)).await {
                        return;
                    }
                    continue;
                }
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
    }
}
