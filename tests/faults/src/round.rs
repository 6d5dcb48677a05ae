//! One round of a matrix: the process that comes to a step stops there, a part is killed and started again, and what was on
//! its way arrives. A tally proves by the process id that the kill landed between the two source points.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::subscriber::Subscriber;
use hilo_end_to_end::{Installation, Service};
use hilo_proto::event::v1::Direction;

use crate::{Journey, Step, Witness};

/// Kills that landed, by step: of the process that stood there, and of other parts meanwhile.
#[derive(Debug, Default)]
pub struct Tally {
    landed: BTreeMap<&'static str, u32>,
    beside: BTreeMap<&'static str, u32>,
    /// What the mails left behind.
    pub journeys: Vec<Journey>,
}

impl Tally {
    /// Plays a round with the given journeys; `name` is unique to it and part of the customers' addresses.
    ///
    /// # Errors
    /// When no process comes to the step, another one than expected does, or a journey does not end well.
    pub async fn play<F>(
        &mut self,
        witness: &Witness,
        step: &Step,
        part: Part,
        journeys: impl FnOnce(String) -> Vec<F>,
    ) -> Result<()>
    where
        F: Future<Output = Result<Journey>> + Send + 'static,
    {
        let begun = Instant::now();
        let ended = round(witness, step, part, journeys).await;
        let ended = ended.with_context(|| format!("{} × {part:?}", step.point))?;
        let own = part == Part::Service(step.service);
        *if own { &mut self.landed } else { &mut self.beside }.entry(step.point).or_default() += 1;
        println!(
            "{:>6.1} s  {} × {part:?}: landed, {} journeys whole",
            begun.elapsed().as_secs_f64(),
            step.point,
            ended.len()
        );
        self.journeys.extend(ended);
        Ok(())
    }

    /// Kills of all rounds.
    pub fn kills(&self) -> u32 {
        self.landed.values().chain(self.beside.values()).sum()
    }

    /// Prints the kills of each step.
    ///
    /// # Errors
    /// When none landed at a step, of the process itself and of another part beside it.
    pub fn account(&self, steps: &[Step]) -> Result<()> {
        self.account_own(steps)?;
        for step in steps {
            let others = self.beside.get(step.point).copied().unwrap_or(0);
            println!("{}: {others} kills of other parts while a process stood there", step.point);
            anyhow::ensure!(others > 0, "no other part was killed at {}", step.point);
        }
        Ok(())
    }

    /// Prints the kills of each step that hit the process which stood there.
    ///
    /// # Errors
    /// When none landed at a step.
    pub fn account_own(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            let (own, (from, to)) = (self.landed.get(step.point).copied().unwrap_or(0), step.between);
            println!("{}: {own} kill between \"{from}\" and \"{to}\"", step.point);
            anyhow::ensure!(own > 0, "no kill landed at {}", step.point);
        }
        Ok(())
    }

    /// Kills another part while processes stand at all of these steps, and starts it again once they go on without it.
    ///
    /// # Errors
    /// As [`at`]; when it cannot be killed, or did not die under their eyes; when it does not start.
    pub async fn strike_beside(
        &mut self,
        installation: &Installation,
        steps: &[Step],
        part: Part,
    ) -> Result<()> {
        let mut standing = Vec::new();
        for step in steps {
            standing.push(at(installation, step).await?);
        }
        installation.kill(part).await?;
        for (step, process) in steps.iter().zip(standing) {
            // Whoever stood there stands there still, in front of the dead part.
            let now = installation.process_id(step.service);
            anyhow::ensure!(now == Some(process), "{process} at {} was replaced by {now:?}", step.point);
            installation.faults().release(step.point)?;
            *self.beside.entry(step.point).or_default() += 1;
            println!("{} × {part:?}: landed", step.point);
        }
        installation.start_part(part).await
    }

    /// Prints the kills of other parts at each step.
    ///
    /// # Errors
    /// When they were not so many.
    pub fn account_beside(&self, steps: &[Step], kills: usize) -> Result<()> {
        for step in steps {
            let others = self.beside.get(step.point).copied().unwrap_or(0);
            println!("{}: {others} kills of other parts while a process stood there", step.point);
            anyhow::ensure!(usize::try_from(others)? == kills, "{others} kills at {}", step.point);
        }
        Ok(())
    }

    /// Kills the one process that stands at all of these steps.
    ///
    /// # Errors
    /// As [`stands`]; when it cannot be killed.
    pub async fn strike(&mut self, installation: &Installation, steps: &[Step]) -> Result<()> {
        let service = stands(installation, steps).await?;
        installation.kill(Part::Service(service)).await?;
        for step in steps {
            installation.faults().release(step.point)?;
            *self.landed.entry(step.point).or_default() += 1;
        }
        Ok(())
    }
}

