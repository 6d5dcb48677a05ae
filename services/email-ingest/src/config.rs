//! Settings of this service, checked before any port opens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use hilo_kit::config::{DatabaseConfig, GrpcConfig, Problems, Secret, ServiceConfig};
use hilo_kit::thread_token::MIN_KEY_BYTES;
use serde::Deserialize;

use crate::domain::limits::MESSAGE_BYTES;

/// The whole configuration of this service.
pub type Config = ServiceConfig<Section>;

/// Section `email-ingest`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// gRPC port.
    pub grpc: GrpcConfig,
    /// Database.
    pub database: DatabaseConfig,
    /// Inbound SMTP.
    pub smtp: SmtpConfig,
    /// Key of the thread tokens, at least 16 bytes, the same as attention-state's.
    pub thread_key: Secret,
    /// Where SPF, DKIM and DMARC are looked up.
    #[serde(default)]
    pub resolver: ResolverChoice,
    /// Names of our own receiving servers whose `Authentication-Results` on fetched mail are believed; each must remove
    /// fields of others that claim its name.
    #[serde(default)]
    pub trusted_receivers: Vec<String>,
    /// Folder with one file per secret of the directory (`password_secret`); the environment comes first.
    #[serde(default)]
    pub secrets: Option<PathBuf>,
    /// Further certificate authorities (PEM) that mail servers may be signed by, besides the public ones.
    #[serde(default)]
    pub ca_certificates: Option<PathBuf>,
    /// Parsing.
    #[serde(default)]
    pub parser: ParserConfig,
    /// Sending.
    #[serde(default)]
    pub sender: SenderConfig,
    /// Fetching.
    #[serde(default)]
    pub imap: ImapConfig,
}

/// Inbound SMTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Name in the greeting, and our name in EHLO when sending.
    #[serde(default = "default_hostname")]
    pub hostname: String,
    /// Largest mail taken, in bytes; at most 25 MiB.
    #[serde(default = "default_message_bytes")]
    pub max_message_bytes: usize,
    /// Memory for the contents of all mails that come in at one time, in bytes; beyond it a mail is put off (452).
    #[serde(default = "default_buffered_bytes")]
    pub max_buffered_bytes: usize,
    /// Connections at once.
    #[serde(default = "default_connections")]
    pub max_connections: usize,
    /// A silent client is let go after this many seconds (RFC 5321 section 4.5.3.2 asks for five minutes).
    #[serde(default = "default_idle_seconds")]
    pub idle_seconds: u64,
}

/// Parsing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ParserConfig {
    /// Mails parsed at once.
    pub workers: usize,
}

impl Default for ParserConfig {
    fn default() -> Self {
        Self { workers: 4 }
    }
}

/// Sending.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SenderConfig {
    /// Mails of one account sent at once.
    pub concurrency: usize,
    /// Longest wait for a server's greeting or reply, in seconds; after the final dot twice as long.
    pub reply_seconds: u64,
    /// Seconds before the one repetition after an unknown outcome.
    pub unknown_retry_seconds: u64,
}

impl Default for SenderConfig {
    fn default() -> Self {
        let unknown_retry_seconds = crate::domain::send::UNKNOWN_RETRY_AFTER.as_secs();
        Self { concurrency: 4, reply_seconds: 60, unknown_retry_seconds }
    }
}

/// Fetching.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImapConfig {
    /// Longest IDLE in seconds, at most 300: many networks forget a silent connection after five minutes.
    pub idle_seconds: u64,
    /// The mailbox is looked at at least this often, in seconds.
    pub poll_seconds: u64,
}

impl Default for ImapConfig {
    fn default() -> Self {
        Self { idle_seconds: 290, poll_seconds: 60 }
    }
}

/// Where SPF, DKIM and DMARC are looked up: `system`, `none`, or name servers as `1.2.3.4:53,[::1]:53`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum ResolverChoice {
    /// The system's resolver.
    #[default]
    System,
    /// There is no DNS: every mail is unchecked.
    None,
    /// These name servers.
    Servers(Vec<SocketAddr>),
}

impl TryFrom<String> for ResolverChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for ResolverChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "system" => Ok(Self::System),
            "none" => Ok(Self::None),
            servers => servers
                .split(',')
                .map(|server| server.trim().parse())
                .collect::<Result<_, _>>()
                .map(Self::Servers)
                .map_err(|_| "must be system, none or a list of ADDRESS:PORT".to_owned()),
        }
    }
}

fn default_hostname() -> String {
    "localhost".into()
}

fn default_message_bytes() -> usize {
    MESSAGE_BYTES
}

/// Ten of the largest mails, or thousands of usual ones.
fn default_buffered_bytes() -> usize {
    10 * MESSAGE_BYTES
}

fn default_connections() -> usize {
    200
}

fn default_idle_seconds() -> u64 {
    300
}

impl hilo_kit::config::Section for Section {
    fn validate(&self, problems: &mut Problems) {
        self.database.validate(problems, "database");
        let key = self.thread_key.expose().len() >= MIN_KEY_BYTES;
        problems.require(key, "thread_key", "must be at least 16 bytes long");
        let smtp = &self.smtp;
        let host = !smtp.hostname.is_empty()
            && smtp.hostname.len() <= 255
            && smtp.hostname.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b));
        problems.require(host, "smtp.hostname", "must be a host name");
        let bytes = (1024..=MESSAGE_BYTES).contains(&smtp.max_message_bytes);
        problems.require(bytes, "smtp.max_message_bytes", "must be between 1024 and 26214400");
        let room = smtp.max_buffered_bytes >= smtp.max_message_bytes.next_multiple_of(1024);
        problems.require(room, "smtp.max_buffered_bytes", "must have room for one of the largest mails");
        problems.require(
            (1..=10_000).contains(&smtp.max_connections),
            "smtp.max_connections",
            "must be 1 to 10000",
        );
        problems.require((1..=3600).contains(&smtp.idle_seconds), "smtp.idle_seconds", "must be 1 to 3600");
        problems.require((1..=64).contains(&self.parser.workers), "parser.workers", "must be 1 to 64");
        problems.require(
            (1..=64).contains(&self.sender.concurrency),
            "sender.concurrency",
            "must be 1 to 64",
        );
        problems.require(
            (1..=600).contains(&self.sender.reply_seconds),
            "sender.reply_seconds",
            "must be 1 to 600",
        );
        let retry = (1..=86_400).contains(&self.sender.unknown_retry_seconds);
        problems.require(retry, "sender.unknown_retry_seconds", "must be 1 to 86400");
        problems.require(
            (1..=300).contains(&self.imap.idle_seconds),
            "imap.idle_seconds",
            "must be 1 to 300",
        );
        problems.require(
            (1..=3600).contains(&self.imap.poll_seconds),
            "imap.poll_seconds",
            "must be 1 to 3600",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read() {
        assert_eq!("none".parse(), Ok(ResolverChoice::None));
        let two = vec!["127.0.0.1:5353".parse().unwrap(), "[::1]:53".parse().unwrap()];
        assert_eq!("127.0.0.1:5353, [::1]:53".parse(), Ok(ResolverChoice::Servers(two)));
        assert!("dns.example".parse::<ResolverChoice>().is_err());
    }
}
