//! The section `routing` of the configuration.

use std::time::Duration;

use hilo_kit::config::{GrpcConfig, Problems, Section, ServiceConfig};
use hilo_kit::nats::is_token;
use serde::Deserialize;

/// The whole configuration of the service.
pub type Config = ServiceConfig<RoutingSection>;

/// Own settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingSection {
    /// Where the service listens.
    pub grpc: GrpcConfig,
    /// Names this process among the replicas; `[a-z0-9-]{1,40}`, must differ between running processes. Empty makes
    /// a random one, which is right unless a platform gives every process a name of its own.
    pub replica_id: String,
    /// A session that did not say for this long that it lives is gone.
    pub presence_lease_seconds: u64,
    /// Term of the lease on partitions.
    pub partition_term_millis: u64,
    /// The lease is renewed this often.
    pub partition_renew_millis: u64,
    /// Without a renewal the partitions are given up this long after the last one was asked for; below the term, so
    /// that the next holder never begins before this one has stopped.
    pub partition_give_up_millis: u64,
    /// The whole view is compared with attention-state this often, in case something was missed.
    pub resync_seconds: u64,
}

impl Default for RoutingSection {
    fn default() -> Self {
        Self {
            grpc: GrpcConfig { listen: ([127, 0, 0, 1], 8472).into() },
            replica_id: String::new(),
            presence_lease_seconds: 60,
            partition_term_millis: 4_000,
            partition_renew_millis: 1_000,
            partition_give_up_millis: 2_600,
            resync_seconds: 300,
        }
    }
}

impl Section for RoutingSection {
    fn validate(&self, problems: &mut Problems) {
        let named = self.replica_id.is_empty() || (is_token(&self.replica_id) && self.replica_id.len() <= 32);
        problems.require(named, "replica_id", "must match [a-z0-9-]{1,32} or be empty");
        let lease = (2..=3_600).contains(&self.presence_lease_seconds);
        problems.require(lease, "presence_lease_seconds", "must be between 2 and 3600");
        let term = (1_000..=60_000).contains(&self.partition_term_millis);
        problems.require(term, "partition_term_millis", "must be between 1000 and 60000");
        let give_up = self.partition_give_up_millis * 4 <= self.partition_term_millis * 3;
        problems.require(give_up, "partition_give_up_millis", "must be at most three quarters of the term");
        let renew = (50..self.partition_give_up_millis).contains(&self.partition_renew_millis);
        problems.require(
            renew,
            "partition_renew_millis",
            "must be at least 50 and below partition_give_up_millis",
        );
        let resync = (1..=86_400).contains(&self.resync_seconds);
        problems.require(resync, "resync_seconds", "must be between 1 and 86400");
    }
}

impl RoutingSection {
    /// The replica's name; random unless configured.
    pub fn replica(&self) -> String {
        if self.replica_id.is_empty() {
            format!("{:012x}", rand::random::<u64>() >> 16)
        } else {
            self.replica_id.clone()
        }
    }

    /// See `presence_lease_seconds`.
    pub fn presence_lease(&self) -> Duration {
        Duration::from_secs(self.presence_lease_seconds)
    }

    /// See `partition_renew_millis`.
    pub fn partition_renew(&self) -> Duration {
        Duration::from_millis(self.partition_renew_millis)
    }

    /// See `partition_give_up_millis`.
    pub fn partition_give_up(&self) -> Duration {
        Duration::from_millis(self.partition_give_up_millis)
    }
}
