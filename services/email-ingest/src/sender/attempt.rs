//! One attempt of one send: build, speak SMTP, write down what each recipient's server said.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use hilo_kit::clock;
use hilo_kit::error::{Class, Error};
use hilo_kit::fault;
use hilo_kit::lease::Keeper;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::objects::Digest256;
use hilo_kit::telemetry;
use hilo_proto::directory::v1::SmtpSettings;
use hilo_proto::outbound::v1::{OutboundEmail, outbound_envelope};
use tracing::Instrument;

use super::Parts;
use crate::adapter::smtp::{self, Ready, Security, Server};
use crate::domain::compose::{self, Enclosure};
use crate::domain::send::{Outcome, Reply};
use crate::metrics;
use crate::store::{AttemptResult, Picked, PickedRecipient};

/// Most bytes of files in one mail: base 64 and headers make 25 MiB of it, which is what most servers take.
const MAX_CONTENT: usize = 18 * 1024 * 1024;

/// Runs; the end is written into the ledger before the task ends, unless the process ends first.
pub(super) async fn run(parts: Arc<Parts>, picked: Picked, keeper: Keeper, stop: Shutdown) {
    let span = tracing::info_span!(
        "email.send",
        otel.kind = "client",
        send_id = %picked.send_id,
        account = %picked.account_key,
        attempt = picked.attempts,
        accepted = tracing::field::Empty,
    );
    let span = telemetry::span_with_parent(picked.traceparent.as_deref(), span);
    async {
        fault::point("email.send.before_dialogue").await;
        // A defect of ours must not leave a send `attempting` while this process lives.
        let attempted = std::panic::AssertUnwindSafe(outcomes(&parts, &picked, &keeper)).catch_unwind().await;
        let outcomes = attempted.unwrap_or_else(|_| {
            tracing::error!("an attempt panicked; whether the mail left is unknown");
            all(&picked, &Outcome::Unknown(Reply::local("the attempt broke off inside")))
        });
        fault::point("email.send.after_final_dot").await;
        for (_, outcome) in &outcomes {
            metrics::attempted(word(outcome));
        }
        let accepted = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Accepted(_))).count();
        tracing::Span::current().record("accepted", accepted);
        let result = AttemptResult {
            outcomes,
            unknown_retry: picked.repetition(Duration::from_secs(parts.config.unknown_retry_seconds)),
            jitter: rand::random(),
        };
        fault::point("email.send.before_sent_commit").await;
        settle(&parts, &picked, result, &stop).await;
        fault::point("email.send.after_sent_commit").await;
    }
    .instrument(span)
    .await;
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted(_) => "accepted",
        Outcome::Refused(_) => "refused",
        Outcome::NotYet(_) => "not_yet",
        Outcome::CutOff(_) => "cut_off",
        Outcome::Unknown(_) => "unknown",
    }
}

/// The truth must get into the ledger: tried for as long as the process lives.
async fn settle(parts: &Parts, picked: &Picked, result: AttemptResult, stop: &Shutdown) {
    let mut tries = 0;
    loop {
        match parts.store.settle(picked, result.clone()).await {
            Ok(true) => {
                tracing::info!("attempt settled");
                return;
            }
            Ok(false) => {
                tracing::warn!("a new owner has settled this attempt as unknown");
                return;
            }
            Err(error) => {
                error.log("settling an attempt");
                let pause = clock::backoff(tries, Duration::from_millis(100), Duration::from_secs(3));
                tries = tries.saturating_add(1);
                if !stop.sleep(pause).await && tries > 5 {
                    return;
                }
            }
        }
    }
}

type Outcomes = Vec<(i16, Outcome)>;

fn all(picked: &Picked, outcome: &Outcome) -> Outcomes {
    picked.recipients.iter().map(|one| (one.position, outcome.clone())).collect()
}

