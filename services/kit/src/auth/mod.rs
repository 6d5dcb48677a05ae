//! Who is calling: users by an EdDSA token that attention-state issues, or by one of an OpenID Connect provider when that is
//! configured (never by both), services by an HS256 token they mint.
//!
//! A token names a subject and nothing else; roles and campaigns come from the directory. One algorithm per audience,
//! `exp`, `nbf`, `iss` and `aud` required, so that a user's token can never pass for a service's or the other way.

mod issue;
mod oidc;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tonic::{Request, Status};
use uuid::Uuid;

pub use issue::{Issued, Issuer, Keys, ServiceTokens, generate_keys};
pub(crate) use oidc::may_fetch;

use crate::config::AuthConfig;
use crate::directory::DirectoryCache;
use crate::error::Error;
use crate::lifecycle::Shutdown;

/// `aud` of users' tokens.
pub const USER_AUDIENCE: &str = "hilo";
/// `aud` of services' tokens.
pub const SERVICE_AUDIENCE: &str = "hilo-internal";
/// A user's token lives at most this long.
pub const MAX_USER_TTL: Duration = Duration::from_secs(12 * 3600);
/// Clocks of two machines may differ by this much (seconds).
const LEEWAY: u64 = 10;

/// The caller, as verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A person.
    User {
        /// Key of the user in the directory.
        key: String,
        /// `jti`, for revocation.
        token_id: Uuid,
        /// When the token ends; streams end then as well.
        expires_at: OffsetDateTime,
    },
    /// Another service.
    Service {
        /// Its name (`routing`).
        name: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
}

/// Verifies tokens; as an interceptor it puts the [`Principal`] into the request's extensions.
#[derive(Clone)]
pub struct Verifier {
    shared: Arc<VerifierKeys>,
    /// The provider whose tokens users have instead of ours.
    oidc: Option<Arc<oidc::Oidc>>,
    directory: Option<DirectoryCache>,
}

struct VerifierKeys {
    user_key: DecodingKey,
    user_rules: Validation,
    service_key: DecodingKey,
    service_rules: Validation,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

fn rules(algorithm: Algorithm, issuer: &str, audience: &str) -> Validation {
    let mut rules = Validation::new(algorithm);
    rules.set_issuer(&[issuer]);
    rules.set_audience(&[audience]);
    rules.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    rules.validate_nbf = true;
    rules.leeway = LEEWAY;
    rules
}

pub(crate) fn check_verify_key(pem: &str) -> Result<DecodingKey, Error> {
    DecodingKey::from_ed_pem(pem.as_bytes()).map_err(|error| {
        Error::invalid("INVALID_KEY", "must be an Ed25519 public key in PEM form").with_source(error)
    })
}

impl Verifier {
    /// From the common configuration.
    ///
    /// # Errors
    /// `INVALID_KEY`.
    pub fn new(config: &AuthConfig) -> Result<Self, Error> {
        let keys = VerifierKeys {
            user_key: check_verify_key(&config.verify_key)?,
            user_rules: rules(Algorithm::EdDSA, &config.issuer, USER_AUDIENCE),
            service_key: DecodingKey::from_secret(config.service_secret.expose().as_bytes()),
            service_rules: rules(Algorithm::HS256, &config.issuer, SERVICE_AUDIENCE),
        };
        let oidc = config.oidc.as_ref().map(oidc::Oidc::new).transpose()?;
        Ok(Self { shared: Arc::new(keys), oidc, directory: None })
    }

    /// Keeps reading the keys of the OpenID Connect provider until the shutdown; nothing without one.
    pub fn follow(&self, shutdown: &Shutdown) {
        if let Some(oidc) = &self.oidc {
            oidc.follow(shutdown);
        }
    }

    /// Refuses revoked tokens and those of deactivated users as well, once a directory was read.
    #[must_use]
    pub fn with_directory(mut self, directory: DirectoryCache) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Verifies a bearer token.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, without telling which rule failed.
    pub fn verify(&self, token: &str) -> Result<Principal, Error> {
        let refuse = |error| Error::unauthenticated("the token is not valid").with_source(error);
        let keys = &self.shared;
        // The header only chooses which of the two strict rule sets must hold; it cannot weaken either.
        let header = jsonwebtoken::decode_header(token).map_err(refuse)?;
        match (header.alg, &self.oidc) {
            (Algorithm::HS256, _) => {
                let claims = jsonwebtoken::decode::<Claims>(token, &keys.service_key, &keys.service_rules);
                Ok(Principal::Service { name: claims.map_err(refuse)?.claims.sub })
            }
            (_, Some(oidc)) => oidc.verify(token, &header),
            (_, None) => {
                let claims = jsonwebtoken::decode::<Claims>(token, &keys.user_key, &keys.user_rules);
                let claims = claims.map_err(refuse)?.claims;
                let expires_at = OffsetDateTime::from_unix_timestamp(claims.exp)
                    .map_err(|error| Error::unauthenticated("the token is not valid").with_source(error))?;
                Ok(Principal::User { key: claims.sub, token_id: claims.jti, expires_at })
            }
        }
    }

    fn refuse_revoked(&self, principal: &Principal) -> Result<(), Error> {
        let (Principal::User { key, token_id, .. }, Some(directory)) = (principal, &self.directory) else {
            return Ok(());
        };
        let directory = directory.current();
        // A provider vouches for people whom we need not know, and who may be told so. Whoever comes with a token of ours was
        // known when he got it, and learns no more of the directory than that it does not serve any longer.
        if self.oidc.is_some() && directory.is_loaded() && directory.user(key).is_none() {
            return Err(Error::unauthenticated(format!("the directory has no active user `{key}`")));
        }
        match directory.is_revoked(key, &token_id.to_string()) {
            true => Err(Error::unauthenticated("the token was revoked")),
            false => Ok(()),
        }
    }

    /// Reads `authorization: Bearer …`; no header is an anonymous caller, a bad one is refused.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`.
    pub fn check<T>(&self, mut request: Request<T>) -> Result<Request<T>, Status> {
        if let Some(header) = request.metadata().get("authorization") {
            let token = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
            let token =
                token.ok_or_else(|| Error::unauthenticated("authorization must be a bearer token"))?;
            let principal = self.verify(token)?;
            self.refuse_revoked(&principal)?;
            request.extensions_mut().insert(principal);
        }
        Ok(request)
    }
}

impl tonic::service::Interceptor for Verifier {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.check(request)
    }
}

/// The verified caller, if any.
pub fn principal<T>(request: &Request<T>) -> Option<&Principal> {
    request.extensions().get::<Principal>()
}

/// The calling user's key.
///
/// # Errors
/// `UNAUTHENTICATED` without a token, `USER_REQUIRED` for a service.
pub fn require_user<T>(request: &Request<T>) -> Result<String, Error> {
    match principal(request) {
        Some(Principal::User { key, .. }) => Ok(key.clone()),
        Some(Principal::Service { .. }) => Err(Error::denied("USER_REQUIRED", "only a user may call this")),
        None => Err(Error::unauthenticated("a token is required")),
    }
}

/// The calling service's name.
///
/// # Errors
/// `UNAUTHENTICATED` without a token, `SERVICE_REQUIRED` for a user.
pub fn require_service<T>(request: &Request<T>) -> Result<String, Error> {
    match principal(request) {
        Some(Principal::Service { name }) => Ok(name.clone()),
        Some(Principal::User { .. }) => {
            Err(Error::denied("SERVICE_REQUIRED", "only a service may call this"))
        }
        None => Err(Error::unauthenticated("a service token is required")),
    }
}
