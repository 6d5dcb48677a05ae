//! From the ledger to INBOUND and DELIVERY: bodies are taken apart in the order of their arrival, by the one replica that holds
//! the parser's lease, and everything new of a batch is committed together with what it tells.

use std::collections::BTreeMap;
use std::time::Duration;

use hilo_kit::consumer::DeadLetterSink as _;
use hilo_kit::dead::DeadLetters;
use hilo_kit::error::{Class, Error};
use hilo_kit::fault;
use hilo_kit::ids::Uuid;
use hilo_kit::lease::{Keeper, Lease, TERM};
use hilo_kit::lifecycle::Shutdown;

use crate::accounts::NumbersCache;
use crate::domain::accounts::Numbers;
use crate::domain::webhook::{self, Find, VERSION, What};
use crate::metrics;
use crate::store::{Claimed, ItemAt, PARSER, Parsed, Store, StrayAt};

/// Bodies of one batch.
const BATCH: i64 = 200;
/// Net under the wake-ups.
const POLL: Duration = Duration::from_millis(250);
/// Attempts before a body is a dead letter.
const MAX_ATTEMPTS: i32 = 3;
/// Pause after the database was away.
const PAUSE: Duration = Duration::from_secs(1);
/// Replays and late statuses are looked for this often.
const SWEEP: Duration = Duration::from_secs(2);
/// Late statuses of one sweep.
const LATE: i64 = 500;

