//! No payload of the documented kinds is lost or answered 5xx; what nobody knows is visible to the agent and kept raw.

use anyhow::{Context, Result, ensure};
use hilo_end_to_end::Chat;
use hilo_end_to_end::chat::SOON;
use hilo_simulators::Say;
use hilo_simulators::fixtures::{Family, find, kinds as named};
use serde_json::{Value, json};

/// Kinds that change or mark an earlier message, or only say something about the customer.
const NO_MESSAGE: &[&str] = &["edit", "edit_caption", "revoke", "reaction", "reaction_removed"];
/// Kinds that are shown as something that came and cannot be shown.
const PLACEHOLDERS: &[&str] = &[
    "future_kind",
    "request_welcome",
    "unknown",
    "unsupported",
    "unsupported_edit",
    "unsupported_unavailable",
];

/// Posts every fixture of the simulator as it is documented, then lets a customer say every kind.
///
/// # Errors
/// When one is answered otherwise than 200, is a dead letter, or is not shown.
pub async fn kinds(house: &Chat) -> Result<String> {
    let posted = as_documented(house).await?;
    let customer = house.customer("51900000099", "Ana")?;
    let mut shown = Vec::new();
    customer.writes("first")?;
    // What changes who the customer is begins another thread or none; those are posted above.
    let about = |kind: &str| kind.starts_with("system") || kind.starts_with("group");
    for kind in named(Family::Message).filter(|kind| !about(kind) && !NO_MESSAGE.contains(kind)) {
        customer.says(&Say::kind(kind)).with_context(|| kind.to_owned())?;
        shown.push(kind);
    }
    customer.writes("last")?;
    let meta = house.meta()?;
    meta.settled(SOON).await?;
    let bad = meta.attempts().into_iter().find(|attempt| attempt.status != Some(200));
    ensure!(bad.is_none(), "not answered 200: {bad:?}");
    let item = house.serve(&customer).await?;
    let said = house.said(&item.attention_id, shown.len() + 2).await?;
    let mut placeholders = 0;
    for (kind, message) in shown.iter().zip(said.iter().skip(1)) {
        let of = message.whatsapp.as_ref().map(|one| one.kind.as_str()).unwrap_or_default();
        let expected = PLACEHOLDERS.contains(kind);
        ensure!((of == "placeholder") == expected, "{kind} is shown as {of:?}");
        ensure!(!expected || !message.text.is_empty(), "the placeholder of {kind} says nothing");
        placeholders += usize::from(expected);
    }
    let dead = house.ledger("SELECT count(*) FROM kit.dead_letter").await?;
    ensure!(dead == 0, "{dead} dead letters");
    let raw = "SELECT count(*) FROM whatsapp.webhook WHERE position('hologram'::bytea IN body) > 0 \
               OR position('future_kind'::bytea IN body) > 0";
    let raw = house.ledger(raw).await?;
    ensure!(raw > 0, "the unknown kind is not in the ledger as it came");
    Ok(format!(
        "{posted} documented payloads answered 200, {} kinds shown, {placeholders} of them as placeholders and kept raw, 0 dead letters",
        shown.len()
    ))
}

async fn as_documented(house: &Chat) -> Result<usize> {
    let poster = house.poster()?;
    let number = house.installation.whatsapp_number();
    let mut posted = 0;
    for family in [Family::Message, Family::Status, Family::Notice] {
        for kind in named(family) {
            let mut body = find(family, kind).context("listed")?.payload.clone();
            let value = "/entry/0/changes/0/value";
            if let Some(own) = body.pointer_mut(&format!("{value}/metadata/phone_number_id")) {
                *own = json!(number);
            }
            // The pages' examples share ids; a message is one by its id.
            if let Some(id) = body.pointer_mut(&format!("{value}/messages/0/id")) {
                *id = json!(format!("wamid.kind.{kind}"));
            }
            let body: Value = body;
            let status = poster.post(body.to_string()).await?;
            ensure!(status.as_u16() == 200, "{kind} was answered {status}");
            posted += 1;
        }
    }
    house.parsed().await?;
    Ok(posted)
}
