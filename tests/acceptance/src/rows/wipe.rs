//! The broker killed and its data deleted under traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::subscriber::Subscriber;
use hilo_end_to_end::{Agent, Desk, Installation, Options};
use hilo_proto::event::v1::InteractionState;

use crate::report::Verdict;
use crate::targets::Wipe;

/// Sends mails, answers each once, wipes the broker in the middle, and looks at both ends.
///
/// # Errors
/// When the installation cannot be used at all.
pub async fn run(target: &Wipe) -> Result<Verdict> {
    let installation = Arc::new(Installation::start(Options { agents: 2, ..Options::default() }).await?);
    let subscriber = Subscriber::start(installation.nats_url(), installation.prefix());
    let agent = installation.login(installation.agent_keys().first().context("agent")?).await?;
    let _present = agent.be_present().await?;
    let desk = Arc::new(agent.watch());
    let answering = tokio::spawn(answer_all(agent, Arc::clone(&desk), target.mails));

    for index in 0..target.mails {
        let from = format!("borrado-{index}@cliente.example");
        let mail = Mail::new(&from, installation.support_address(), "Borrado", "¿Llegó mi correo?");
        customer::send_until_accepted(installation.smtp(), &mail, Duration::from_secs(60)).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if index == target.mails / 2 {
            installation.kill(Part::Nats).await?;
            installation.wipe_nats().await?;
            installation.start_part(Part::Nats).await?;
        }
    }
    let answered = tokio::time::timeout(Duration::from_secs(240), answering)
        .await
        .context("answers took too long")???;
    let arrived = wait_for_answers(&installation, answered.len()).await?;
    let mut copies: BTreeMap<String, u32> = BTreeMap::new();
    for message_id in arrived {
        *copies.entry(message_id).or_default() += 1;
    }
    let doubled = copies.values().filter(|count| **count > 1).count();
    let missing = answered.iter().filter(|id| !copies.contains_key(*id)).count();
    let settled = subscriber
        .wait_until("every attention ended", Duration::from_secs(120), |log| {
            let ended = |kind: &str| kind.ends_with(".interaction_ended");
            log.attentions.values().filter(|events| events.values().any(|event| ended(&event.kind))).count()
                >= target.mails
        })
        .await;
    let (attentions, violations) = subscriber.with(|log| (log.attentions.len(), log.violations.clone()));
    let figure = format!(
        "{attentions} attentions of {} mails, {} answers of which {missing} missing and {doubled} doubled, {} order violations",
        target.mails,
        answered.len(),
        violations.len()
    );
    let passed = settled.is_ok()
        && attentions == target.mails
        && answered.len() == target.mails
        && missing == 0
        && doubled == 0
        && violations.is_empty();
    Ok(if passed { Verdict::Pass(figure) } else { Verdict::Fail(format!("{figure} {violations:?}")) })
}

/// Opens, answers and ends until the number is reached; the Message-IDs of the answers.
async fn answer_all(agent: Agent, desk: Arc<Desk>, number: usize) -> Result<BTreeSet<String>> {
    let mut answers = BTreeSet::new();
    let mut done = BTreeSet::new();
    while answers.len() < number {
        let queued = InteractionState::Queued as i32;
        let next = desk.with(|state| {
            let fresh = |item: &&hilo_proto::attention::v1::DeskItem| {
                item.state == queued && !done.contains(&item.interaction_id)
            };
            state.items.values().find(fresh).map(|item| item.interaction_id.clone())
        });
        let Some(interaction) = next else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        agent.open(&interaction).await?;
        let message = agent.reply(&interaction, "Sí, llegó. Saludos.").await?;
        agent.end(&interaction, false).await?;
        answers.insert(message.internet_message_id);
        done.insert(interaction);
    }
    Ok(answers)
}

/// Waits until the mailbox holds the answers, then a little longer for a second copy of any.
async fn wait_for_answers(installation: &Installation, number: usize) -> Result<Vec<String>> {
    let started = std::time::Instant::now();
    while installation.sink().received()?.len() < number && started.elapsed() < Duration::from_secs(120) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // A second copy would come from the reconciler, which re-publishes unconfirmed rows after its delay.
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok(installation.sink().received()?.into_iter().map(|mail| mail.message_id).collect())
}