/// Runs until the shutdown begins.
pub async fn run(store: Store, numbers: NumbersCache, shutdown: Shutdown) {
    // Which account a body is for is known only with the directory.
    tokio::select! {
        () = numbers.loaded() => {}
        () = shutdown.cancelled() => return,
    }
    let holder = format!("whatsapp-ingest-{}", Uuid::new_v4());
    let keeper = Keeper::spawn(store.db().clone(), "whatsapp-parse", holder, TERM, &shutdown);
    shutdown.spawn("whatsapp sweep", sweep(store.clone(), keeper.clone(), shutdown.clone()));
    let wake = store.unparsed();
    while !shutdown.is_cancelled() {
        let held = tokio::select! {
            held = keeper.held() => held,
            () = shutdown.cancelled() => return,
        };
        let Some(lease) = held else { return };
        while !shutdown.is_cancelled() && keeper.current().is_some_and(|now| now.epoch == lease.epoch) {
            let full = match one_batch(&store, &numbers, &lease).await {
                Ok(count) => count > 0,
                Err(error) => {
                    error.log("parsing webhooks");
                    shutdown.sleep(PAUSE).await;
                    false
                }
            };
            if !full {
                tokio::select! {
                    () = wake.notified() => {}
                    () = tokio::time::sleep(POLL) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
        // Lost: another replica goes on; wait for the keeper to say so.
        shutdown.sleep(Duration::from_millis(50)).await;
    }
}

/// Works one batch; answers its size.
async fn one_batch(store: &Store, numbers: &NumbersCache, lease: &Lease) -> Result<usize, Error> {
    let claimed = store.claim(lease, BATCH).await?;
    let count = claimed.len();
    if count == 0 {
        return Ok(0);
    }
    let known = numbers.current().unwrap_or_default();
    let mut batch = Vec::with_capacity(count);
    for body in claimed {
        let (id, attempts) = (body.id, body.attempts);
        if attempts > MAX_ATTEMPTS {
            bury(store, id, attempts, "PARSE_ATTEMPTS_EXHAUSTED").await?;
            continue;
        }
        let known = known.clone();
        // A panic costs this body its attempts and nobody else.
        match tokio::task::spawn_blocking(move || take_apart(body, &known)).await {
            Ok(Some(parsed)) => batch.push(parsed),
            Ok(None) => bury(store, id, attempts, "WEBHOOK_UNREADABLE").await?,
            Err(_) => bury(store, id, attempts, "PARSER_PANICKED").await?,
        }
    }
    fault::point("whatsapp.parse.before_commit").await;
    commit(store, lease, batch).await?;
    fault::point("whatsapp.parse.after_commit").await;
    Ok(count)
}

async fn commit(store: &Store, lease: &Lease, batch: Vec<Parsed>) -> Result<(), Error> {
    if batch.is_empty() {
        return Ok(());
    }
    match store.parsed(lease, batch.clone(), VERSION).await {
        Ok(_) => {
            batch.iter().for_each(tell);
            Ok(())
        }
        Err(error) if matches!(error.class(), Class::Unavailable | Class::Conflict | Class::Rejected) => {
            // They are not at fault; whoever holds the lease goes on with them.
            let ids = batch.iter().map(|one| one.id).collect();
            store.put_back(ids, Duration::ZERO).await?;
            Err(error)
        }
        // One of them is at fault: each alone, and the one that fails comes again until its attempts are used up.
        Err(error) => {
            error.log("committing a batch of webhooks; one by one now");
            for one in batch {
                match store.parsed(lease, vec![one.clone()], VERSION).await {
                    Ok(_) => tell(&one),
                    Err(error) => {
                        tracing::error!(webhook = %one.id, attempts = one.attempts, "a webhook cannot be committed");
                        error.log("committing a parsed webhook");
                    }
                }
            }
            Ok(())
        }
    }
}

async fn bury(store: &Store, id: Uuid, attempts: i32, reason: &'static str) -> Result<(), Error> {
    tracing::error!(webhook = %id, reason, "a webhook cannot be parsed; it is a dead letter");
    metrics::stray(reason, 1);
    store.quarantine(id, attempts, reason).await
}

/// Says what operators should know of a committed body.
fn tell(parsed: &Parsed) {
    for stray in &parsed.strays {
        metrics::stray(stray.reason, stray.count);
        tracing::error!(
            webhook = %parsed.id, reason = stray.reason, place = %stray.place, count = stray.count,
            "a part of a webhook cannot be handed over; it is a dead letter"
        );
    }
    for (place, notice) in &parsed.notices {
        metrics::notice(notice.alarming);
        if notice.alarming {
            tracing::warn!(
                webhook = %parsed.id, %place, field = %notice.field, event = %notice.event,
                business_account = %notice.business_account_id, "Meta has a notice about an account"
            );
        }
    }
}

/// Takes a body apart and gives everything its account; `None` when it is no webhook.
fn take_apart(claimed: Claimed, numbers: &Numbers) -> Option<Parsed> {
    let finds = webhook::read(&claimed.body, claimed.received_at)?;
    let mut parsed = Parsed {
        id: claimed.id,
        attempts: claimed.attempts,
        traceparent: claimed.traceparent,
        received_at: claimed.received_at,
        items: Vec::new(),
        statuses: Vec::new(),
        notices: Vec::new(),
        strays: Vec::new(),
    };
    let mut strays: BTreeMap<&'static str, (String, usize)> = BTreeMap::new();
    for find in finds {
        let place = find.place.clone();
        if let Some(reason) = assign(&mut parsed, find, numbers, &claimed.signed_by) {
            strays.entry(reason).or_insert((place, 0)).1 += 1;
        }
    }
    parsed.strays =
        strays.into_iter().map(|(reason, (place, count))| StrayAt { reason, place, count }).collect();
    Some(parsed)
}

/// Puts a find where it belongs; the reason why it belongs nowhere.
fn assign(parsed: &mut Parsed, find: Find, numbers: &Numbers, signed_by: &[String]) -> Option<&'static str> {
    let Find { place, phone_number_id, what } = find;
    let account = || {
        let number = numbers.by_phone_number_id(&phone_number_id).ok_or("UNKNOWN_NUMBER")?;
        // An app speaks for its own numbers, whoever else's it names.
        if !signed_by.contains(&number.app_secret) {
            return Err("OTHER_APP");
        }
        if number.active { Ok(number.key.clone()) } else { Err("NUMBER_SWITCHED_OFF") }
    };
    match what {
        What::Item(item) => match account() {
            Ok(account_key) => {
                parsed.items.push(ItemAt { account_key, phone_number_id, place, item: *item });
                None
            }
            Err(reason) => Some(reason),
        },
        What::Status(status) => match account() {
            Ok(account_key) => {
                parsed.statuses.push((account_key, status));
                None
            }
            // What was sent while the number was on may still be read.
            Err("NUMBER_SWITCHED_OFF") => {
                let key = numbers.by_phone_number_id(&phone_number_id).map(|number| number.key.clone());
                parsed.statuses.extend(key.map(|key| (key, status)));
                None
            }
            Err(reason) => Some(reason),
        },
        What::Notice(notice) => {
            parsed.notices.push((place, notice));
            None
        }
        What::Stray(reason) => Some(reason),
    }
}

/// Puts bodies back that an operator wants tried again, and applies statuses that were faster than the answer they belong to.
async fn sweep(store: Store, keeper: Keeper, shutdown: Shutdown) {
    let letters = DeadLetters::new(store.db().clone());
    while shutdown.sleep(SWEEP).await {
        match letters.replays(PARSER).await {
            Ok(replays) => {
                for replay in replays {
                    let named: Option<Uuid> =
                        serde_json::from_slice(replay.delivery.payload()).ok().and_then(
                            |payload: serde_json::Value| payload.get("webhook_id")?.as_str()?.parse().ok(),
                        );
                    let Some(webhook) = named else { continue };
                    if let Err(error) = store.replay(replay.dead_letter, webhook).await {
                        error.log("replaying a webhook");
                    }
                }
            }
            Err(error) => error.log("reading replays of the parser"),
        }
        if keeper.current().is_some()
            && let Err(error) = store.late_statuses(LATE).await
        {
            error.log("applying late statuses");
        }
    }
}