/// Whoever comes to one of these steps first stops there.
///
/// # Errors
/// When a point cannot be armed.
pub fn arm(installation: &Installation, steps: &[Step]) -> Result<()> {
    steps.iter().try_for_each(|step| installation.faults().arm(step.point))
}

/// Waits until the running process of their service stands at all of these steps.
///
/// # Errors
/// When it does not in time, or another process does.
pub async fn stands(installation: &Installation, steps: &[Step]) -> Result<Service> {
    let service = steps.first().context("no steps")?.service;
    for step in steps {
        anyhow::ensure!(step.service == service, "{} is of another service", step.point);
        at(installation, step).await?;
    }
    Ok(service)
}

/// Waits until the running process of the step's service stands there; answers its id.
///
/// # Errors
/// As [`stands`].
async fn at(installation: &Installation, step: &Step) -> Result<u32> {
    let process = installation.faults().reached(step.point, Duration::from_secs(60)).await;
    let process = process.with_context(|| format!("no process came to {}", step.point))?;
    anyhow::ensure!(
        installation.process_id(step.service) == Some(process),
        "{:?} stands at {} instead of the running {:?}",
        installation.service_of(process),
        step.point,
        step.service
    );
    Ok(process)
}

/// All of them hold, or an error that names every one that does not.
///
/// # Errors
/// What does not hold.
pub fn all(found: impl IntoIterator<Item = (&'static str, Result<()>)>) -> Result<()> {
    let wrong = found.into_iter().filter_map(|(what, held)| Some(format!("{what}: {:#}", held.err()?)));
    let wrong: Vec<String> = wrong.collect();
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

async fn round<F>(
    witness: &Witness,
    step: &Step,
    part: Part,
    journeys: impl FnOnce(String) -> Vec<F>,
) -> Result<Vec<Journey>>
where
    F: Future<Output = Result<Journey>> + Send + 'static,
{
    let installation = &witness.installation;
    installation.faults().arm(step.point)?;
    let name =
        format!("{}-{part:?}", step.point).to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let travels: Vec<_> = journeys(name).into_iter().map(tokio::spawn).collect();
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
    let mut ended = Vec::new();
    for travel in travels {
        ended.push(travel.await??);
    }
    Ok(ended)
}

/// Compares both far ends, the subscriber and the mailbox, with the journeys.
///
/// # Errors
/// When an attention is missing or too many, its events have a gap, or an answer arrived twice without having been shown as
/// "may have been sent".
pub async fn judge(witness: &Witness, subscriber: &Subscriber, journeys: &[Journey]) -> Result<()> {
    let ended = |kind: &str| kind.ends_with(".interaction_ended");
    let mails = journeys.len();
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
            "{} attentions of {mails} journeys",
            log.attentions.len()
        );
        Ok(())
    })?;
    let mut copies: BTreeMap<String, u32> = BTreeMap::new();
    for mail in witness.installation.sink().received()? {
        *copies.entry(mail.message_id).or_default() += 1;
    }
    let mut ambiguous = 0;
    for journey in journeys {
        let count = copies.get(&journey.answer_id).copied().unwrap_or(0);
        // Twice only where it was shown as "may have been sent" first.
        let allowed = if shown_as_unknown(subscriber, journey) { 2 } else { 1 };
        anyhow::ensure!((1..=allowed).contains(&count), "{}: {count} copies of its answer", journey.customer);
        ambiguous += u32::from(count == 2);
        each_once(witness, journey).await?;
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

/// The thread holds each of the customer's mails once and the agent's answer once.
async fn each_once(witness: &Witness, journey: &Journey) -> Result<()> {
    let messages = witness.agent.messages(&journey.attention_id).await?;
    let inbound = Direction::Inbound as i32;
    let received = messages.iter().filter(|message| message.direction == inbound).count();
    anyhow::ensure!(
        received == journey.mails && messages.len() == journey.mails + 1,
        "{}: {received} of {} inbound",
        journey.customer,
        messages.len()
    );
    Ok(())
}
