//! One mail's way from raw bytes to INBOUND.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hilo_kit::clock;
use hilo_kit::error::{Class, Error};
use hilo_kit::fault;
use hilo_kit::objects::Digest256;
use hilo_kit::telemetry;
use tracing::Instrument;

use super::Parts;
use crate::adapter::authentication::Peer;
use crate::domain::fields::Fields;
use crate::domain::limits::HEADER_BYTES;
use crate::domain::mime::OverLimit;
use crate::domain::parse::{self, Arrival, Parsed, VERSION};
use crate::domain::results;
use crate::metrics;
use crate::store::Waiting;

/// Attempts before quarantine.
const MAX_ATTEMPTS: i32 = 3;
/// Look-ups of a sender that fail for now before the mail goes on as unverified: after about 1, 5 and 25 seconds.
const MAX_LOOKUPS: i32 = 3;
/// Longest time for the pure parser.
const PARSE_TIME: Duration = Duration::from_secs(30);
/// The HTML parsers recurse; a hostile tree must not end the process.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Longest time that an unreachable database or object store is waited for with the mail in hand.
const PATIENCE: u32 = 6;

/// Why a mail did not come through.
enum Failure {
    /// Try again later, uncounted: the mail is not at fault.
    Later(Error),
    /// The look-ups failed for now.
    LookUp,
    /// This mail can never be parsed.
    Quarantine { reason: String, detail: String },
}

/// Works; every end is written into the ledger.
pub(super) async fn one(parts: &Parts, waiting: Waiting) {
    let span = tracing::info_span!(
        "email.parse",
        ledger_id = %waiting.claim.id,
        account = %waiting.account_key,
        attempts = waiting.claim.attempts,
        dmarc = tracing::field::Empty,
        class = tracing::field::Empty,
    );
    let span = telemetry::span_with_parent(waiting.traceparent.as_deref(), span);
    async {
        let began = Instant::now();
        let ended = handle(parts, &waiting).await;
        let outcome = match &ended {
            Ok(()) => "handed_over",
            Err(Failure::Later(_) | Failure::LookUp) => "later",
            Err(Failure::Quarantine { .. }) => "quarantined",
        };
        metrics::parsed(outcome, began.elapsed().as_secs_f64());
        let Err(failure) = ended else { return };
        if let Err(error) = settle(parts, &waiting, failure).await {
            error.log("settling a mail that was not parsed");
        }
    }
    .instrument(span)
    .await;
}

async fn handle(parts: &Parts, waiting: &Waiting) -> Result<(), Failure> {
    if waiting.claim.attempts > MAX_ATTEMPTS {
        return quarantine("PARSE_ATTEMPTS_EXHAUSTED", "every attempt ended without a result");
    }
    if let Some(reason) = &waiting.unfit {
        return quarantine(reason, "the mail was not fetched as a whole");
    }
    let raw = raw(parts, waiting).await?;
    let mut parsed = isolated(parts, waiting, raw.clone()).await?;
    authenticate(parts, waiting, &raw, &mut parsed).await?;
    parse::fit(&mut parsed);
    for (_, content) in std::mem::take(&mut parsed.contents) {
        let content = Bytes::from(content);
        match patiently(|| parts.objects.put(content.clone())).await {
            Ok(_) => {}
            Err(error) if error.class() == Class::Unavailable => return Err(Failure::Later(error)),
            // A decoded file can be larger than any object; trying again would hold its author's mails for ever.
            Err(error) => return quarantine(error.reason(), error.message()),
        }
    }
    fault::point("email.parse.before_commit").await;
    let email = parsed.email;
    // A report has no envelope sender (RFC 3464 section 2); what has one does not change what became of a mail.
    let returned = parsed.returned.filter(|_| email.envelope_sender.is_empty());
    let committed = patiently(|| parts.store.parsed(waiting, email.clone(), returned.clone(), VERSION)).await;
    fault::point("email.parse.after_commit").await;
    match committed {
        Ok(true) => tracing::info!("mail parsed"),
        Ok(false) => tracing::warn!("another worker has taken this mail over"),
        Err(error) if error.class() == Class::Unavailable => return Err(Failure::Later(error)),
        Err(error) => return quarantine(error.reason(), error.message()),
    }
    Ok(())
}

fn quarantine(reason: &str, detail: &str) -> Result<(), Failure> {
    Err(Failure::Quarantine { reason: reason.to_owned(), detail: detail.to_owned() })
}

async fn raw(parts: &Parts, waiting: &Waiting) -> Result<Bytes, Failure> {
    if let Some(raw) = &waiting.raw {
        return Ok(Bytes::from(raw.clone()));
    }
    let lost = |reason: &str| Failure::Quarantine {
        reason: reason.to_owned(),
        detail: "the mail's bytes are not readable in the object store".to_owned(),
    };
    match patiently(|| parts.objects.get(Digest256(waiting.digest))).await {
        Ok(Some(raw)) => Ok(raw),
        Ok(None) => Err(lost("OBJECT_MISSING")),
        Err(error) if error.class() == Class::Corrupt => Err(lost(error.reason())),
        Err(error) => Err(Failure::Later(error)),
    }
}

