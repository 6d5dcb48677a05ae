//! Section `history` of the configuration.

use std::time::Duration;

use hilo_kit::config::{DatabaseConfig, GrpcConfig, Problems, Section, ServiceConfig};
use serde::Deserialize;

/// The whole configuration of this service.
pub type Config = ServiceConfig<HistoryConfig>;

/// What history alone needs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryConfig {
    /// Where it listens.
    pub grpc: GrpcConfig,
    /// Its own database.
    pub database: DatabaseConfig,
    /// Scheme and authority under which desks reach the public port, for download links; empty for links without them.
    #[serde(default)]
    pub public_url: String,
    /// Seconds between two looks for ended threads that nobody confirmed; 1 to 3,600.
    #[serde(default = "default_sweep_seconds")]
    pub sweep_seconds: u64,
    /// Threads asked for at once; 1 to 500.
    #[serde(default = "default_page")]
    pub page: i32,
    /// Threads fetched at the same time; 1 to 32.
    #[serde(default = "default_concurrency")]
    pub concurrency: usize,
}

fn default_sweep_seconds() -> u64 {
    5
}

fn default_page() -> i32 {
    200
}

fn default_concurrency() -> usize {
    4
}

impl HistoryConfig {
    /// With defaults for everything but address and database.
    pub fn new(grpc: GrpcConfig, database: DatabaseConfig) -> Self {
        Self {
            grpc,
            database,
            public_url: String::new(),
            sweep_seconds: default_sweep_seconds(),
            page: default_page(),
            concurrency: default_concurrency(),
        }
    }

    /// Pause between two sweeps.
    pub fn sweep(&self) -> Duration {
        Duration::from_secs(self.sweep_seconds)
    }
}

impl Section for HistoryConfig {
    fn validate(&self, problems: &mut Problems) {
        self.database.validate(problems, "database");
        let plain = self.public_url.is_empty()
            || ["http://", "https://"].iter().any(|scheme| self.public_url.starts_with(scheme));
        problems.require(plain, "public_url", "must be an http:// or https:// URL");
        problems.require(
            (1..=3_600).contains(&self.sweep_seconds),
            "sweep_seconds",
            "must be between 1 and 3600",
        );
        problems.require((1..=500).contains(&self.page), "page", "must be between 1 and 500");
        problems.require((1..=32).contains(&self.concurrency), "concurrency", "must be between 1 and 32");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_number_is_named() {
        let listen = "127.0.0.1:0".parse().unwrap();
        let database = DatabaseConfig::new("mysql://x");
        let mut config = HistoryConfig::new(GrpcConfig { listen }, database);
        config.public_url = "ftp://x".into();
        config.sweep_seconds = 0;
        config.page = 501;
        config.concurrency = 0;
        let mut problems = Problems::default();
        config.validate(&mut problems);
        let text = format!("{problems:?}");
        for field in ["database.url", "public_url", "sweep_seconds", "page", "concurrency"] {
            assert!(text.contains(field), "{field} in {text}");
        }
    }
}
