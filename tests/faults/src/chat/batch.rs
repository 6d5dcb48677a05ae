//! Case 25: the same webhook again and again, at once and shuffled, is each message once; and one item that nobody knows does not take
//! the others of its batch along.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use futures::StreamExt as _;
use hilo_end_to_end::Chat;
use hilo_end_to_end::chat::{SOON, text, webhook};
use http::StatusCode;
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

/// How often what is posted.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// POSTs of each batch, all at once.
    pub copies: usize,
    /// Batches, shuffled among each other.
    pub batches: usize,
    /// Messages of a batch.
    pub messages: usize,
}

/// Posts the batches, each so often, in random order and all at once; the messages of a copy are shuffled too.
///
/// # Errors
/// When a POST is not answered 200, or a message is missing or there twice.
pub async fn batch(house: &Chat, size: Batch) -> Result<String> {
    let poster = house.poster()?;
    let number = house.installation.whatsapp_number();
    let from = "51900000025";
    let wamid = |batch: usize, message: usize| format!("wamid.25.{batch}.{message}");
    let mut bodies: Vec<String> = Vec::new();
    for batch in 0..size.batches {
        let mut messages: Vec<Value> =
            (0..size.messages).map(|n| text(&wamid(batch, n), from, &format!("{batch}.{n}"))).collect();
        for _ in 0..size.copies {
            messages.shuffle(&mut rand::rng());
            bodies.push(webhook(&number, from, messages.clone()).to_string());
        }
    }
    bodies.shuffle(&mut rand::rng());
    let posts = bodies.len();
    let answers: Vec<Result<StatusCode>> = futures::stream::iter(bodies)
        .map(|body| poster.post(body))
        .buffer_unordered(size.copies.max(1))
        .collect()
        .await;
    for answer in answers {
        let answer = answer?;
        ensure!(answer == StatusCode::OK, "answered {answer}");
    }
    // What a repetition could add would come before this.
    let last = webhook(&number, from, vec![text("wamid.25.last", from, "last")]).to_string();
    ensure!(poster.post(last).await? == StatusCode::OK, "the last one was not taken");
    let total = size.batches * size.messages;
    let item = house.desk.wait_for_offer(&format!("+{from}"), SOON).await?;
    house.agent.open(&item.interaction_id).await?;
    let said = house.said(&item.attention_id, total + 1).await?;
    let texts: BTreeSet<&str> = said.iter().map(|one| one.text.as_str()).collect();
    ensure!(texts.len() == total + 1, "{} different texts of {}", texts.len(), total + 1);
    Ok(format!(
        "{posts} POSTs of {total} messages, each copied {} times: {} of {total} once",
        size.copies,
        said.len() - 1
    ))
}

/// One POST of fifty messages, the 17th of a type that does not exist.
///
/// # Errors
/// When one is missing.
pub async fn fifty(house: &Chat) -> Result<String> {
    let from = "51900000125";
    let number = house.installation.whatsapp_number();
    let message = |n: usize| match n {
        17 => {
            let now = time::OffsetDateTime::now_utc().unix_timestamp().to_string();
            json!({ "from": from, "id": "wamid.50.17", "timestamp": now, "type": "hologram", "hologram": { "of": "a cat" } })
        }
        _ => text(&format!("wamid.50.{n}"), from, &format!("n. {n}")),
    };
    let body = webhook(&number, from, (1..=50).map(message).collect()).to_string();
    let status = house.poster()?.post(body).await?;
    ensure!(status == StatusCode::OK, "answered {status}");
    let item = house.desk.wait_for_offer(&format!("+{from}"), SOON).await?;
    house.agent.open(&item.interaction_id).await?;
    let said = house.said(&item.attention_id, 50).await?;
    let kind = said.get(16).and_then(|one| one.whatsapp.as_ref()).map(|item| item.kind.as_str());
    ensure!(kind == Some("placeholder"), "the 17th is shown as {kind:?}");
    let order = said.iter().enumerate().all(|(at, one)| at == 16 || one.text == format!("n. {}", at + 1));
    ensure!(order, "the order is another");
    Ok("50 of 50 in order, the 17th as a placeholder".to_owned())
}
