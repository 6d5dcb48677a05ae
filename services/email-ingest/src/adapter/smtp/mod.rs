//! Sends one mail and says, per recipient, what certainly happened and what cannot be known.
//!
//! lettre's one-call send gives up at the first refused recipient and hides whether a failure came before or after the
//! final dot; so its single commands are used, over a stream that knows whether the final dot has left.

mod connect;
mod heard;
mod watched;

use std::time::Duration;

use hilo_kit::config::Secret;
use hilo_kit::fault;
use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::adapter::tls::Tls;
use crate::domain::send::{Outcome, Reply};
use watched::FinalDot;

/// How the server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// STARTTLS, required.
    StartTls,
    /// None; loopback only.
    Plain,
}

impl Security {
    /// Word of the directory.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "tls" => Some(Self::Tls),
            "starttls" => Some(Self::StartTls),
            "plain" => Some(Self::Plain),
            _ => None,
        }
    }
}

/// A submission server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS.
    pub security: Security,
    /// Certificate authorities.
    pub tls: Tls,
    /// User and password.
    pub credentials: Option<(String, Secret)>,
    /// Our name.
    pub helo: String,
    /// Longest wait for one reply.
    pub reply_time: Duration,
}

/// A mail ready to go.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Envelope sender; `None` is the null sender.
    pub sender: Option<Address>,
    /// Recipients by their place in the envelope.
    pub recipients: Vec<(i16, Address)>,
    /// The mail; every line ended by CRLF.
    pub mail: Vec<u8>,
    /// What a delivery report calls it by (RFC 3461 section 4.4).
    pub envelope_id: String,
}

/// Sends. The final dot leaves only after `permission`, asked when everything before it is written: who does not get it
/// stops there, certainly unsent, with the words given.
pub async fn deliver(
    server: &Server,
    ready: &Ready,
    permission: impl Future<Output = Result<(), &'static str>> + Send,
) -> Vec<(i16, Outcome)> {
    let positions = || ready.recipients.iter().map(|(position, _)| *position);
    let all = |outcome: Outcome| positions().map(|position| (position, outcome.clone())).collect();
    let (mut dialogue, final_dot) = match Dialogue::open(server).await {
        Ok(open) => open,
        Err(text) => return all(Outcome::NotYet(Reply::local(&text))),
    };
    // One address that SMTP cannot carry must not stop the others.
    let utf8 = dialogue.connection.server_info().supports_feature(Extension::SmtpUtfEight);
    if let Err(failed) = dialogue.mail(utf8, ready).await {
        return all(failed.outcome());
    }
    let mut outcomes = Vec::new();
    let mut accepted = Vec::new();
    for (position, address) in &ready.recipients {
        match dialogue.rcpt(address, utf8).await {
            Ok(()) => accepted.push(*position),
            Err(failed) => outcomes.push((*position, failed.outcome())),
        }
    }
    let rest = |outcome: Outcome| accepted.iter().map(move |position| (*position, outcome.clone()));
    if !accepted.is_empty() {
        let outcome = dialogue.content(&ready.mail, &final_dot, permission).await;
        outcomes.extend(rest(outcome));
    }
    dialogue.quit().await;
    outcomes
}

struct Dialogue {
    connection: AsyncSmtpConnection,
    reply_time: Duration,
    broken: bool,
    /// The server passes on what reports are to say (RFC 3461).
    reports: bool,
}

/// A command that did not succeed.
enum Failed {
    /// The server said no.
    Said(Reply),
    /// There is no server any more.
    Gone(String),
}

impl Failed {
    /// Before the final dot everything that is not a 5xx is "not yet".
    fn outcome(self) -> Outcome {
        match self {
            Failed::Said(reply) if reply.code >= 500 => Outcome::Refused(reply),
            Failed::Said(reply) => Outcome::NotYet(reply),
            Failed::Gone(text) => Outcome::NotYet(Reply::local(&text)),
        }
    }
}

impl Dialogue {
    async fn open(server: &Server) -> Result<(Self, FinalDot), String> {
        let (stream, final_dot) = connect::stream(server).await?;
        let heard = stream.heard();
        let connecting = connect::greet(stream, server);
        let connection =
            tokio::time::timeout(server.reply_time, connecting.with_subscriber(NoSubscriber::default()))
                .await
                .map_err(|_| "the server did not greet in time".to_owned())?
                .map_err(|error| text_of("greeting", &error))?;
        let reports = heard.announced("DSN");
        let mut dialogue = Self { connection, reply_time: server.reply_time, broken: false, reports };
        if let Some((user, password)) = &server.credentials {
            dialogue.authenticate(user, password).await?;
        }
        Ok((dialogue, final_dot))
    }

    async fn authenticate(&mut self, user: &str, password: &Secret) -> Result<(), String> {
        let credentials = Credentials::new(user.to_owned(), password.expose().to_owned());
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        let asked = self.connection.auth(&mechanisms, &credentials).with_subscriber(NoSubscriber::default());
        match tokio::time::timeout(self.reply_time, asked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(text_of("authentication", &error)),
            Err(_) => Err("the server did not answer the authentication in time".to_owned()),
        }
    }

