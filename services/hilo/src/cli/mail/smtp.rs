//! Hands a finished mail to an SMTP server and gives back the server's own words.

use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::cli::{Exit, Failure, terminal};

/// A whole dialogue that takes longer has failed; RFC 5321 allows minutes, a person at a terminal does not.
const DEADLINE: Duration = Duration::from_secs(20);

/// Hands in `raw` at `address` (`host:port`, without TLS: loopback or a test server); answers the reply to the final dot.
///
/// # Errors
/// `SMTP_REFUSED` for a permanent answer (with it), `SMTP_LATER` for a temporary one, `NOBODY_ANSWERS`.
pub async fn hand_in(address: &str, envelope: &Envelope, raw: &[u8]) -> Result<String, Failure> {
    let (host, port) = address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
        .ok_or_else(|| Failure::invalid("BAD_ADDRESS", format!("{address} is not ADDRESS:PORT")))?;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(port)
        .timeout(Some(DEADLINE))
        .build();
    let answer = tokio::time::timeout(DEADLINE, transport.send_raw(envelope, raw)).await;
    let answer =
        answer.map_err(|_| Failure::unavailable("SMTP_SLOW", format!("{address} did not answer in time")))?;
    let response = answer.map_err(|error| failure(address, &error))?;
    let words: Vec<&str> = response.message().collect();
    Ok(format!("{} {}", response.code(), words.join(" ")).trim().to_owned())
}

fn failure(address: &str, error: &Error) -> Failure {
    let words = terminal::clean(
        &std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string),
    );
    match error.status() {
        Some(code) if error.is_permanent() => {
            Failure::new(Exit::Rejected, "SMTP_REFUSED", format!("{address} answered: {code} {words}"))
        }
        Some(code) => Failure::unavailable("SMTP_LATER", format!("{address} answered: {code} {words}")),
        None => Failure::unavailable("NOBODY_ANSWERS", format!("no SMTP dialogue with {address}: {words}")),
    }
}
