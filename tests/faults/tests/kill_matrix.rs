//! The path with five separate processes: at every named step, each service, nats-server and PostgreSQL is killed (`kill -9`)
//! while a process stands between the two source points of that step. Nothing may be lost, doubled or stuck.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::subscriber::Subscriber;
use hilo_end_to_end::{Installation, Options, Service};
use hilo_faults::journey::travel;
use hilo_faults::{Journey, STEPS, Step, Witness};

/// Mails per round: one that meets the fault, others around it.
const MAILS: usize = 2;

const PARTS: [Part; 7] = [
    Part::Service(Service::AttentionState),
    Part::Service(Service::EmailIngest),
    Part::Service(Service::Routing),
    Part::Service(Service::History),
    Part::Service(Service::WhatsappIngest),
    Part::Nats,
    Part::Postgres,
];

/// What the mails of one round left behind.
type Round = Vec<Journey>;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_path_survives_every_kill_at_every_step() {
    matrix().await.unwrap();
}

async fn matrix() -> Result<()> {
    let begun = Instant::now();
    let installation = Arc::new(Installation::start(Options { agents: 1, ..Options::default() }).await?);
    let subscriber = Subscriber::start(installation.nats_url(), installation.prefix());
    let agent = installation.login("agente-0").await?;
    let _present = agent.be_present().await?;
    let witness = Witness { desk: Arc::new(agent.watch()), agent, installation };
    let mut rounds = Vec::new();
    let mut landed: BTreeMap<&str, u32> = BTreeMap::new();
    let mut beside: BTreeMap<&str, u32> = BTreeMap::new();
    for step in STEPS {
        for part in PARTS {
            let round = Instant::now();
            rounds.push(
                play(&witness, step, part).await.with_context(|| format!("{} × {part:?}", step.point))?,
            );
            let own = part == Part::Service(step.service);
            *if own { &mut landed } else { &mut beside }.entry(step.point).or_default() += 1;
            println!(
                "{:>6.1} s  {} × {part:?}: landed, {MAILS} mails whole",
                round.elapsed().as_secs_f64(),
                step.point
            );
        }
    }
    for step in STEPS {
        let (own, others) = (landed.get(step.point).copied(), beside.get(step.point).copied().unwrap_or(0));
        let (own, (from, to)) = (own.unwrap_or(0), step.between);
        println!(
            "{}: {own} kill between \"{from}\" and \"{to}\", {others} of other parts while it stood there",
            step.point
        );
        anyhow::ensure!(own > 0 && others > 0, "no kill landed at {}", step.point);
    }
    let mails: usize = rounds.iter().map(Vec::len).sum();
    judge(&witness, &subscriber, &rounds, mails).await?;
    println!("{mails} mails, {} kills, {:.0} s", rounds.len(), begun.elapsed().as_secs_f64());
    Ok(())
}

/// One round: the process that comes to the step stops there, the part is killed, started again, and the mails arrive.
async fn play(witness: &Witness, step: &Step, part: Part) -> Result<Round> {
    let installation = &witness.installation;
    installation.faults().arm(step.point)?;
    let name =
        format!("{}-{part:?}", step.point).to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let travels: Vec<_> = (0..MAILS)
        .map(|index| {
            let (witness, customer) = (witness.clone(), format!("{name}{index}@cliente.example"));
            tokio::spawn(async move { travel(&witness, customer).await })
        })
        .collect();
    let process = installation.faults().reached(step.point, Duration::from_secs(60)).await;
    let process = process.with_context(|| format!("no process came to {}", step.point))?;
    let stopped = installation.service_of(process);
    anyhow::ensure!(
        stopped == Some(step.service),
        "{stopped:?} stopped at {} instead of {:?}",
        step.point,
        step.service
    );
    if part == Part::Service(step.service) {
        // The process that stands between the two points is the one that is killed.
        anyhow::ensure!(
            installation.process_id(step.service) == Some(process),
            "another process than {process}"
        );
    }
    installation.kill(part).await?;
    installation.faults().release(step.point)?;
    installation.start_part(part).await?;
    let mut journeys = Vec::new();
    for travel in travels {
        journeys.push(travel.await??);
    }
    Ok(journeys)
}

/// Compares both far ends, the subscriber and the mailbox, with the journeys.
async fn judge(witness: &Witness, subscriber: &Subscriber, rounds: &[Round], mails: usize) -> Result<()> {
    let ended = |kind: &str| kind.ends_with(".interaction_ended");
    subscriber
        .wait_until("every attention ended", Duration::from_secs(60), |log| {
            log.attentions.values().filter(|events| events.values().any(|event| ended(&event.kind))).count()
                >= mails
        })
        .await?;
    subscriber.with(|log| {
        println!(
            "subscriber: {} attentions, {} repeats, {} restarts",
            log.attentions.len(),
            log.repeats,
            log.restarts
        );
        anyhow::ensure!(log.violations.is_empty(), "order broken: {:?}", log.violations);
        anyhow::ensure!(
            log.attentions.len() == mails,
            "{} attentions of {mails} mails",
            log.attentions.len()
        );
        Ok(())
    })?;
    let mut copies: BTreeMap<String, u32> = BTreeMap::new();
    for mail in witness.installation.sink().received()? {
        *copies.entry(mail.message_id).or_default() += 1;
    }
    let mut ambiguous = 0;
    for journeys in rounds {
        for journey in journeys {
            let count = copies.get(&journey.answer_id).copied().unwrap_or(0);
            // Twice only where it was shown as "may have been sent" first.
            let allowed = if shown_as_unknown(subscriber, journey) { 2 } else { 1 };
            anyhow::ensure!(
                (1..=allowed).contains(&count),
                "{}: {count} copies of its answer",
                journey.customer
            );
            ambiguous += u32::from(count == 2);
            one_message_each_way(witness, journey).await?;
        }
    }
    println!(
        "mails that were cut off after the final dot and arrived twice with one Message-ID: {ambiguous}"
    );
    Ok(())
}

/// True when subscribers were told that the answer may have been sent.
fn shown_as_unknown(subscriber: &Subscriber, journey: &Journey) -> bool {
    let unknown = |event: &hilo_end_to_end::subscriber::Seen| {
        event.data.pointer("/message/deliveryState").and_then(|state| state.as_str()) == Some("unknown")
    };
    subscriber.with(|log| {
        log.attentions.get(&journey.attention_id).is_some_and(|events| events.values().any(unknown))
    })
}

/// The thread holds the customer's mail once and the agent's answer once.
async fn one_message_each_way(witness: &Witness, journey: &Journey) -> Result<()> {
    let messages = witness.agent.messages(&journey.attention_id).await?;
    let inbound = hilo_proto::event::v1::Direction::Inbound as i32;
    let received = messages.iter().filter(|message| message.direction == inbound).count();
    anyhow::ensure!(
        received == 1 && messages.len() == 2,
        "{}: {received} of {} inbound",
        journey.customer,
        messages.len()
    );
    Ok(())
}
