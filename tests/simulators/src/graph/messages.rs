//! POST /{phone-number-id}/messages: sending, marking as read, the typing indicator.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::call::{Call, Outcome};
use super::check;
use crate::config::{App, Number, Refusals, Strangers};
use crate::customer::Customer;
use crate::errors::GraphError;
use crate::faults::{Endpoint, digits_or_id, recipient_of};
use crate::record::Violation;
use crate::statuses::Course;
use crate::world::{Core, Sent, World};

/// How long a typing indicator is shown.
const TYPING_MS: i64 = 25_000;
/// What Meta may tell only later, by a status `failed`.
const LATE: &[u32] = &[131_026, 131_047, 131_050, 137_000];

pub(super) async fn post(
    State(core): State<Arc<Core>>,
    Path((version, id)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let reading = body.get("status").is_some();
    let endpoint = if reading { Endpoint::MarkRead } else { Endpoint::Messages };
    let mut call = Call::new(core, &Method::POST, uri.path(), &version, headers).on(endpoint, &id);
    let row = call.row();
    row.to = recipient_of(&body).map(str::to_owned);
    row.kind = (!reading).then(|| check::kind(&body).to_owned());
    row.opaque = body.get("biz_opaque_callback_data").and_then(Value::as_str).map(str::to_owned);
    row.body = body.clone();
    call.run(move |world, app| {
        if !body.is_object() {
            return Err(GraphError::new(100, "The body must be a JSON object."));
        }
        let number = own(world, app, &id)?;
        if body.get("messaging_product").is_none_or(|product| product != "whatsapp") {
            return Err(GraphError::new(100, "The parameter messaging_product is required."));
        }
        if reading { mark_read(world, &number, &body).map(Outcome::from) } else { send(world, &number, body) }
    })
    .await
}

/// The number `id`, if it is this app's.
pub(super) fn own(world: &World, app: &App, id: &str) -> Result<Number, GraphError> {
    let number = world.number(id).filter(|number| number.app == app.id);
    number.cloned().ok_or_else(|| GraphError::no_such_object(id))
}

fn mark_read(world: &mut World, number: &Number, body: &Value) -> Result<Value, GraphError> {
    if body.get("status").is_none_or(|status| status != "read") {
        return Err(check::wrong("status", "must be read"));
    }
    let typing = match body.pointer("/typing_indicator/type") {
        None => {
            body.get("typing_indicator").map_or(Ok(false), |_| Err(check::missing("typing_indicator.type")))
        }
        Some(of) if of == "text" => Ok(true),
        Some(_) => Err(check::wrong("typing_indicator.type", "must be text")),
    }?;
    let wamid = check::required(body, "/message_id")?;
    let now = world.now_ms();
    world.changes += 1;
    let said = world.said.get(wamid).filter(|said| said.number == number.phone_number_id).cloned();
    let said = said.ok_or_else(|| check::wrong("message_id", "is not a message to this number"))?;
    // Earlier messages of the same chat become read with it.
    for other in world.said.values_mut() {
        if other.number == said.number && other.customer == said.customer && other.at_ms <= said.at_ms {
            other.read_at_ms.get_or_insert(now);
        }
    }
    if let Some(said) = world.said.get_mut(wamid) {
        said.typing_until_ms = typing.then_some(now + TYPING_MS);
    }
    Ok(json!({ "success": true }))
}

/// Whom a message is for.
struct Recipient {
    input: String,
    /// Digits, if the request named a phone number.
    phone: Option<String>,
    customer: Option<Customer>,
}

fn send(world: &mut World, number: &Number, body: Value) -> Result<Outcome, GraphError> {
    check::shape(&body)?;
    let recipient = recipient(world, &body)?;
    if recipient.phone.as_deref() == Some(&digits_or_id(&number.display_phone_number)) {
        return Err(GraphError::plain(131_021));
    }
    files(world, number, &body)?;
    let category = template(world, number, &recipient, &body)?;
    let course = match willing(world, number, &recipient, &body, &category) {
        Ok(()) => Course::Planned,
        Err(error) if world.behaviour.refusals == Refusals::Status && LATE.contains(&error.code) => {
            Course::Fails(error, 0)
        }
        Err(error) => return Err(error),
    };
    pace(world, number, &recipient)?;
    Ok(take(world, number, recipient, body, category, course))
}

fn recipient(world: &mut World, body: &Value) -> Result<Recipient, GraphError> {
    let input =
        recipient_of(body).ok_or_else(|| GraphError::new(100, "The parameter to is required."))?.to_owned();
    if check::optional(body, "/to")?.is_none_or(str::is_empty) {
        let customer = world.by_user_id(&input).cloned();
        return Ok(Recipient { input, phone: None, customer });
    }
    let digits = digits_or_id(&input);
    if !(5..=20).contains(&digits.len()) || !digits.chars().all(|digit| digit.is_ascii_digit()) {
        return Err(check::wrong("to", "is not a phone number"));
    }
    let mut customer = world.by_phone(&digits).cloned();
    if customer.is_none() && world.behaviour.strangers == Strangers::Adopt {
        let id = world.put_customer(Customer::new(&digits));
        customer = world.customers.get(&id).cloned();
    }
    Ok(Recipient { input, phone: Some(digits), customer })
}

/// The category of the template; `service` for everything else.
fn template(
    world: &World,
    number: &Number,
    recipient: &Recipient,
    body: &Value,
) -> Result<String, GraphError> {
    let Some(content) = body.get("template").filter(|_| check::kind(body) == "template") else {
        return Ok("service".to_owned());
    };
    let found = check::template(&world.templates, &number.business_account_id, content)?;
    if found.category == "AUTHENTICATION" && recipient.phone.is_none() {
        return Err(GraphError::plain(131_062));
    }
    Ok(found.category.to_ascii_lowercase())
}

/// A file that is named by its id must be this number's, alive, and of a type that fits.
fn files(world: &World, number: &Number, body: &Value) -> Result<(), GraphError> {
    let kind = check::kind(body);
    let Some(id) = body.pointer(&format!("/{kind}/id")).and_then(Value::as_str) else { return Ok(()) };
    if !["image", "audio", "video", "document", "sticker"].contains(&kind) {
        return Ok(());
    }
    let media = world.media.get(id);
    let media =
        media.filter(|media| media.number == number.phone_number_id && media.ends_at_ms > world.now_ms());
    let media = media.ok_or_else(|| check::wrong(&format!("{kind}.id"), "is not a valid media id"))?;
    if crate::media::fits(kind, &media.mime) {
        return Ok(());
    }
    Err(GraphError::new(131_053, format!("Media of type {} cannot be sent as {kind}.", media.mime)))
}

/// What depends on the customer: known at all, identity, opt-out, the window.
fn willing(
    world: &World,
    number: &Number,
    recipient: &Recipient,
    body: &Value,
    category: &str,
) -> Result<(), GraphError> {
    let customer = recipient.customer.as_ref().ok_or_else(|| GraphError::plain(131_026))?;
    if let Some(hash) = body.get("recipient_identity_key_hash")
        && customer.identity.as_deref() != hash.as_str()
    {
        return Err(GraphError::plain(137_000));
    }
    if category == "marketing" && customer.declines_marketing {
        return Err(GraphError::plain(131_050));
    }
    if check::kind(body) != "template" && !world.window_open(&number.phone_number_id, &customer.user_id) {
        return Err(GraphError::plain(131_047));
    }
    Ok(())
}

fn pace(world: &mut World, number: &Number, recipient: &Recipient) -> Result<(), GraphError> {
    let key =
        recipient.customer.as_ref().map_or(recipient.input.clone(), |customer| customer.user_id.clone());
    let (limits, ticks) = (world.behaviour.pace.clone(), world.ticks());
    let Err(limit) = world.pacer.outgoing(&limits, &number.phone_number_id, &key, ticks) else {
        return Ok(());
    };
    let at_ms = world.now_ms();
    let number = number.phone_number_id.clone();
    world.record.violation(Violation { at_ms, limit, number, customer: key });
    if limits.enforce { Err(GraphError::plain(limit.code())) } else { Ok(()) }
}

fn take(
    world: &mut World,
    number: &Number,
    recipient: Recipient,
    body: Value,
    category: String,
    course: Course,
) -> Outcome {
    let who = recipient.phone.clone().or_else(|| recipient.customer.as_ref().map(|of| of.phone.clone()));
    let wamid = world.wamid(&who.unwrap_or_default());
    let mut contact = json!({ "input": recipient.input });
    let mut message = json!({ "id": wamid });
    let (name, value) = match &recipient.phone {
        Some(digits) => ("wa_id", recipient.customer.as_ref().map_or(digits.as_str(), Customer::wa_id)),
        None => ("user_id", recipient.input.as_str()),
    };
    if let Some(map) = contact.as_object_mut() {
        map.insert(name.to_owned(), json!(value));
    }
    if let Some(map) = message.as_object_mut().filter(|_| check::kind(&body) == "template") {
        map.insert("message_status".to_owned(), json!("accepted"));
    }
    let to_phone = recipient.phone.as_ref().map(|_| value.to_owned());
    let sent = Sent {
        wamid: wamid.clone(),
        number: number.phone_number_id.clone(),
        customer: recipient.customer.map(|customer| customer.user_id).unwrap_or_default(),
        to_phone,
        kind: check::kind(&body).to_owned(),
        opaque: body.get("biz_opaque_callback_data").and_then(Value::as_str).map(str::to_owned),
        category,
        at_ms: world.now_ms(),
        statuses: Vec::new(),
        awaits_phone: false,
        body,
    };
    world.keep_sent(sent);
    let answer = json!({ "messaging_product": "whatsapp", "contacts": [contact], "messages": [message] });
    Outcome::Taken(wamid, course, answer)
}
