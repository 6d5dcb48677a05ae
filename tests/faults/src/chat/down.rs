//! The broker or the database away: webhooks are taken, or refused so that Meta comes again; in the end nothing is missing or double.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hilo_end_to_end::Chat;
use hilo_end_to_end::chat::{Customer, SOON, until};
use hilo_end_to_end::installation::Part;

/// How much is written meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Down {
    /// Customers.
    pub customers: usize,
    /// Messages of each.
    pub messages: usize,
    /// How long the database is away at least.
    pub lasting: Duration,
}

/// Case 6 for WhatsApp: the broker killed, everything answered 200, and it arrives when the broker is back.
///
/// # Errors
/// When a webhook is not answered 200, or something is missing or double.
pub async fn nats_down(house: &Chat, size: Down) -> Result<String> {
    let meta = house.meta()?;
    meta.behave(|behaviour| behaviour.delivery.in_flight = 16);
    let people = people(house, "5190000", size.customers)?;
    house.installation.kill(Part::Nats).await?;
    write(&people, size.messages)?;
    meta.settled(SOON).await?;
    let attempts = meta.attempts();
    let refused = attempts.iter().filter(|one| one.status != Some(200)).count();
    let posts = size.customers * size.messages;
    ensure!(
        attempts.len() == posts && refused == 0,
        "{refused} of {} POSTs were not answered 200",
        attempts.len()
    );
    house.installation.start_part(Part::Nats).await?;
    arrived(house, &people, size.messages).await?;
    Ok(format!("{posts} POSTs answered 200 without a broker, every message once after it"))
}

/// Case 27: the database killed, answered otherwise than with 200 until it is back; Meta's retries (its hours are our seconds) bring all.
///
/// # Errors
/// When nothing was refused, or something is missing or double.
pub async fn postgres_down(house: &Chat, size: Down) -> Result<String> {
    let meta = house.meta()?;
    meta.behave(|behaviour| {
        behaviour.delivery.in_flight = 16;
        behaviour.retry.time_scale = 600.0;
    });
    let people = people(house, "5191000", size.customers)?;
    house.installation.kill(Part::Postgres).await?;
    write(&people, size.messages)?;
    let begun = tokio::time::Instant::now();
    let refusals = || meta.attempts().iter().filter(|one| one.status == Some(503)).count();
    until("webhooks are answered 503", || async { Ok((refusals() > 0).then_some(())) }).await?;
    tokio::time::sleep_until(begun + size.lasting).await;
    house.installation.start_part(Part::Postgres).await?;
    meta.settled(SOON).await.context("Meta still tries")?;
    let attempts = meta.attempts();
    let refused = attempts.iter().filter(|one| one.status == Some(503)).count();
    let others = attempts.iter().filter(|one| !matches!(one.status, Some(200 | 503))).count();
    ensure!(others == 0, "{others} were answered neither 200 nor 503");
    ensure!(meta.totals().given_up == 0, "Meta gave up");
    arrived(house, &people, size.messages).await?;
    let posts = size.customers * size.messages;
    Ok(format!(
        "{posts} messages, {refused} POSTs answered 503 in {:.0} s, every message once after it",
        size.lasting.as_secs_f64()
    ))
}

fn people(house: &Chat, digits: &str, count: usize) -> Result<Vec<Customer>> {
    (0..count).map(|n| house.customer(&format!("{digits}{n:04}"), "Cliente")).collect()
}

fn write(people: &[Customer], messages: usize) -> Result<()> {
    for n in 0..messages {
        for customer in people {
            customer.writes(&format!("n. {n}"))?;
        }
    }
    Ok(())
}

/// Each customer's thread has each message once, nothing of a repetition is under way any more, and he is answered.
async fn arrived(house: &Chat, people: &[Customer], messages: usize) -> Result<()> {
    for customer in people {
        customer.writes("fin")?;
    }
    house.meta()?.settled(SOON).await?;
    for customer in people {
        let item = house.serve(customer).await?;
        let said = house.said(&item.attention_id, messages + 1).await?;
        let different: BTreeSet<&str> = said.iter().map(|one| one.text.as_str()).collect();
        ensure!(different.len() == messages + 1, "{}: a message is there twice", customer.address);
        house.agent.reply(&item.interaction_id, "Recibido").await?;
        customer.receives("Recibido").await?;
    }
    Ok(())
}
