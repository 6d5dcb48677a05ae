//! Case 26: statuses in all orders, with gaps and repeats, end at the same state and never go back.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use hilo_end_to_end::Chat;
use hilo_end_to_end::chat::{SOON, until};
use hilo_end_to_end::subscriber::Subscriber;
use hilo_proto::attention::v1::DeskItem;
use rand::seq::IndexedRandom as _;

/// From lowest to highest.
const LATTICE: [&str; 4] = ["sent", "delivered", "read", "played"];

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Statuses {
    /// True for all 24 orders and all gaps in all orders (64 messages); else only the 24 orders.
    pub gaps: bool,
    /// Further tellings of random ones among them, in each message's course.
    pub repeats: usize,
}

/// Sends a message for every order and tells its statuses by hand.
///
/// # Errors
/// When one ends otherwise than at its highest, or goes back.
pub async fn statuses(house: &Chat, size: Statuses) -> Result<String> {
    let meta = house.meta()?;
    meta.behave(|behaviour| {
        let plan = &mut behaviour.statuses;
        (plan.sent_ms, plan.delivered_ms, plan.read_ms, plan.played_ms) = (None, None, None, None);
        behaviour.delivery.in_flight = 8;
        behaviour.pace.pair_burst = 1_000;
    });
    let subscriber = Subscriber::start(house.installation.nats_url(), house.installation.prefix());
    let mut courses: Vec<Vec<&'static str>> = Vec::new();
    for subset in 1..16_u8 {
        let chosen: Vec<&'static str> = LATTICE
            .iter()
            .enumerate()
            .filter(|(at, _)| subset & (1 << at) != 0)
            .map(|(_, one)| *one)
            .collect();
        if size.gaps || chosen.len() == LATTICE.len() {
            courses.extend(orders(&chosen));
        }
    }
    let mut told = 0;
    let count = courses.len();
    // A customer's pair allows a burst of 45 messages.
    for (group, courses) in courses.chunks(24).enumerate() {
        told += of_one_customer(house, group, courses, size.repeats).await?;
    }
    let failed = failures(house).await?;
    let backwards = never_back(&subscriber).await?;
    Ok(format!(
        "{count} orders, {told} statuses told: each ends at its highest, 0 of {backwards} changes went back; {failed}"
    ))
}

async fn of_one_customer(
    house: &Chat,
    group: usize,
    courses: &[Vec<&'static str>],
    repeats: usize,
) -> Result<usize> {
    let meta = house.meta()?;
    let customer = house.customer(&format!("519000026{group:02}"), "Cliente")?;
    customer.writes("hola")?;
    let item = house.serve(&customer).await?;
    let mut sent = Vec::new();
    for (n, course) in courses.iter().enumerate() {
        let text = format!("orden {n}");
        let message = house.agent.reply(&item.interaction_id, &text).await?;
        sent.push((message.message_id, customer.receives(&text).await?.wamid, course));
    }
    let mut told = 0;
    for (_, wamid, course) in &sent {
        let repeated = (0..repeats).filter_map(|_| course.choose(&mut rand::rng()));
        for status in course.iter().chain(repeated) {
            meta.tell_status(wamid, status, None)?;
            told += 1;
        }
    }
    meta.settled(SOON).await?;
    for (message_id, _, course) in &sent {
        let highest =
            LATTICE.iter().rev().find(|one| course.contains(one)).context("an order is never empty")?;
        house.becomes(&item, message_id, &[highest]).await.with_context(|| format!("{course:?}"))?;
    }
    Ok(told)
}

fn orders(of: &[&'static str]) -> Vec<Vec<&'static str>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in of.iter().enumerate() {
        let rest: Vec<&'static str> =
            of.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, one)| *one).collect();
        all.extend(orders(&rest).into_iter().map(|order| [vec![*first], order].concat()));
    }
    all
}

/// `failed` shows only where nothing from `delivered` upwards ever arrives.
async fn failures(house: &Chat) -> Result<String> {
    let meta = house.meta()?;
    let customer = house.customer("51900000326", "Cliente")?;
    customer.writes("hola")?;
    let item = house.serve(&customer).await?;
    let cases: [(&[&str], &str); 4] = [
        (&["sent", "failed"], "failed"),
        (&["failed", "sent"], "failed"),
        (&["failed", "delivered"], "delivered"),
        (&["read", "failed"], "read"),
    ];
    for (n, (course, ends)) in cases.iter().enumerate() {
        let text = format!("fallo {n}");
        let message = house.agent.reply(&item.interaction_id, &text).await?;
        let wamid = customer.receives(&text).await?.wamid;
        for status in *course {
            let code = (*status == "failed").then_some(131_026);
            meta.tell_status(&wamid, status, code)?;
            meta.settled(SOON).await?;
        }
        settled_at(house, &item, &message.message_id, ends).await.with_context(|| format!("{course:?}"))?;
    }
    Ok(format!("{} with a failure among them end as they must", cases.len()))
}

async fn settled_at(house: &Chat, item: &DeskItem, message_id: &str, ends: &str) -> Result<()> {
    house.becomes(item, message_id, &[ends]).await?;
    house.parsed().await?;
    house.becomes(item, message_id, &[ends]).await.map(drop)
}

/// Every change of a message's state that a subscriber saw goes up, or from `failed` to where it had arrived after all.
async fn never_back(subscriber: &Subscriber) -> Result<usize> {
    let rank = |state: &str| match state {
        "queued" => 0,
        "failed" => 1,
        "sent" => 2,
        "delivered" => 3,
        "read" => 4,
        "played" => 5,
        _ => 9,
    };
    let states = || {
        subscriber.with(|log| {
            let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for event in log.attentions.values().flat_map(BTreeMap::values) {
                let word = |pointer: &str| event.data.pointer(pointer).and_then(serde_json::Value::as_str);
                if let (true, Some(id), Some(state)) = (
                    event.kind.ends_with("message_status_changed"),
                    word("/message/messageId"),
                    word("/message/deliveryState"),
                ) {
                    of.entry(id.to_owned()).or_default().push(state.to_owned());
                }
            }
            of
        })
    };
    let mut before = usize::MAX;
    let all = until("no further change comes", || {
        let now = states();
        let count = now.values().map(Vec::len).sum();
        let quiet = std::mem::replace(&mut before, count) == count && count > 0;
        async move { Ok(quiet.then_some(now)) }
    })
    .await?;
    for (id, states) in &all {
        let back = states.windows(2).any(|pair| match pair {
            [earlier, later] if later == "failed" => !matches!(earlier.as_str(), "queued" | "sent"),
            [earlier, later] => rank(later) < rank(earlier),
            _ => false,
        });
        ensure!(!back, "message {id} went back: {states:?}");
    }
    Ok(all.values().map(Vec::len).sum())
}
