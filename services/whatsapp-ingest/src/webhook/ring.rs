//! The secrets that webhooks are checked with, read again and again so that a new one is known without a restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hilo_kit::config::Secret;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::secrets::Secrets;
use parking_lot::RwLock;
use subtle::ConstantTimeEq as _;

use crate::accounts::NumbersCache;
use crate::domain::signature::Claimed;

/// Secrets are read this often.
const REFRESH: Duration = Duration::from_secs(1);

/// The secrets now, by name.
#[derive(Clone, Debug, Default)]
struct Keys {
    app: Vec<(String, Secret)>,
    verify: Vec<(String, Secret)>,
}

/// Checks webhooks. Without a secret it fits nothing.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(Arc<RwLock<Arc<Keys>>>);

impl KeyRing {
    /// Keeps the secrets of every number of the directory.
    pub fn start(numbers: NumbersCache, secrets: Secrets, shutdown: &Shutdown) -> Self {
        let ring = Self::default();
        let (keeping, stop) = (ring.clone(), shutdown.clone());
        shutdown.spawn("webhook secrets", async move {
            let mut missing = BTreeSet::new();
            loop {
                keeping.read(&numbers, &secrets, &mut missing).await;
                if !stop.sleep(REFRESH).await {
                    return;
                }
            }
        });
        ring
    }

    async fn read(&self, numbers: &NumbersCache, secrets: &Secrets, missing: &mut BTreeSet<String>) {
        let Some(numbers) = numbers.current() else { return };
        let keys = Keys {
            app: found(secrets, numbers.app_secrets(), missing).await,
            verify: found(secrets, numbers.verify_tokens(), missing).await,
        };
        *self.0.write() = Arc::new(keys);
    }

    /// True while there is a secret by which a webhook can be checked.
    pub fn can_check(&self) -> bool {
        !self.0.read().app.is_empty()
    }

    /// True while there is a token by which a handshake can be checked.
    pub fn can_verify(&self) -> bool {
        !self.0.read().verify.is_empty()
    }

    /// Names of the app secrets that the signature fits; none for an altered body or digest.
    pub fn signers(&self, claimed: Claimed, body: &[u8]) -> Vec<String> {
        let keys = self.0.read().clone();
        let fit = keys.app.iter().filter(|(_, secret)| claimed.fits(secret.expose().as_bytes(), body));
        fit.map(|(name, _)| name.clone()).collect()
    }

    /// True when a number's verify token is this one; compared in constant time.
    pub fn is_verify_token(&self, token: &str) -> bool {
        let keys = self.0.read().clone();
        let equal = |secret: &Secret| bool::from(secret.expose().as_bytes().ct_eq(token.as_bytes()));
        keys.verify.iter().filter(|(_, secret)| equal(secret)).count() > 0
    }
}

/// Those that exist and are not empty; one that is missing is said once.
async fn found(
    secrets: &Secrets,
    names: BTreeSet<String>,
    missing: &mut BTreeSet<String>,
) -> Vec<(String, Secret)> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        match secrets.get(&name).await {
            Ok(secret) if !secret.is_empty() => {
                missing.remove(&name);
                found.push((name, secret));
            }
            Ok(_) | Err(_) => {
                if missing.insert(name.clone()) {
                    tracing::error!(secret = %name, "a secret of a WhatsApp number is missing; what it checks is refused");
                }
            }
        }
    }
    found
}
