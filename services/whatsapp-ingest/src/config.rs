//! Section `whatsapp-ingest` of the configuration, checked before any port opens.

use std::net::SocketAddr;
use std::path::PathBuf;

use hilo_kit::config::{DatabaseConfig, GrpcConfig, Problems, Section, ServiceConfig};
use serde::Deserialize;

use crate::adapter::graph;

/// The whole configuration of this service.
pub type Config = ServiceConfig<WhatsappConfig>;

/// Meta's webhooks have up to 3 MB; the limit must leave room above that.
const LEAST_BODY: usize = 4 * 1024 * 1024;

/// What whatsapp-ingest alone needs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhatsappConfig {
    /// Where it listens for gRPC.
    pub grpc: GrpcConfig,
    /// Its own database.
    pub database: DatabaseConfig,
    /// Where Meta's webhooks come in.
    pub webhook: WebhookConfig,
    /// Folder with one file per secret of the directory (`app_secret_secret` and so on); the environment comes first.
    #[serde(default)]
    pub secrets: Option<PathBuf>,
    /// The Graph API.
    #[serde(default)]
    pub graph: GraphConfig,
    /// Sending.
    #[serde(default)]
    pub sender: SenderConfig,
    /// Files of customers.
    #[serde(default)]
    pub media: MediaConfig,
    /// Templates.
    #[serde(default)]
    pub templates: TemplatesConfig,
}

/// Where Meta's webhooks come in: plain HTTP behind something that ends TLS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Largest body in bytes, at least 4 MiB.
    #[serde(default = "default_body_bytes")]
    pub max_body_bytes: usize,
    /// Memory for all bodies that come in at one time, in bytes; beyond it a POST is answered 503.
    #[serde(default = "default_buffered_bytes")]
    pub max_buffered_bytes: usize,
    /// Longest time for a body to arrive, in seconds.
    #[serde(default = "default_body_seconds")]
    pub body_seconds: u64,
    /// How long what has no account in the directory waits for a newer directory before it is a dead letter, in seconds.
    #[serde(default = "default_directory_seconds")]
    pub directory_seconds: u64,
}

impl WebhookConfig {
    /// With the usual limits.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            max_body_bytes: default_body_bytes(),
            max_buffered_bytes: default_buffered_bytes(),
            body_seconds: default_body_seconds(),
            directory_seconds: default_directory_seconds(),
        }
    }
}

/// The Graph API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphConfig {
    /// Address without the version: `https://…`, or `http://` on this machine (a simulator).
    pub base_url: String,
    /// Longest wait for an answer, in seconds; after it nobody knows whether the message went out.
    pub reply_seconds: u64,
}

impl Default for GraphConfig {
    fn default() -> Self {
        Self { base_url: "https://graph.facebook.com".into(), reply_seconds: 30 }
    }
}

/// Sending.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SenderConfig {
    /// Requests of one number under way at once.
    pub concurrency: usize,
    /// How long a status is waited for after an attempt that got no answer, in seconds.
    pub doubt_seconds: u64,
    /// Seconds between two messages to one customer in the long run (Meta's pair rate: one in six seconds).
    pub pair_seconds: f64,
    /// Messages to one customer that may follow each other at once (Meta's burst: 45).
    pub pair_burst: u32,
    /// First pause before a repetition of what was certainly not sent, in seconds; it doubles.
    pub retry_seconds: f64,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self { concurrency: 64, doubt_seconds: 60, pair_seconds: 6.0, pair_burst: 45, retry_seconds: 2.0 }
    }
}

/// Templates, read from Meta.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplatesConfig {
    /// They are read this often without a notice, in seconds.
    pub refresh_seconds: u64,
    /// First pause after they could not be read or reported, in seconds; it doubles up to `refresh_seconds`.
    pub retry_seconds: f64,
}

impl Default for TemplatesConfig {
    fn default() -> Self {
        Self { refresh_seconds: 600, retry_seconds: 5.0 }
    }
}

impl TemplatesConfig {
    fn validate(&self, problems: &mut Problems) {
        let refresh = (10..=86_400).contains(&self.refresh_seconds);
        problems.require(refresh, "templates.refresh_seconds", "must be 10 to 86400");
        let retry = (0.01..=3600.0).contains(&self.retry_seconds);
        problems.require(retry, "templates.retry_seconds", "must be 0.01 to 3600");
    }
}

