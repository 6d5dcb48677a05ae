//! One attempt of one send: one request, and its end written into the ledger.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hilo_kit::clock;
use hilo_kit::fault;
use hilo_kit::lease::Keeper;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::telemetry;
use tracing::Instrument;

use super::{Parts, owner};
use crate::domain::class::{ErrorClass, class};
use crate::domain::send::Outcome;
use crate::metrics;
use crate::store::{AttemptResult, Held, Picked};

/// Runs; the end is written into the ledger before the task ends, unless the process ends first.
pub(super) async fn run(parts: Arc<Parts>, picked: Picked, keeper: Keeper, stop: Shutdown) {
    let span = tracing::info_span!(
        "whatsapp.send",
        otel.kind = "client",
        send_id = %picked.send_id,
        account = %picked.account_key,
        attempt = picked.attempts,
        outcome = tracing::field::Empty,
    );
    let span = telemetry::span_with_parent(picked.traceparent.as_deref(), span);
    async {
        fault::point("whatsapp.send.before_request").await;
        // A defect of ours must not leave a send `attempting` while this process lives.
        let attempted = std::panic::AssertUnwindSafe(request(&parts, &picked, &keeper)).catch_unwind().await;
        let outcome = attempted.unwrap_or_else(|_| {
            tracing::error!("an attempt panicked; whether the message left is unknown");
            Outcome::NoAnswer("the attempt broke off inside".to_owned())
        });
        fault::point("whatsapp.send.after_request").await;
        let word = word(&outcome);
        metrics::attempted(word);
        tracing::Span::current().record("outcome", word);
        if let Outcome::Refused { code, .. } = &outcome
            && class(*code).stops_number()
        {
            metrics::stopped(word);
            tracing::error!(account = %picked.account_key, code, reason = word, "Meta lets this number send nothing");
        }
        let result = AttemptResult {
            outcome,
            retry: Duration::from_secs_f64(parts.config.retry_seconds),
            doubt: Duration::from_secs(parts.config.doubt_seconds),
            pace: owner::pair_pace(&parts.config),
            jitter: rand::random(),
        };
        settle(&parts, &picked, result, &stop).await;
    }
    .instrument(span)
    .await;
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted { .. } => "accepted",
        Outcome::Refused { code, .. } => class(*code).reason(),
        Outcome::NotSent { .. } => "not_sent",
        Outcome::NoAnswer(_) => "no_answer",
        Outcome::Unsendable { why, .. } => why.as_str(),
    }
}

async fn request(parts: &Parts, picked: &Picked, keeper: &Keeper) -> Outcome {
    let not_sent = |reason, text: &str| Outcome::NotSent { reason, text: text.to_owned() };
    let numbers = parts.numbers.current().unwrap_or_default();
    let number = match numbers.get(&picked.account_key) {
        Some(number) if number.active => number,
        Some(_) => return not_sent(Held::SwitchedOff.reason(), "the number was switched off just now"),
        None => return not_sent(Held::Unknown.reason(), "the number left the directory just now"),
    };
    let token = match parts.secrets.get(&number.access_token).await {
        Ok(token) if !token.is_empty() => token,
        Ok(_) => return not_sent("SECRET_MISSING", "the access token is empty"),
        Err(error) => return not_sent("SECRET_MISSING", error.message()),
    };
    let (id, mut body, mut old) = (&number.phone_number_id, picked.request.clone(), Vec::new());
    for file in &picked.files {
        let at_meta = match parts.uploads.at_meta(id, &token, file).await {
            Ok(at_meta) => at_meta,
            Err(outcome) => return outcome,
        };
        if let Some(place) = body.pointer_mut(&file.pointer) {
            *place = serde_json::Value::String(at_meta.media_id.clone());
        }
        if at_meta.old {
            old.push(at_meta.media_id);
        }
    }
    if !picked.files.is_empty() {
        fault::point("whatsapp.send.after_upload").await;
        match parts.store.leaves_now(picked).await {
            Ok(true) => {}
            Ok(false) => return not_sent("LEASE_LOST", "the right to send for this number was lost"),
            Err(error) => return not_sent("LEDGER_AWAY", error.message()),
        }
    }
    if keeper.current().is_none_or(|lease| lease.epoch != picked.epoch) {
        return not_sent("LEASE_LOST", "the right to send for this number was lost");
    }
    let outcome = parts.graph.send(id, &token, &body).await;
    if !old.is_empty() && may_be_the_file(&outcome) {
        // Meta may have lost what it was given long ago: with a new upload the next attempt knows, and is excused by nothing.
        parts.uploads.forget(id, old).await;
        return not_sent("MEDIA_FORGOTTEN", "Meta did not take a file that was uploaded before");
    }
    outcome
}

/// True for the refusals that a file can be the reason of.
fn may_be_the_file(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused { code, .. } => {
            class(*code) == ErrorClass::Media || matches!(code, 100 | 131_008 | 131_009)
        }
        Outcome::Accepted { .. }
        | Outcome::NotSent { .. }
        | Outcome::NoAnswer(_)
        | Outcome::Unsendable { .. } => false,
    }
}

/// The truth must get into the ledger: tried for as long as the process lives.
async fn settle(parts: &Parts, picked: &Picked, result: AttemptResult, stop: &Shutdown) {
    let mut tries = 0;
    loop {
        match parts.store.settle(picked, result.clone()).await {
            Ok(settled) => {
                tracing::info!(settled, "attempt ended");
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
