//! Users' tokens of an OpenID Connect provider (OpenID Connect Core 1.0; RFC 7519, RFC 8725): who issued them, for whom,
//! with which keys, and which claim names the user of the directory. Roles never come from a token.
//!
//! The keys are those the provider publishes (RFC 7517), read in the background; a token chooses among them by `kid` and
//! brings none. Each key serves the one algorithm that fits it and that the configuration allows.

mod fetch;
mod keys;

pub(crate) use fetch::may_fetch;

use std::sync::Arc;

use jsonwebtoken::{Algorithm, Header, Validation};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use self::keys::Keys;
use super::Principal;
use crate::config::OidcConfig;
use crate::error::Error;
use crate::lifecycle::Shutdown;

/// Longest value of the claim that names the user; the directory's keys are shorter.
const MAX_KEY: usize = 40;

/// Verifies the provider's tokens.
pub(super) struct Oidc {
    config: OidcConfig,
    keys: Keys,
}

impl Oidc {
    pub(super) fn new(config: &OidcConfig) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self { config: config.clone(), keys: Keys::new(config)? }))
    }

    /// Reads the provider's keys until the shutdown.
    pub(super) fn follow(self: &Arc<Self>, shutdown: &Shutdown) {
        let (this, stop) = (self.clone(), shutdown.clone());
        shutdown.spawn("keys of the OpenID Connect provider", async move { this.keys.follow(&stop).await });
    }

    /// Verifies a token whose header was read.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, without telling which rule failed; `OIDC_KEYS_UNKNOWN` (unavailable) before the provider's keys
    /// were read once.
    pub(super) fn verify(&self, token: &str, header: &Header) -> Result<Principal, Error> {
        let refuse = || Error::unauthenticated("the token is not valid");
        let kid = header.kid.as_deref().ok_or_else(refuse)?;
        let key = self.keys.find(kid)?.ok_or_else(refuse)?;
        // What the header says must be what the key is for; it chooses nothing.
        if header.alg != key.algorithm {
            return Err(refuse());
        }
        let rules = self.rules(key.algorithm);
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &key.key, &rules)
            .map_err(|error| refuse().with_source(error))?
            .claims;
        self.principal(token, &claims).ok_or_else(refuse)
    }

    fn rules(&self, algorithm: Algorithm) -> Validation {
        let mut rules = Validation::new(algorithm);
        rules.set_issuer(&[&self.config.issuer]);
        rules.set_audience(&[&self.config.audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        rules.validate_nbf = true;
        rules.leeway = self.config.leeway_seconds;
        rules
    }

    fn principal(&self, token: &str, claims: &Map<String, Value>) -> Option<Principal> {
        let key = claims.get(&self.config.subject_claim)?.as_str()?;
        let fits = !key.is_empty()
            && key.len() <= MAX_KEY
            && key.bytes().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'-');
        // A number, never a text that looks like one (RFC 7519 section 2, NumericDate).
        let exp = claims.get("exp").filter(|exp| exp.is_number())?;
        let exp = exp.as_i64().or_else(|| exp.as_f64().map(|exp| exp as i64))?;
        let expires_at = OffsetDateTime::from_unix_timestamp(exp).ok()?;
        let token_id = token_id(&self.config.issuer, token, claims.get("jti").and_then(Value::as_str));
        fits.then(|| Principal::User { key: key.to_owned(), token_id, expires_at })
    }
}

/// What a token is revoked by: its `jti`, else what was signed. Never the signature: of ECDSA there are two for the same.
fn token_id(issuer: &str, token: &str, jti: Option<&str>) -> Uuid {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    let name = match jti.filter(|jti| !jti.is_empty()) {
        Some(jti) => format!("{issuer}\n{jti}"),
        None => signed.to_owned(),
    };
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}
