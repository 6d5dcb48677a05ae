//! Section `whatsapp-ingest` of the configuration.

use hilo_kit::config::{DatabaseConfig, GrpcConfig, Problems, Section, ServiceConfig};
use serde::Deserialize;

/// The whole configuration of this service.
pub type Config = ServiceConfig<WhatsappConfig>;

/// What whatsapp-ingest alone needs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhatsappConfig {
    /// Where it listens.
    pub grpc: GrpcConfig,
    /// Its own database.
    pub database: DatabaseConfig,
}

impl Section for WhatsappConfig {
    fn validate(&self, problems: &mut Problems) {
        self.database.validate(problems, "database");
    }
}
