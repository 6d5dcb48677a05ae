//! SPF, DKIM and DMARC by mail-auth, over an injected resolver: the system's, given name servers, or none at all.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hilo_kit::error::Error;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DkimResult, DmarcResult, MessageAuthenticator, SpfOutput, SpfResult,
};

use crate::config::ResolverChoice;
use crate::domain::authentication::{Aligned, Verdict, dmarc};

/// All look-ups of one mail together; then they count as failed for now.
const DEADLINE: Duration = Duration::from_secs(20);
/// One question to one name server.
const QUESTION: Duration = Duration::from_secs(3);

/// Who handed a mail over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Address of the SMTP client.
    pub ip: IpAddr,
    /// Name it gave with EHLO.
    pub helo: String,
    /// Envelope sender; empty is the null sender.
    pub envelope_sender: String,
}

/// Checks the sender of a mail.
#[async_trait]
pub trait SenderAuthentication: Send + Sync {
    /// Never fails: what cannot be found out is a verdict too. `peer` is unknown for fetched mail; then SPF is `none`.
    async fn verify(&self, raw: &[u8], peer: Option<&Peer>) -> Verdict;
}

/// For installations without DNS: every mail is unchecked.
#[derive(Clone, Copy, Debug)]
pub struct NoResolver;

#[async_trait]
impl SenderAuthentication for NoResolver {
    async fn verify(&self, _raw: &[u8], _peer: Option<&Peer>) -> Verdict {
        Verdict::UNCHECKED
    }
}

/// mail-auth over DNS.
pub struct DnsAuthentication {
    authenticator: MessageAuthenticator,
    host: String,
}

impl DnsAuthentication {
    /// With the resolver of the configuration; `host` is our own name, which SPF macros may ask for.
    ///
    /// # Errors
    /// `RESOLVER_UNUSABLE` when the system's resolver configuration cannot be read.
    pub fn new(choice: &ResolverChoice, host: &str) -> Result<Self, Error> {
        let authenticator = match choice {
            ResolverChoice::Servers(servers) => MessageAuthenticator::new(configured(servers), options()),
            ResolverChoice::System | ResolverChoice::None => MessageAuthenticator::new_system_conf(),
        };
        let authenticator = authenticator.map_err(|error| {
            Error::invalid("RESOLVER_UNUSABLE", "the DNS resolver cannot be set up").with_source(error)
        })?;
        Ok(Self { authenticator, host: host.to_owned() })
    }

    async fn look_up(&self, raw: &[u8], peer: Option<&Peer>) -> Verdict {
        let Some(message) = AuthenticatedMessage::parse(raw) else {
            return Verdict { dmarc: dmarc(0, Aligned::No, Aligned::No, false), spf: "none", dkim: "none" };
        };
        let dkim = self.authenticator.verify_dkim(&message).await;
        let spf = match peer {
            Some(peer) => {
                let sender = &peer.envelope_sender;
                let parameters = SpfParameters::verify_mail_from(peer.ip, &peer.helo, &self.host, sender);
                self.authenticator.verify_spf(parameters).await
            }
            None => SpfOutput::new(String::new()).with_result(SpfResult::None),
        };
        let mail_from = peer.map(|peer| match peer.envelope_sender.rsplit_once('@') {
            Some((_, domain)) => domain,
            None => peer.helo.as_str(),
        });
        let output = self
            .authenticator
            .verify_dmarc(DmarcParameters {
                message: &message,
                dkim_output: &dkim,
                dkim2_output: None,
                rfc5321_mail_from_domain: mail_from.unwrap_or_default(),
                spf_output: &spf,
            })
            .await;
        let published = output.dmarc_record().is_some() || is_broken(output.dkim_result());
        Verdict {
            dmarc: dmarc(
                message.from.len(),
                aligned(output.spf_result()),
                aligned(output.dkim_result()),
                published,
            ),
            spf: spf_word(spf.result()),
            dkim: dkim_word(&dkim),
        }
    }
}

#[async_trait]
impl SenderAuthentication for DnsAuthentication {
    async fn verify(&self, raw: &[u8], peer: Option<&Peer>) -> Verdict {
        tokio::time::timeout(DEADLINE, self.look_up(raw, peer)).await.unwrap_or(Verdict::TEMPORARY)
    }
}

fn configured(servers: &[SocketAddr]) -> ResolverConfig {
    let servers = servers.iter().map(|server| {
        let at = |mut connection: ConnectionConfig| {
            connection.port = server.port();
            connection
        };
        NameServerConfig::new(
            server.ip(),
            true,
            vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())],
        )
    });
    ResolverConfig::from_parts(None, vec![], servers.collect())
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = QUESTION;
    options.attempts = 2;
    options
}

fn aligned(result: &DmarcResult) -> Aligned {
    match result {
        DmarcResult::Pass => Aligned::Pass,
        DmarcResult::TempError(_) => Aligned::Temporary,
        DmarcResult::Fail(_) | DmarcResult::PermError(_) | DmarcResult::None => Aligned::No,
    }
}

/// A policy record that cannot be read was still meant as one.
fn is_broken(result: &DmarcResult) -> bool {
    matches!(result, DmarcResult::PermError(_))
}

fn spf_word(result: SpfResult) -> &'static str {
    match result {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    }
}

/// The best signature counts.
fn dkim_word(outputs: &[DkimOutput<'_>]) -> &'static str {
    let rank = |result: &DkimResult| match result {
        DkimResult::Pass => (5, "pass"),
        DkimResult::TempError(_) => (4, "temperror"),
        DkimResult::Fail(_) => (3, "fail"),
        DkimResult::Neutral(_) => (2, "neutral"),
        DkimResult::PermError(_) => (1, "permerror"),
        DkimResult::None => (0, "none"),
    };
    outputs.iter().map(|output| rank(output.result())).max().map_or("none", |(_, word)| word)
}
