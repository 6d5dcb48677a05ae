//! Who is calling: users by an EdDSA token that attention-state issues, services by an HS256 token they mint.
//!
//! A token names a subject and nothing else; roles and campaigns come from the directory. One algorithm per audience,
//! `exp`, `nbf`, `iss` and `aud` required, so that a user's token can never pass for a service's or the other way.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::pkcs8::{EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tonic::{Request, Status};
use uuid::Uuid;

use crate::config::{AuthConfig, Secret};
use crate::directory::DirectoryCache;
use crate::error::Error;

/// `aud` of users' tokens.
pub const USER_AUDIENCE: &str = "hilo";
/// `aud` of services' tokens.
pub const SERVICE_AUDIENCE: &str = "hilo-internal";
/// A user's token lives at most this long.
pub const MAX_USER_TTL: Duration = Duration::from_secs(12 * 3600);
const SERVICE_TTL: i64 = 60;
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
        Ok(Self { shared: Arc::new(keys), directory: None })
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
        match jsonwebtoken::decode_header(token).map_err(refuse)?.alg {
            Algorithm::HS256 => {
                let claims = jsonwebtoken::decode::<Claims>(token, &keys.service_key, &keys.service_rules);
                Ok(Principal::Service { name: claims.map_err(refuse)?.claims.sub })
            }
            _ => {
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
        match directory.current().is_revoked(key, &token_id.to_string()) {
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
            let token = token.ok_or_else(|| Error::unauthenticated("authorization must be a bearer token"))?;
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
        Some(Principal::User { .. }) => Err(Error::denied("SERVICE_REQUIRED", "only a service may call this")),
        None => Err(Error::unauthenticated("a service token is required")),
    }
}

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
        if let Some((token, fresh_until)) = current.as_ref() && now < *fresh_until {
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
    let verify_key = key.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|error| failed(error.to_string()))?;
    Ok(Keys {
        signing_key: Secret::new(signing.to_string()),
        verify_key,
        service_secret: Secret::new(hex::encode(rand::random::<[u8; 32]>())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    struct Setup {
        keys: Keys,
        verifier: Verifier,
        issuer: Issuer,
    }

    fn setup() -> Setup {
        let keys = generate_keys().unwrap();
        let verifier = Verifier::new(&keys.auth_config("hilo")).unwrap();
        let issuer = Issuer::new(keys.signing_key.expose(), "hilo").unwrap();
        Setup { keys, verifier, issuer }
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn claims() -> Value {
        let now = now().unix_timestamp();
        json!({"iss": "hilo", "aud": "hilo", "sub": "ana", "iat": now, "nbf": now, "exp": now + 60, "jti": Uuid::nil()})
    }

    fn signed(setup: &Setup, algorithm: Algorithm, claims: &Value) -> String {
        let key = match algorithm {
            Algorithm::HS256 => EncodingKey::from_secret(setup.keys.service_secret.expose().as_bytes()),
            _ => EncodingKey::from_ed_pem(setup.keys.signing_key.expose().as_bytes()).unwrap(),
        };
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    #[test]
    fn users_and_services_are_told_apart() {
        let setup = setup();
        let issued = setup.issuer.issue("ana", now(), Duration::from_secs(3600 * 24 * 30)).unwrap();
        assert!(issued.expires_at <= now() + MAX_USER_TTL, "never longer than allowed");
        let Principal::User { key, token_id, .. } = setup.verifier.verify(&issued.token).unwrap() else { panic!() };
        assert_eq!((key.as_str(), token_id), ("ana", issued.token_id));
        let tokens = ServiceTokens::new(&setup.keys.auth_config("hilo"), "routing");
        let token = tokens.token().unwrap();
        assert_eq!(token, tokens.token().unwrap(), "kept while fresh");
        assert_eq!(setup.verifier.verify(&token).unwrap(), Principal::Service { name: "routing".into() });
    }

    #[test]
    fn whatever_is_not_exactly_right_is_refused() {
        let setup = setup();
        assert!(setup.verifier.verify(&signed(&setup, Algorithm::EdDSA, &claims())).is_ok());
        let hour = now().unix_timestamp() + 3600;
        let wrong: Vec<(&str, Value)> = vec![
            ("exp", json!(now().unix_timestamp() - 60)),
            ("nbf", json!(hour)),
            ("iss", json!("another")),
            ("aud", json!(SERVICE_AUDIENCE)),
            ("exp", Value::Null),
            ("nbf", Value::Null),
            ("iss", Value::Null),
            ("aud", Value::Null),
            ("sub", Value::Null),
            ("jti", json!("no uuid")),
        ];
        for (claim, value) in wrong {
            let mut bad = claims();
            if value.is_null() {
                bad.as_object_mut().unwrap().remove(claim);
            } else {
                bad[claim] = value.clone();
            }
            let refused = setup.verifier.verify(&signed(&setup, Algorithm::EdDSA, &bad)).unwrap_err();
            assert_eq!(refused.reason(), "UNAUTHENTICATED", "{claim} = {value}");
        }
    }

    #[test]
    fn one_algorithm_per_audience() {
        let setup = setup();
        // A user's claims under the service key, a service's claims under the user key.
        assert!(setup.verifier.verify(&signed(&setup, Algorithm::HS256, &claims())).is_err());
        let mut service = claims();
        service["aud"] = json!(SERVICE_AUDIENCE);
        assert!(setup.verifier.verify(&signed(&setup, Algorithm::EdDSA, &service)).is_err());
        // The public key used as an HMAC secret.
        let confused = jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            &service,
            &EncodingKey::from_secret(setup.keys.verify_key.as_bytes()),
        );
        assert!(setup.verifier.verify(&confused.unwrap()).is_err());
        // No algorithm at all, and a foreign key.
        let token = signed(&setup, Algorithm::EdDSA, &claims());
        let body = token.split('.').nth(1).unwrap();
        assert!(setup.verifier.verify(&format!("eyJhbGciOiJub25lIn0.{body}.")).is_err());
        let other = Issuer::new(generate_keys().unwrap().signing_key.expose(), "hilo").unwrap();
        assert!(setup.verifier.verify(&other.issue("ana", now(), Duration::from_secs(60)).unwrap().token).is_err());
    }

    #[test]
    fn requests_without_a_token_are_anonymous_and_with_a_bad_one_refused() {
        let setup = setup();
        let anonymous = setup.verifier.check(Request::new(())).unwrap();
        assert!(principal(&anonymous).is_none());
        assert_eq!(require_user(&anonymous).unwrap_err().reason(), "UNAUTHENTICATED");
        for header in ["Basic x", "Bearer ", "Bearer x.y.z", "bearer"] {
            let mut request = Request::new(());
            request.metadata_mut().insert("authorization", header.parse().unwrap());
            assert_eq!(setup.verifier.check(request).unwrap_err().code(), tonic::Code::Unauthenticated, "{header}");
        }
        let token = setup.issuer.issue("ana", now(), Duration::from_secs(60)).unwrap().token;
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let request = setup.verifier.check(request).unwrap();
        assert_eq!(require_user(&request).unwrap(), "ana");
        let revoked = [match principal(&request) {
            Some(Principal::User { token_id, .. }) => token_id.to_string(),
            _ => panic!("a user"),
        }];
        let ana = crate::directory::User { key: "ana".into(), active: true, ..Default::default() };
        let literal = hilo_proto::directory::v1::Directory { users: vec![ana], ..Default::default() };
        let with = |revoked: &[String]| {
            let directory = crate::directory::Directory::new(1, literal.clone(), revoked.iter().cloned());
            setup.verifier.clone().with_directory(DirectoryCache::fixed(directory))
        };
        let again = || {
            let mut again = Request::new(());
            again.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            again
        };
        assert!(with(&[]).check(again()).is_ok());
        assert_eq!(with(&revoked).check(again()).unwrap_err().code(), tonic::Code::Unauthenticated);
        assert_eq!(require_service(&request).unwrap_err().reason(), "SERVICE_REQUIRED");
    }
}
