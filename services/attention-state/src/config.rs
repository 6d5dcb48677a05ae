//! Settings of attention-state, section `attention-state` of the configuration file.

use hilo_kit::config::{DatabaseConfig, GrpcConfig, Problems, Secret};
use serde::Deserialize;

/// The whole configuration of this service.
pub type Config = hilo_kit::config::ServiceConfig<Section>;

/// Own settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Where gRPC listens.
    pub grpc: GrpcConfig,
    /// Database `hilo_attention`.
    pub database: DatabaseConfig,
    /// Ed25519 private key (PKCS#8 PEM) that users' tokens are signed with; only this service has it.
    pub signing_key: Secret,
    /// Key of the token in our Message-IDs and reply addresses; email-ingest verifies with the same one.
    pub thread_key: Secret,
    /// Scheme and authority under which desks reach the public port, for download links; empty for links without them.
    #[serde(default)]
    pub public_url: String,
    /// How long bodies of an ended thread stay here after history has confirmed it, in seconds.
    #[serde(default = "default_purge_after")]
    pub purge_after_seconds: u64,
}

/// A day: most reopenings and late statuses come sooner and need not ask history.
pub const DEFAULT_PURGE_AFTER: u64 = 86_400;

fn default_purge_after() -> u64 {
    DEFAULT_PURGE_AFTER
}

impl hilo_kit::config::Section for Section {
    fn validate(&self, problems: &mut Problems) {
        self.database.validate(problems, "database");
        problems.require(
            !self.signing_key.is_empty(),
            "signing_key",
            "must be an Ed25519 private key in PEM form",
        );
        let long = self.thread_key.expose().len() >= hilo_kit::thread_token::MIN_KEY_BYTES;
        problems.require(long, "thread_key", "must be at least 16 bytes long");
        let url = self.public_url.parse::<http::Uri>();
        let fits = url.is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some());
        problems.require(
            self.public_url.is_empty() || fits,
            "public_url",
            "must be an http:// or https:// URL",
        );
        problems.require(
            self.purge_after_seconds <= 366 * 86_400,
            "purge_after_seconds",
            "must be at most a year",
        );
    }
}