    async fn mail(&mut self, utf8: bool, ready: &Ready) -> Result<(), Failed> {
        let ascii = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        let mut addresses = ready.sender.iter().chain(ready.recipients.iter().map(|(_, address)| address));
        let needs_utf8 = addresses.any(|address| !ascii(address));
        let mut parameters = Vec::new();
        if utf8 && needs_utf8 {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if self.reports {
            // Without the content: nobody reads it in a report, and the ledger has it.
            for (keyword, value) in [("ENVID", ready.envelope_id.as_str()), ("RET", "HDRS")] {
                let (keyword, value) = (keyword.to_owned(), Some(value.to_owned()));
                parameters.push(MailParameter::Other { keyword, value });
            }
        }
        self.command(Mail::new(ready.sender.clone(), parameters)).await.map(drop)
    }

    async fn rcpt(&mut self, address: &Address, utf8: bool) -> Result<(), Failed> {
        if !utf8 && !AsRef::<str>::as_ref(address).is_ascii() {
            let text = "the server does not take addresses with other than ASCII characters".to_owned();
            return Err(Failed::Said(Reply { code: 553, enhanced: "5.6.7".to_owned(), text }));
        }
        self.command(Rcpt::new(address.clone(), vec![])).await.map(drop)
    }

    async fn content(
        &mut self,
        mail: &[u8],
        final_dot: &FinalDot,
        permission: impl Future<Output = Result<(), &'static str>> + Send,
    ) -> Outcome {
        if let Err(failed) = self.command(Data).await {
            return failed.outcome();
        }
        final_dot.watch();
        let sending = self.connection.message(mail).with_subscriber(NoSubscriber::default());
        let refused = async {
            final_dot.reached().await;
            fault::point("email.send.before_final_dot").await;
            if let Err(reason) = permission.await {
                return reason;
            }
            fault::point("email.send.final_dot_released").await;
            final_dot.let_go();
            std::future::pending().await
        };
        // RFC 5321 section 4.5.3.2.6: the answer to the final dot may take long.
        let answered = tokio::select! {
            answered = tokio::time::timeout(self.reply_time * 2, sending) => answered,
            reason = refused => {
                self.broken = true;
                return Outcome::NotYet(Reply::local(reason));
            }
        };
        let failed = match answered {
            Ok(Ok(response)) => return Outcome::Accepted(reply_of(&response)),
            Ok(Err(error)) => failed(error, "content"),
            Err(_) => Failed::Gone("no answer to the content in time".to_owned()),
        };
        self.broken = true;
        match failed {
            Failed::Said(_) => failed.outcome(),
            Failed::Gone(text) if final_dot.has_left() => Outcome::Unknown(Reply::local(&text)),
            Failed::Gone(_) => failed.outcome(),
        }
    }

    async fn command(&mut self, command: impl std::fmt::Display) -> Result<Response, Failed> {
        if self.broken {
            return Err(Failed::Gone("the connection had ended".to_owned()));
        }
        let asked = self.connection.command(command).with_subscriber(NoSubscriber::default());
        let failed = match tokio::time::timeout(self.reply_time, asked).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => failed(error, "command"),
            Err(_) => Failed::Gone("the server did not answer in time".to_owned()),
        };
        // 421 announces that the server closes (RFC 5321 section 3.8).
        self.broken = match &failed {
            Failed::Said(reply) => reply.code == 421,
            Failed::Gone(_) => true,
        };
        Err(failed)
    }

    async fn quit(mut self) {
        if !self.broken {
            let farewell = self.connection.quit().with_subscriber(NoSubscriber::default());
            // Every outcome is known already.
            let _ = tokio::time::timeout(Duration::from_secs(2), farewell).await;
        }
    }
}

fn failed(error: lettre::transport::smtp::Error, phase: &str) -> Failed {
    match error.status() {
        Some(code) => {
            let text = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            Failed::Said(reply(code.into(), text))
        }
        None => Failed::Gone(text_of(phase, &error)),
    }
}

fn text_of(phase: &str, error: &lettre::transport::smtp::Error) -> String {
    let mut text = format!("{phase}: {error}");
    if let Some(source) = std::error::Error::source(error) {
        text.push_str(&format!(": {source}"));
    }
    text
}

fn reply_of(response: &Response) -> Reply {
    reply(response.code().into(), response.message().collect::<Vec<_>>().join(" "))
}

fn reply(code: u16, text: String) -> Reply {
    let first = text.split_whitespace().next().unwrap_or_default();
    let enhanced = if is_enhanced(first) { first.to_owned() } else { String::new() };
    Reply { code, enhanced, text }
}

/// `5.1.1` (RFC 3463 section 2).
fn is_enhanced(word: &str) -> bool {
    let parts: Vec<_> = word.split('.').collect();
    let digits = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(digits) && matches!(parts.first(), Some(&("2" | "4" | "5")))
}

#[cfg(test)]
mod tests;