/// Files of customers, fetched from Meta.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaConfig {
    /// Hosts that files may be fetched from over TLS, each with all below it; the Graph API's own address is always one.
    pub hosts: Vec<String>,
    /// Largest file in bytes; the object store's limit counts too.
    pub max_bytes: u64,
    /// Memory for all files under way, in and out, in bytes.
    pub memory_bytes: u64,
    /// Files of one account under way at once, at all replicas together.
    pub concurrency: usize,
    /// Longest time for one call to Meta, the bytes of a file included, in seconds.
    pub fetch_seconds: u64,
    /// First pause before another try, in seconds; it grows fourfold.
    pub retry_seconds: f64,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            // Where Meta's own pages and answers point to.
            hosts: vec!["lookaside.fbsbx.com".into()],
            // Meta's largest: a document.
            max_bytes: 100 * 1024 * 1024,
            memory_bytes: 256 * 1024 * 1024,
            concurrency: 4,
            fetch_seconds: 120,
            retry_seconds: 10.0,
        }
    }
}

impl MediaConfig {
    fn validate(&self, problems: &mut Problems) {
        let host = |host: &String| {
            let labels = host.split('.').count() >= 2;
            labels && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
        };
        problems.require(self.hosts.iter().all(host), "media.hosts", "must be names of hosts");
        let bytes = (1..=2 * 1024 * 1024 * 1024).contains(&self.max_bytes);
        problems.require(bytes, "media.max_bytes", "must be 1 to 2147483648");
        let memory = (1024..=64 * 1024 * 1024 * 1024).contains(&self.memory_bytes)
            && self.memory_bytes >= self.max_bytes;
        problems.require(memory, "media.memory_bytes", "must have room for one of the largest files");
        problems.require((1..=64).contains(&self.concurrency), "media.concurrency", "must be 1 to 64");
        problems.require(
            (1..=3600).contains(&self.fetch_seconds),
            "media.fetch_seconds",
            "must be 1 to 3600",
        );
        let retry = (0.01..=3600.0).contains(&self.retry_seconds);
        problems.require(retry, "media.retry_seconds", "must be 0.01 to 3600");
    }
}

fn default_body_bytes() -> usize {
    LEAST_BODY
}

/// Sixteen of the largest bodies, or tens of thousands of usual ones.
fn default_buffered_bytes() -> usize {
    16 * LEAST_BODY
}

fn default_body_seconds() -> u64 {
    20
}

/// Thirty times as long as the directory needs to come.
fn default_directory_seconds() -> u64 {
    60
}

impl Section for WhatsappConfig {
    fn validate(&self, problems: &mut Problems) {
        self.database.validate(problems, "database");
        let webhook = &self.webhook;
        let body = (LEAST_BODY..=64 * 1024 * 1024).contains(&webhook.max_body_bytes);
        problems.require(body, "webhook.max_body_bytes", "must be between 4194304 and 67108864");
        let room = webhook.max_buffered_bytes >= webhook.max_body_bytes.next_multiple_of(1024)
            && webhook.max_buffered_bytes <= 4 * 1024 * 1024 * 1024;
        problems.require(room, "webhook.max_buffered_bytes", "must have room for one of the largest bodies");
        problems.require((1..=60).contains(&webhook.body_seconds), "webhook.body_seconds", "must be 1 to 60");
        let directory = (1..=3600).contains(&webhook.directory_seconds);
        problems.require(directory, "webhook.directory_seconds", "must be 1 to 3600");
        let base = graph::base_url(&self.graph.base_url).is_some();
        problems.require(base, "graph.base_url", "must be an https:// URL (http:// only on this machine)");
        let reply = (1..=120).contains(&self.graph.reply_seconds);
        problems.require(reply, "graph.reply_seconds", "must be 1 to 120");
        self.media.validate(problems);
        self.templates.validate(problems);
        let sender = &self.sender;
        problems.require((1..=512).contains(&sender.concurrency), "sender.concurrency", "must be 1 to 512");
        problems.require(
            (1..=3600).contains(&sender.doubt_seconds),
            "sender.doubt_seconds",
            "must be 1 to 3600",
        );
        let pair = (0.001..=3600.0).contains(&sender.pair_seconds);
        problems.require(pair, "sender.pair_seconds", "must be 0.001 to 3600");
        problems.require((1..=1000).contains(&sender.pair_burst), "sender.pair_burst", "must be 1 to 1000");
        let retry = (0.01..=3600.0).contains(&sender.retry_seconds);
        problems.require(retry, "sender.retry_seconds", "must be 0.01 to 3600");
    }
}
