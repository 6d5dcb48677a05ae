//! Mails from both doors while processes are killed at random.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::subscriber::{Log, Subscriber};
use hilo_end_to_end::{Installation, Options, Service};
use rand::Rng;

use crate::report::Verdict;
use crate::targets::Chaos;

const VICTIMS: [Part; 4] = [
    Part::Service(Service::AttentionState),
    Part::Service(Service::EmailIngest),
    Part::Service(Service::Routing),
    Part::Nats,
];

/// Sends the mails, kills and restarts, then compares what a subscriber saw with what was sent.
///
/// # Errors
/// When the installation cannot be used at all.
pub async fn run(target: &Chaos) -> Result<Verdict> {
    let installation =
        Arc::new(Installation::start(Options { agents: 4, imap: true, ..Options::default() }).await?);
    let subscriber = Subscriber::start(installation.nats_url(), installation.prefix());
    let agent = installation.login(installation.agent_keys().first().context("agent")?).await?;
    let _present = agent.be_present().await?;

    let customers: Vec<String> =
        (0..target.mails).map(|index| format!("caos-{index}@cliente.example")).collect();
    let sending = tokio::spawn(send_all(Arc::clone(&installation), customers.clone()));
    for kill in 0..target.kills {
        let part = VICTIMS[rand::rng().random_range(0..VICTIMS.len())];
        let pause = Duration::from_millis(rand::rng().random_range(500..2_500));
        tokio::time::sleep(pause).await;
        installation.kill(part).await.with_context(|| format!("kill {kill} of {part:?}"))?;
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(100..1_000))).await;
        installation.start_part(part).await.with_context(|| format!("start {part:?}"))?;
    }
    let outlasted = !sending.is_finished();
    let unanswered = sending.await??;
    let settled = subscriber
        .wait_until("every attention with an offer", Duration::from_secs(180), |log| {
            offered(log) >= target.mails
        })
        .await;
    let (attentions, offers, twice, violations) = subscriber
        .with(|log| (log.attentions.len(), offered(log), received_twice(log), log.violations.clone()));
    let figure = format!(
        "{attentions} attentions of {} mails, {offers} offered, {twice} with a message twice, {} order violations, {} kills, {unanswered} sends repeated without an answer",
        target.mails,
        violations.len(),
        target.kills
    );
    if !outlasted {
        return Ok(Verdict::NotMeasured(format!("the traffic ended before the last kill: {figure}")));
    }
    let passed = settled.is_ok() && attentions == target.mails && twice == 0 && violations.is_empty();
    Ok(if passed { Verdict::Pass(figure) } else { Verdict::Fail(format!("{figure} {violations:?}")) })
}

/// Pause between two mails: slow enough that the traffic lasts longer than the kills.
const PACE: Duration = Duration::from_millis(80);

/// Half of the mails by SMTP, half into the mailbox that is fetched by IMAP.
async fn send_all(installation: Arc<Installation>, customers: Vec<String>) -> Result<u32> {
    let begun = tokio::time::Instant::now();
    let outcomes: Vec<Result<u32>> = futures::stream::iter(customers.into_iter().enumerate())
        .map(|(index, customer)| {
            let installation = Arc::clone(&installation);
            async move {
                tokio::time::sleep_until(begun + PACE * u32::try_from(index)?).await;
                if index % 2 == 0 {
                    let mail = Mail::new(&customer, installation.support_address(), "Caos", "¿Sigue ahí?");
                    customer::send_until_accepted(installation.smtp(), &mail, Duration::from_secs(120)).await
                } else {
                    let mail = Mail::new(&customer, installation.imap_address(), "Caos", "¿Sigue ahí?");
                    installation.deliver_to_mailbox(&mail)?;
                    Ok(0)
                }
            }
        })
        .buffer_unordered(64)
        .collect()
        .await;
    outcomes.into_iter().try_fold(0, |sum, outcome| Ok(sum + outcome?))
}

/// Attentions with at least one offer.
fn offered(log: &Log) -> usize {
    log.attentions
        .values()
        .filter(|events| events.values().any(|event| event.kind.ends_with(".interaction_offered")))
        .count()
}

/// Attentions in which the one mail of their customer shows more than once.
fn received_twice(log: &Log) -> usize {
    log.attentions
        .values()
        .filter(|events| {
            let messages: BTreeSet<&str> = events
                .values()
                .filter(|event| event.kind.ends_with(".message_received"))
                .filter_map(|event| event.data.pointer("/message/messageId").and_then(|id| id.as_str()))
                .collect();
            messages.len() != 1
        })
        .count()
}