/// Parses on a thread of its own with a large stack; a panic or a hang costs this mail an attempt and nobody else.
async fn isolated(parts: &Parts, waiting: &Waiting, raw: Bytes) -> Result<Parsed, Failure> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let accounts = parts.accounts.current().unwrap_or_default();
    let (key, waiting) = (parts.thread_key.clone(), waiting.clone());
    let work = move || {
        let account = accounts.get(&waiting.account_key);
        let parsed = parse::parse(&Arrival {
            raw: &raw,
            account_key: &waiting.account_key,
            account_address: account.map(|account| account.address.as_str()).unwrap_or_default(),
            own_addresses: &accounts.addresses(),
            envelope_sender: waiting.envelope_sender.as_deref(),
            envelope_recipients: &waiting.envelope_recipients,
            thread_key: &key,
        });
        // The receiver is gone only when the worker gave up.
        let _ = sender.send(parsed);
    };
    let spawned = std::thread::Builder::new().name("mail-parser".into()).stack_size(STACK_BYTES).spawn(work);
    if let Err(error) = spawned {
        let error =
            Error::unavailable("NO_THREAD", "a parser thread could not be started").with_source(error);
        return Err(Failure::Later(error));
    }
    match tokio::time::timeout(PARSE_TIME, receiver).await {
        Ok(Ok(Ok(parsed))) => Ok(parsed),
        Ok(Ok(Err(over))) => Err(over_limit(over)),
        Ok(Err(_)) => Err(Failure::Quarantine {
            reason: "PARSER_PANICKED".to_owned(),
            detail: "the parser panicked on this mail".to_owned(),
        }),
        Err(_) => Err(Failure::Quarantine {
            reason: "PARSER_TOO_SLOW".to_owned(),
            detail: format!("the parser needed more than {} s", PARSE_TIME.as_secs()),
        }),
    }
}

fn over_limit(over: OverLimit) -> Failure {
    Failure::Quarantine { reason: over.reason().to_owned(), detail: "the mail breaks a limit".to_owned() }
}

async fn authenticate(
    parts: &Parts,
    waiting: &Waiting,
    raw: &Bytes,
    parsed: &mut Parsed,
) -> Result<(), Failure> {
    let peer = waiting.peer.as_deref().and_then(|ip| ip.parse().ok()).map(|ip| Peer {
        ip,
        helo: waiting.helo.clone().unwrap_or_default(),
        envelope_sender: waiting.envelope_sender.clone().unwrap_or_default(),
    });
    let told = match &peer {
        // Taken by SMTP: nobody of ours has checked it before.
        Some(_) => None,
        None => {
            let fields = Fields::read(raw.get(..HEADER_BYTES).unwrap_or(raw));
            let from = parsed.email.from.as_ref().map(|from| from.address.as_str()).unwrap_or_default();
            let one = !parsed.email.anomalies.iter().any(|word| word == "multiple-from");
            results::trusted(&fields, &parts.trusted_receivers, from).filter(|_| one)
        }
    };
    let verdict = match told {
        Some(verdict) => verdict,
        None => parts.authentication.verify(raw, peer.as_ref()).await,
    };
    if told.is_none() && verdict.is_temporary() && waiting.claim.lookups < MAX_LOOKUPS {
        return Err(Failure::LookUp);
    }
    let accounts = parts.accounts.current().unwrap_or_default();
    let account = accounts.get(&waiting.account_key);
    let evidence = parsed.email.evidence.get_or_insert_default();
    verdict.write(evidence);
    evidence.unauthenticated_replies_accepted =
        account.is_some_and(|account| account.accept_unauthenticated_replies);
    let span = tracing::Span::current();
    span.record("dmarc", verdict.dmarc.as_str_name());
    span.record("class", parsed.email.mail_class().as_str_name());
    Ok(())
}

async fn settle(parts: &Parts, waiting: &Waiting, failure: Failure) -> Result<(), Error> {
    match failure {
        Failure::Later(error) => {
            error.log("parsing a mail; later again");
            parts.store.put_back(&waiting.claim, Duration::from_secs(2), false).await
        }
        Failure::LookUp => {
            let pause = Duration::from_secs(5u64.saturating_pow(waiting.claim.lookups.unsigned_abs()));
            tracing::info!(?pause, "the sender's domain could not be looked up for now");
            parts.store.put_back(&waiting.claim, pause, true).await
        }
        Failure::Quarantine { reason, detail } => {
            tracing::error!(%reason, "a mail is quarantined");
            parts.store.quarantine(waiting, &reason, &detail).await.map(drop)
        }
    }
}

/// Tries again while a dependency is away.
async fn patiently<T, F, Fut>(mut work: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let mut tries = 0;
    loop {
        match work().await {
            Err(error) if error.class() == Class::Unavailable && tries < PATIENCE => {
                let pause = clock::backoff(tries, Duration::from_millis(100), Duration::from_secs(2));
                tokio::time::sleep(pause).await;
                tries += 1;
            }
            other => return other,
        }
    }
}
