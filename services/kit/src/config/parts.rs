//! The parts of a configuration that more than one service has.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::Problems;

/// A value that is never printed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// The value; never log it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// True when nothing was configured.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::new(value)
    }
}

/// The broker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsConfig {
    /// Comma-separated `nats://` URLs.
    pub url: String,
    /// First subject token, and (upper-cased) the first word of stream names; `[a-z0-9-]{1,40}`.
    pub prefix: String,
    /// Path of a `.creds` file, when the server wants one.
    pub credentials: Option<PathBuf>,
    /// `http://` address of the server's monitoring port, so that its sync setting can be checked in production.
    pub monitor_url: Option<String>,
    /// Replicas of each stream: 3 in production, 1 on one machine.
    pub replicas: usize,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:8422".into(),
            prefix: "hilo".into(),
            credentials: None,
            monitor_url: None,
            replicas: 1,
        }
    }
}

impl NatsConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.require(!self.url.trim().is_empty(), "url", "must not be empty");
        problems.require(crate::nats::is_token(&self.prefix), "prefix", "must match [a-z0-9-]{1,40}");
        problems.require(matches!(self.replicas, 1 | 3 | 5), "replicas", "must be 1, 3 or 5");
    }
}

/// Logs, traces and metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// OTLP/gRPC endpoint for traces and metrics; without it nothing is exported.
    pub otlp_endpoint: Option<String>,
    /// Filter in the syntax of `tracing_subscriber::EnvFilter`.
    pub log: String,
    /// JSON lines (for machines) instead of text (for people).
    pub json: bool,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, log: "info".into(), json: true }
    }
}

/// Keys that tokens are verified with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// `iss` of users' tokens.
    pub issuer: String,
    /// Ed25519 public key, PEM (`-----BEGIN PUBLIC KEY-----`), that users' tokens are verified with.
    pub verify_key: String,
    /// Shared secret, at least 32 bytes, that services sign their own tokens with (HS256).
    pub service_secret: Secret,
    /// The OpenID Connect provider that users sign in with; without it attention-state signs them in by password.
    pub oidc: Option<OidcConfig>,
}

/// An OpenID Connect provider. Its tokens say who somebody is, the directory what he may do.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OidcConfig {
    /// `iss` of its tokens, exactly.
    pub issuer: String,
    /// `aud` of its tokens for us.
    pub audience: String,
    /// Where its keys are; empty asks `<issuer>/.well-known/openid-configuration`.
    pub jwks_url: String,
    /// Algorithms allowed: `RS256`, `ES256`, `EdDSA`.
    pub algorithms: Vec<String>,
    /// The claim whose value is the user's key in the directory, for instance `preferred_username`.
    pub subject_claim: String,
    /// Seconds its clock may differ from ours.
    pub leeway_seconds: u64,
    /// Certificates (PEM) of a private authority that it is reached by; without it the public ones.
    pub ca_file: Option<PathBuf>,
}

impl Default for OidcConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: String::new(),
            algorithms: vec!["RS256".into()],
            subject_claim: "sub".into(),
            leeway_seconds: 10,
            ca_file: None,
        }
    }
}

impl OidcConfig {
    fn validate(&self, problems: &mut Problems) {
        let https = "must be an https:// URL (http:// only on this machine)";
        problems.require(crate::auth::may_fetch(&self.issuer), "oidc.issuer", https);
        problems.require(
            self.jwks_url.is_empty() || crate::auth::may_fetch(&self.jwks_url),
            "oidc.jwks_url",
            https,
        );
        problems.require(!self.audience.is_empty(), "oidc.audience", "must not be empty");
        problems.require(!self.subject_claim.is_empty(), "oidc.subject_claim", "must not be empty");
        let known = |word: &String| ["RS256", "ES256", "EdDSA"].contains(&word.as_str());
        let algorithms = !self.algorithms.is_empty() && self.algorithms.iter().all(known);
        problems.require(algorithms, "oidc.algorithms", "must be some of RS256, ES256, EdDSA");
        problems.require(self.leeway_seconds <= 120, "oidc.leeway_seconds", "must be at most 120");
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            issuer: "hilo".into(),
            verify_key: String::new(),
            service_secret: Secret::default(),
            oidc: None,
        }
    }
}

impl AuthConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.require(!self.issuer.is_empty(), "issuer", "must not be empty");
        problems.require(
            self.service_secret.expose().len() >= 32,
            "service_secret",
            "must be at least 32 bytes long",
        );
        if let Err(error) = crate::auth::check_verify_key(&self.verify_key) {
            problems.add("verify_key", error.message());
        }
        if let Some(oidc) = &self.oidc {
            oidc.validate(problems);
        }
    }
}

/// The object store.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectsConfig {
    /// Folder, created when missing.
    pub path: PathBuf,
    /// Largest object in bytes.
    pub max_bytes: u64,
}

impl Default for ObjectsConfig {
    fn default() -> Self {
        // A mail of 25 MiB plus encoding overhead fits.
        Self { path: ".hilo/objects".into(), max_bytes: 64 * 1024 * 1024 }
    }
}

/// The services' gRPC addresses as other services reach them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    /// attention-state.
    pub attention_state: String,
    /// routing.
    pub routing: String,
    /// history.
    pub history: String,
    /// email-ingest.
    pub email_ingest: String,
    /// whatsapp-ingest.
    pub whatsapp_ingest: String,
}

impl Default for Endpoints {
    fn default() -> Self {
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        Self {
            attention_state: at(8471),
            routing: at(8472),
            history: at(8473),
            email_ingest: at(8474),
            whatsapp_ingest: at(8475),
        }
    }
}

impl Endpoints {
    pub(super) fn validate(&self, problems: &mut Problems) {
        let all = [
            ("attention_state", &self.attention_state),
            ("routing", &self.routing),
            ("history", &self.history),
            ("email_ingest", &self.email_ingest),
            ("whatsapp_ingest", &self.whatsapp_ingest),
        ];
        for (name, url) in all {
            let valid =
                url.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some());
            problems.require(valid, name, "must be an http:// or https:// URL");
        }
    }
}

/// What kind of installation it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// One machine, for evaluation and tests.
    #[default]
    Embedded,
    /// Warns without three replicas and `sync_interval: always`; waits before it stops accepting.
    Production,
}

/// A service's database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://…`; may hold a password, so it is a secret.
    pub url: Secret,
    /// Size of the pool.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
}

fn default_max_connections() -> u32 {
    10
}

impl DatabaseConfig {
    /// For tests and tools.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: Secret::new(url), max_connections: default_max_connections() }
    }

    /// To be called by the section that holds it; `at` is its path there.
    pub fn validate(&self, problems: &mut Problems, at: &str) {
        let valid =
            self.url.expose().starts_with("postgres://") || self.url.expose().starts_with("postgresql://");
        problems.require(valid, &format!("{at}.url"), "must be a postgres:// URL");
        let size = (2..=200).contains(&self.max_connections);
        problems.require(size, &format!("{at}.max_connections"), "must be between 2 and 200");
    }
}

/// Where a service listens for gRPC.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}
