//! The provider's published keys: read at the start, every few minutes, and soon after a token named an unknown one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::RwLock;
use serde::Deserialize;
use tokio::sync::Notify;

use super::fetch::Fetcher;
use crate::config::OidcConfig;
use crate::error::Error;
use crate::lifecycle::Shutdown;

/// How often the keys are read again.
const REFRESH: Duration = Duration::from_secs(300);
/// Least time between two readings, whatever tokens name: a stranger must not make us ask the provider all day.
const PAUSE: Duration = Duration::from_secs(5);
/// Most keys taken.
const MAX_KEYS: usize = 50;
/// Least bytes of an RSA modulus: 2048 bits (RFC 7518 section 3.3).
const MIN_RSA_BYTES: usize = 256;

/// A key with the one algorithm it serves.
pub(super) struct Key {
    pub key: DecodingKey,
    pub algorithm: Algorithm,
}

/// The keys as last read.
pub(super) struct Keys {
    issuer: String,
    jwks_url: String,
    allowed: Vec<Algorithm>,
    fetcher: Fetcher,
    known: RwLock<Option<HashMap<String, Arc<Key>>>>,
    wanted: Notify,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Keys {
    pub(super) fn new(config: &OidcConfig) -> Result<Self, Error> {
        Ok(Self {
            issuer: config.issuer.clone(),
            jwks_url: config.jwks_url.clone(),
            allowed: config.algorithms.iter().filter_map(|one| algorithm(one)).collect(),
            fetcher: Fetcher::new(config.ca_file.as_deref())?,
            known: RwLock::new(None),
            wanted: Notify::new(),
        })
    }

    /// A published key; an unknown one is looked for again.
    ///
    /// # Errors
    /// `OIDC_KEYS_UNKNOWN` before the keys were read once.
    pub(super) fn find(&self, kid: &str) -> Result<Option<Arc<Key>>, Error> {
        let known = self.known.read();
        let keys = known.as_ref().ok_or_else(|| {
            Error::unavailable("OIDC_KEYS_UNKNOWN", "the keys of the identity provider were not read yet")
        })?;
        let found = keys.get(kid).cloned();
        if found.is_none() {
            self.wanted.notify_one();
        }
        Ok(found)
    }

    pub(super) async fn follow(&self, stop: &Shutdown) {
        let mut failing = false;
        while !stop.is_cancelled() {
            match self.read().await {
                Ok(keys) => {
                    if failing || self.known.read().is_none() {
                        tracing::info!(
                            keys = keys.len(),
                            issuer = self.issuer,
                            "the identity provider's keys were read"
                        );
                    }
                    failing = false;
                    *self.known.write() = Some(keys);
                }
                Err(error) => {
                    if !failing {
                        error.log("reading the identity provider's keys; the last ones stay");
                    }
                    failing = true;
                }
            }
            stop.sleep(PAUSE).await;
            if failing {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(REFRESH) => {}
                () = self.wanted.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn read(&self) -> Result<HashMap<String, Arc<Key>>, Error> {
        let url = if self.jwks_url.is_empty() { self.discover().await? } else { self.jwks_url.clone() };
        let set = self.fetcher.get(&url).await?;
        let set: JwkSet = serde_json::from_slice(&set).map_err(|error| {
            Error::unavailable("OIDC_BAD_KEYS", "the identity provider's keys cannot be understood")
                .with_source(error)
        })?;
        Ok(usable(&set, &self.allowed))
    }

    /// Where the keys are (OpenID Connect Discovery 1.0 section 4); the document must be of the configured issuer.
    async fn discover(&self) -> Result<String, Error> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let text = self.fetcher.get(&url).await?;
        let found: Discovery = serde_json::from_slice(&text).map_err(|error| {
            Error::unavailable(
                "OIDC_BAD_DISCOVERY",
                "the identity provider's description cannot be understood",
            )
            .with_source(error)
        })?;
        if found.issuer != self.issuer {
            let text = "the identity provider describes another issuer than the configured one";
            return Err(Error::unavailable("OIDC_BAD_DISCOVERY", text));
        }
        Ok(found.jwks_uri)
    }
}

/// The algorithm of a word of the configuration.
pub(super) fn algorithm(word: &str) -> Option<Algorithm> {
    match word {
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// Keys for signatures with an id, strong enough, of an allowed algorithm.
fn usable(set: &JwkSet, allowed: &[Algorithm]) -> HashMap<String, Arc<Key>> {
    let mut keys = HashMap::new();
    for jwk in set.keys.iter().take(MAX_KEYS) {
        let Some(kid) = jwk.common.key_id.clone() else { continue };
        let Some(algorithm) = fitting(jwk).filter(|one| allowed.contains(one)) else { continue };
        if let Ok(key) = DecodingKey::from_jwk(jwk) {
            keys.insert(kid, Arc::new(Key { key, algorithm }));
        }
    }
    keys
}

fn fitting(jwk: &Jwk) -> Option<Algorithm> {
    if jwk.common.public_key_use.as_ref().is_some_and(|one| *one != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = URL_SAFE_NO_PAD.decode(&rsa.n).ok()?;
            let bytes = modulus.iter().skip_while(|byte| **byte == 0).count();
            (bytes >= MIN_RSA_BYTES).then_some(Algorithm::RS256)?
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        // Other curves, symmetric keys (a published secret is none), and what later releases of the library know.
        _ => return None,
    };
    // The key's own word, when it has one, must be the same.
    let said = jwk.common.key_algorithm.as_ref().map(ToString::to_string);
    said.is_none_or(|said| said == format!("{algorithm:?}")).then_some(algorithm)
}
