//! Fetches mail by IMAP: one owner per account by lease, a cursor that moves only with the stored mail, IDLE with a
//! polling net, backing off per account.

mod answers;
mod fetch;
mod session;
mod troubles;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hilo_kit::clock;
use hilo_kit::error::{Class, Error};
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{Keeper, TERM};
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::directory::v1::ImapSettings;

use crate::accounts::AccountsCache;
use crate::adapter::tls::Tls;
use crate::config::ImapConfig;
use crate::ledger::Ledger;
use crate::store::Store;
use hilo_kit::secrets::Secrets;

/// Changed settings take effect within this time.
const ACCOUNTS: Duration = Duration::from_secs(1);
const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// A server that is away.
const BACKOFF_CAP: Duration = Duration::from_secs(60);
/// A refused password: quick retries lock accounts.
const DENIED_CAP: Duration = Duration::from_secs(600);
/// A session that lasted this long was healthy.
const HEALTHY: Duration = Duration::from_secs(30);

/// What a fetcher needs.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where mails go.
    pub ledger: Ledger,
    /// Cursors.
    pub store: Store,
    /// Directory.
    pub accounts: AccountsCache,
    /// Passwords.
    pub secrets: Secrets,
    /// Certificate authorities.
    pub tls: Tls,
    /// Settings.
    pub config: ImapConfig,
}

/// Runs a fetcher for every account with IMAP settings; changed settings start a new one.
pub async fn run(parts: Parts, shutdown: Shutdown) {
    let holder = format!("email-ingest-{}", Uuid::new_v4());
    let parts = Arc::new(parts);
    let mut running: HashMap<String, (ImapSettings, Shutdown)> = HashMap::new();
    loop {
        let wanted: HashMap<String, ImapSettings> = match parts.accounts.current() {
            Some(accounts) => {
                let fetched = accounts.iter().filter_map(|one| Some((one.key.clone(), one.imap.clone()?)));
                fetched.collect()
            }
            None => HashMap::new(),
        };
        running.retain(|key, (settings, stop)| {
            let same = wanted.get(key) == Some(settings);
            if !same {
                stop.begin();
            }
            same
        });
        for (key, settings) in wanted {
            running.entry(key.clone()).or_insert_with(|| {
                let stop = shutdown.child();
                let (parts, settings, own, holder) =
                    (parts.clone(), settings.clone(), stop.clone(), holder.clone());
                shutdown.spawn(format!("imap {key}"), {
                    let settings = settings.clone();
                    async move { account(&parts, &key, &settings, &holder, &own).await }
                });
                (settings, stop)
            });
        }
        if !shutdown.sleep(ACCOUNTS).await {
            return;
        }
    }
}

async fn account(parts: &Parts, key: &str, settings: &ImapSettings, holder: &str, stop: &Shutdown) {
    let keeper = Keeper::spawn(parts.store.db().clone(), format!("email-imap/{key}"), holder, TERM, stop);
    let mut failures = 0;
    let mut troubled = troubles::Troubles::default();
    while !stop.is_cancelled() {
        let lease = tokio::select! {
            lease = keeper.held() => lease,
            () = stop.cancelled() => return,
        };
        let Some(lease) = lease else { return };
        let began = Instant::now();
        let ended = tokio::select! {
            ended = session::run(parts, key, settings, &lease, &keeper, &mut troubled) => ended,
            () = stop.cancelled() => return,
        };
        failures = if began.elapsed() > HEALTHY { 0 } else { failures + 1 };
        let Err(error) = ended else { continue };
        tracing::warn!(account = key, failures, error = %error.chain(), "the mailbox cannot be read");
        stop.sleep(pause(&error, failures)).await;
    }
}

fn pause(error: &Error, failures: u32) -> Duration {
    let cap = if error.class() == Class::Denied { DENIED_CAP } else { BACKOFF_CAP };
    clock::backoff(failures.saturating_sub(1), BACKOFF_BASE, cap)
}
