//! Making tokens and keys: users' tokens by attention-state, services' own tokens, fresh keys of an embedded stack.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::pkcs8::{EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Claims, MAX_USER_TTL, SERVICE_AUDIENCE, USER_AUDIENCE};
use crate::config::{AuthConfig, Secret};
use crate::error::Error;

/// Life of a service's token in seconds.
const SERVICE_TTL: i64 = 60;

/// A new user's token.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token; a secret.
    pub token: String,
    /// Its `jti`.
    pub token_id: Uuid,
    /// When it ends.
    pub expires_at: OffsetDateTime,
}

/// Signs users' tokens; only attention-state holds the key.
pub struct Issuer {
    key: EncodingKey,
    issuer: String,
}

impl Issuer {
    /// From an Ed25519 private key in PKCS#8 PEM form.
    ///
    /// # Errors
    /// `INVALID_KEY`.
    pub fn new(signing_key_pem: &str, issuer: &str) -> Result<Self, Error> {
        let key = EncodingKey::from_ed_pem(signing_key_pem.as_bytes()).map_err(|error| {
            Error::invalid("INVALID_KEY", "must be an Ed25519 private key in PEM form").with_source(error)
        })?;
        Ok(Self { key, issuer: issuer.to_owned() })
    }

    /// Issues a token for a user, at most [`MAX_USER_TTL`] long.
    ///
    /// # Errors
    /// `SIGNING_FAILED`.
    pub fn issue(&self, user: &str, now: OffsetDateTime, ttl: Duration) -> Result<Issued, Error> {
        let token_id = Uuid::now_v7();
        let expires_at = now + ttl.min(MAX_USER_TTL);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: USER_AUDIENCE.to_owned(),
            sub: user.to_owned(),
            iat: now.unix_timestamp(),
            nbf: now.unix_timestamp(),
            exp: expires_at.unix_timestamp(),
            jti: token_id,
        };
        let token = encode(Algorithm::EdDSA, &claims, &self.key)?;
        Ok(Issued { token, token_id, expires_at })
    }
}

fn encode(algorithm: Algorithm, claims: &Claims, key: &EncodingKey) -> Result<String, Error> {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key)
        .map_err(|error| Error::internal("SIGNING_FAILED", "a token could not be signed").with_source(error))
}

/// Mints this service's own tokens and keeps one while it is fresh.
#[derive(Clone)]
pub struct ServiceTokens {
    shared: Arc<ServiceTokensInner>,
}

struct ServiceTokensInner {
    key: EncodingKey,
    issuer: String,
    name: String,
    current: Mutex<Option<(String, i64)>>,
}

impl std::fmt::Debug for ServiceTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceTokens({})", self.shared.name)
    }
}

impl ServiceTokens {
    /// For the service called `name`.
    pub fn new(config: &AuthConfig, name: &str) -> Self {
        Self {
            shared: Arc::new(ServiceTokensInner {
                key: EncodingKey::from_secret(config.service_secret.expose().as_bytes()),
                issuer: config.issuer.clone(),
                name: name.to_owned(),
                current: Mutex::default(),
            }),
        }
    }

    /// A token that is valid for at least half of its minute.
    ///
    /// # Errors
    /// `SIGNING_FAILED`.
    pub fn token(&self) -> Result<String, Error> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut current = self.shared.current.lock();
        if let Some((token, fresh_until)) = current.as_ref()
            && now < *fresh_until
        {
            return Ok(token.clone());
        }
        let claims = Claims {
            iss: self.shared.issuer.clone(),
            aud: SERVICE_AUDIENCE.to_owned(),
            sub: self.shared.name.clone(),
            iat: now,
            nbf: now,
            exp: now + SERVICE_TTL,
            jti: Uuid::now_v7(),
        };
        let token = encode(Algorithm::HS256, &claims, &self.shared.key)?;
        *current = Some((token.clone(), now + SERVICE_TTL / 2));
        Ok(token)
    }
}

/// Fresh keys of an embedded installation.
#[derive(Clone, Debug)]
pub struct Keys {
    /// PKCS#8 PEM, for attention-state only.
    pub signing_key: Secret,
    /// Public PEM, for everybody.
    pub verify_key: String,
    /// 32 random bytes in hex, for every service.
    pub service_secret: Secret,
}

impl Keys {
    /// The common part that belongs to these keys.
    pub fn auth_config(&self, issuer: &str) -> AuthConfig {
        AuthConfig {
            issuer: issuer.to_owned(),
            verify_key: self.verify_key.clone(),
            service_secret: self.service_secret.clone(),
            oidc: None,
        }
    }
}

/// Generates keys from the system's randomness.
///
/// # Errors
/// `KEY_GENERATION_FAILED`.
pub fn generate_keys() -> Result<Keys, Error> {
    let failed = |error: String| Error::internal("KEY_GENERATION_FAILED", error);
    let key = ed25519_dalek::SigningKey::from_bytes(&rand::random::<[u8; 32]>());
    let signing = key.to_pkcs8_pem(LineEnding::LF).map_err(|error| failed(error.to_string()))?;
    let verify_key =
        key.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|error| failed(error.to_string()))?;
    Ok(Keys {
        signing_key: Secret::new(signing.to_string()),
        verify_key,
        service_secret: Secret::new(hex::encode(rand::random::<[u8; 32]>())),
    })
}