async fn outcomes(parts: &Parts, picked: &Picked, keeper: &Keeper) -> Outcomes {
    let all = |outcome: Outcome| all(picked, &outcome);
    let not_yet = |text: &str| all(Outcome::NotYet(Reply::local(text)));
    let Some(outbound_envelope::Content::Email(email)) = &picked.envelope.content else {
        return all(Outcome::Refused(Reply::local("the send holds no mail")));
    };
    let server = match server(parts, &picked.account_key).await {
        Ok(server) => server,
        Err(error) => return not_yet(error.message()),
    };
    let files = match files(parts, email).await {
        Ok(files) => files,
        Err(error) if error.class() == Class::Unavailable => {
            error.log("reading attachments");
            return not_yet(error.message());
        }
        Err(error) => return all(Outcome::Refused(Reply::local(error.message()))),
    };
    let at = picked
        .envelope
        .created_at
        .as_ref()
        .and_then(clock::from_proto)
        .map_or_else(SystemTime::now, SystemTime::from);
    let envelope_id = picked.send_id.to_string();
    let mail = match compose::compose(email, files, at, &envelope_id) {
        Ok(mail) => mail,
        Err(unbuildable) => return all(Outcome::Refused(Reply::local(unbuildable.text()))),
    };
    let sender = match compose::return_path(email) {
        Ok(sender) => sender,
        Err(unbuildable) => return all(Outcome::Refused(Reply::local(unbuildable.text()))),
    };
    let (recipients, mut outcomes) = sort(&picked.recipients);
    if !recipients.is_empty() {
        let ready = Ready { sender, recipients, mail, envelope_id };
        outcomes.extend(smtp::deliver(&server, &ready, permission(parts, picked, keeper)).await);
    }
    outcomes
}

/// The final dot may leave once the ledger knows that it does: what is cut off from there on may have been sent.
async fn permission(parts: &Parts, picked: &Picked, keeper: &Keeper) -> Result<(), &'static str> {
    if keeper.current().is_none_or(|lease| lease.epoch != picked.epoch) {
        return Err("the right to send for this account was lost");
    }
    match parts.store.release_dot(picked).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the right to send for this account was lost"),
        Err(error) => {
            error.log("announcing that a mail leaves");
            Err("the ledger could not be told that the mail leaves")
        }
    }
}

/// Addresses that SMTP can carry, and the outcome of the others.
fn sort(recipients: &[PickedRecipient]) -> (Vec<(i16, lettre::Address)>, Outcomes) {
    let mut fit = Vec::new();
    let mut outcomes = Vec::new();
    for recipient in recipients {
        match compose::envelope_address(&recipient.address) {
            Some(address) => fit.push((recipient.position, address)),
            None => {
                let text = "the address is not valid".to_owned();
                let reply = Reply { code: 0, enhanced: "5.1.3".to_owned(), text };
                outcomes.push((recipient.position, Outcome::Refused(reply)));
            }
        }
    }
    (fit, outcomes)
}

async fn server(parts: &Parts, account_key: &str) -> Result<Server, Error> {
    let none = || Error::unavailable("NO_SMTP_SERVER", "the account has no outgoing server");
    let accounts = parts.accounts.current().ok_or_else(none)?;
    let settings: &SmtpSettings =
        accounts.get(account_key).and_then(|account| account.smtp.as_ref()).ok_or_else(none)?;
    let security = Security::parse(&settings.security).ok_or_else(|| {
        Error::invalid("NO_SMTP_SERVER", "the account's outgoing server has no known security")
    })?;
    let port = u16::try_from(settings.port)
        .map_err(|_| Error::invalid("NO_SMTP_SERVER", "the account's outgoing server has no valid port"))?;
    let credentials = match settings.user.as_str() {
        "" => None,
        user => Some((user.to_owned(), parts.secrets.get(&settings.password_secret).await?)),
    };
    Ok(Server {
        host: settings.host.clone(),
        port,
        security,
        tls: parts.tls.clone(),
        credentials,
        helo: parts.helo.clone(),
        reply_time: Duration::from_secs(parts.config.reply_seconds),
    })
}

async fn files(parts: &Parts, email: &OutboundEmail) -> Result<Vec<Enclosure>, Error> {
    let too_large = || Error::exhausted("ATTACHMENTS_TOO_LARGE", "the attachments are too large for a mail");
    let declared = email.attachments.iter().map(|file| usize::try_from(file.size_bytes).unwrap_or(0));
    if declared.fold(0usize, usize::saturating_add) > MAX_CONTENT {
        return Err(too_large());
    }
    let mut files = Vec::with_capacity(email.attachments.len());
    let mut total = 0usize;
    for attachment in &email.attachments {
        let digest: Digest256 = attachment.sha256.parse()?;
        let content = parts.objects.get(digest).await?;
        let content = content.ok_or_else(|| {
            Error::unavailable("OBJECT_MISSING", "an attachment is not in the object store")
        })?;
        total = total.saturating_add(content.len());
        if total > MAX_CONTENT {
            return Err(too_large());
        }
        files.push(Enclosure { attachment: attachment.clone(), content: content.to_vec() });
    }
    Ok(files)
}
