//! One YAML file for all services, overridden by the environment, refused as a whole with every error named.
//!
//! Order: defaults in code < YAML file < `HILO__SECTION__KEY` < `HILO__SECTION__KEY_FILE` (the value is the file's
//! content, for secrets). Everything is validated before a port opens; an unknown key is an error with its path.

mod load;
mod parts;

pub use load::{load, load_from};
pub use parts::{
    AuthConfig, DatabaseConfig, Endpoints, GrpcConfig, NatsConfig, ObjectsConfig, OidcConfig, Profile,
    Secret, TelemetryConfig,
};

/// Names of the sections (`front` is the embedded stack's public port); a file may hold all of them, each reads its own.
pub const SECTIONS: &[&str] =
    &["email-ingest", "whatsapp-ingest", "routing", "attention-state", "history", "front"];

/// A service's own section.
pub trait Section: serde::de::DeserializeOwned {
    /// Checks what types cannot say; every problem is reported with its path inside the section.
    fn validate(&self, problems: &mut Problems) {
        let _ = problems;
    }
}

/// A service without settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSection {}

impl Section for NoSection {}

/// Common parts plus the service's own section.
#[derive(Clone, Debug)]
pub struct ServiceConfig<S> {
    /// Broker.
    pub nats: NatsConfig,
    /// Logs, traces, metrics.
    pub telemetry: TelemetryConfig,
    /// Keys that tokens are verified with.
    pub auth: AuthConfig,
    /// The content-addressed object store all services share.
    pub objects: ObjectsConfig,
    /// Where the services' gRPC ports are.
    pub endpoints: Endpoints,
    /// What kind of installation it is.
    pub profile: Profile,
    /// The service's own part.
    pub section: S,
}

/// Collects problems while a configuration is validated.
#[derive(Debug, Default)]
pub struct Problems {
    prefix: String,
    found: Vec<(String, String)>,
}

impl Problems {
    /// Records that `path` (inside the section) is wrong.
    pub fn add(&mut self, path: impl AsRef<str>, why: impl Into<String>) {
        let path = match (self.prefix.as_str(), path.as_ref()) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        self.found.push((path, why.into()));
    }

    /// Records a problem unless the condition holds.
    pub fn require(&mut self, holds: bool, path: &str, why: &str) {
        if !holds {
            self.add(path, why);
        }
    }

    /// True when nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}
