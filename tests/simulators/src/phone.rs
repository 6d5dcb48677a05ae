//! The customer's phone: sends, reads, plays, changes its number, goes off and on.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::{Number, merge};
use crate::customer::Customer;
use crate::fixtures::{Family, find};
use crate::media::sample;
use crate::say::{Say, over};
use crate::statuses;
use crate::webhook::{Event, Item};
use crate::world::{Core, Said, World};

/// Kinds that say something about the customer and open no window.
const NO_WINDOW: &[&str] = &["system", "edit", "revoke"];
/// Characters of a message that the chat shows.
const MAX_WORDS: usize = 300;
/// Sub-objects that are files.
const FILES: &[&str] = &["image", "audio", "video", "document", "sticker"];

/// Why the phone could not do that.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// No customer of that name.
    #[error("there is no customer {0}")]
    NoSuchCustomer(String),
    /// No business number with that id.
    #[error("there is no number {0}")]
    NoSuchNumber(String),
    /// No documented payload of that name.
    #[error("there is no fixture {0}")]
    NoSuchKind(String),
    /// The file cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// No message of that id.
    #[error("there is no message {0}")]
    NoSuchMessage(String),
}

/// Sends what a customer says to a number and gives the id of the message.
pub(crate) fn say(core: &Arc<Core>, number: &str, customer: &str, say: &Say) -> Result<String, PhoneError> {
    let kind = if say.kind.is_empty() { "text" } else { &say.kind };
    let fixture = find(Family::Message, kind).ok_or_else(|| PhoneError::NoSuchKind(kind.to_owned()))?;
    let mut message = fixture.message().cloned().unwrap_or(Value::Null);
    let event = {
        let mut world = core.world.lock();
        let (number, customer) = parties(&world, number, customer)?;
        let at_ms = said_at(&world, say);
        let wamid = say.id.clone().unwrap_or_else(|| world.wamid(&customer.phone));
        sender(&mut message, &customer, &wamid, at_ms);
        quote(&mut message, &number);
        attach(&mut world, &core.base, &mut message, &number, say)?;
        over(&mut message, say);
        let of = message.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        note(&mut world, &number, &customer, &message, at_ms);
        let contact = (of != "system").then(|| customer.contact(true, false));
        event(&number, contact, Item::Message(message), &wamid)
    };
    let wamid = event.label.clone();
    core.outbox.push(event);
    Ok(wamid)
}

fn parties(world: &World, number: &str, customer: &str) -> Result<(Number, Customer), PhoneError> {
    let found = world.number(number).cloned().ok_or_else(|| PhoneError::NoSuchNumber(number.to_owned()))?;
    let customer =
        world.any_customer(customer).ok_or_else(|| PhoneError::NoSuchCustomer(customer.to_owned()))?;
    Ok((found, customer.clone()))
}

fn said_at(world: &World, say: &Say) -> i64 {
    let now = world.now_ms();
    let ago = say.seconds_ago.map(|seconds| now - seconds * 1_000);
    say.at.map(|seconds| seconds * 1_000).or(ago).unwrap_or(now)
}

/// Who, which, when. A phone number that is hidden is left out, as Meta does.
fn sender(message: &mut Value, customer: &Customer, wamid: &str, at_ms: i64) {
    let Some(map) = message.as_object_mut() else { return };
    map.remove("from");
    if !customer.hides_phone {
        map.insert("from".to_owned(), json!(customer.wa_id()));
    }
    if map.contains_key("from_user_id") {
        map.insert("from_user_id".to_owned(), json!(customer.user_id));
        if let Some(parent) = &customer.parent_user_id {
            map.insert("from_parent_user_id".to_owned(), json!(parent));
        }
    }
    map.insert("id".to_owned(), json!(wamid));
    map.insert("timestamp".to_owned(), json!((at_ms / 1_000).to_string()));
}

/// What is quoted came from this number.
fn quote(message: &mut Value, number: &Number) {
    if let Some(from) = message.pointer_mut("/context/from") {
        *from = json!(number.display_phone_number);
    }
}

/// Stores the file of a message and names it there.
fn attach(
    world: &mut World,
    base: &str,
    message: &mut Value,
    number: &Number,
    say: &Say,
) -> Result<(), PhoneError> {
    for pointer in FILES.iter().flat_map(|of| [format!("/{of}"), format!("/edit/message/{of}")]) {
        let Some(target) = message.pointer_mut(&pointer) else { continue };
        let given = say.file.clone().unwrap_or_default();
        let documented = target.get("mime_type").and_then(Value::as_str).unwrap_or_default();
        let mime = if given.mime_type.is_empty() { documented } else { &given.mime_type }.to_owned();
        let bytes = given.bytes().map_err(PhoneError::Unreadable)?.unwrap_or_else(|| sample(&mime));
        let media = world.store(&number.phone_number_id, &mime, bytes, given.fault, false);
        let url = world.address(base, &media, "webhook");
        merge(target, &json!({ "mime_type": mime, "sha256": media.base64(), "id": media.id, "url": url }));
    }
    Ok(())
}

/// The first words of a message: its text, caption, emoji, title or file name.
fn words(message: &Value, kind: &str) -> String {
    let fields = ["body", "caption", "emoji", "text", "name", "filename"];
    let content = message.get(kind).unwrap_or(&Value::Null);
    let inner = content.pointer("/button_reply/title").or_else(|| content.pointer("/list_reply/title"));
    let inner = inner.or_else(|| content.pointer("/message/text/body"));
    let found = inner.or_else(|| fields.iter().find_map(|name| content.get(*name)));
    found.and_then(Value::as_str).unwrap_or_default().chars().take(MAX_WORDS).collect()
}

fn note(world: &mut World, number: &Number, customer: &Customer, message: &Value, at_ms: i64) {
    let field = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (wamid, kind) = (field("id"), field("type"));
    let ticks = world.ticks();
    world.pacer.incoming(&number.phone_number_id, ticks);
    let pair = (number.phone_number_id.clone(), customer.user_id.clone());
    if !NO_WINDOW.contains(&kind.as_str()) {
        let last = world.last_said.entry(pair).or_insert(at_ms);
        *last = (*last).max(at_ms);
    }
    let said = Said {
        wamid,
        number: number.phone_number_id.clone(),
        customer: customer.user_id.clone(),
        text: words(message, &kind),
        kind,
        at_ms,
        read_at_ms: None,
        typing_until_ms: None,
    };
    world.keep_said(said);
}

fn event(number: &Number, contact: Option<Value>, item: Item, label: &str) -> Event {
    Event {
        app: number.app.clone(),
        account: number.business_account_id.clone(),
        metadata: metadata(number),
        field: "messages".to_owned(),
        contact,
        item,
        time: None,
        label: label.to_owned(),
    }
}

fn metadata(number: &Number) -> Value {
    json!({ "display_phone_number": number.display_phone_number, "phone_number_id": number.phone_number_id })
}

/// Sends a notice of its fixture to the app of `number`, with `with` laid over its value.
pub(crate) fn notice(core: &Arc<Core>, number: &str, kind: &str, with: &Value) -> Result<(), PhoneError> {
    let fixture = find(Family::Notice, kind).ok_or_else(|| PhoneError::NoSuchKind(kind.to_owned()))?;
    let number = core
        .world
        .lock()
        .number(number)
        .cloned()
        .ok_or_else(|| PhoneError::NoSuchNumber(number.to_owned()))?;
    let mut value = fixture.value().clone();
    if let Some(own) = value.pointer_mut("/metadata") {
        *own = metadata(&number);
    }
    if let Some(shown) = value.pointer_mut("/display_phone_number") {
        *shown = json!(number.display_phone_number);
    }
    if with.is_object() {
        merge(&mut value, with);
    }
    let mut event = event(&number, None, Item::Whole(value), kind);
    fixture.field().clone_into(&mut event.field);
    let timed = fixture.payload.pointer("/entry/0/time").is_some();
    event.time = timed.then(|| core.world.lock().now_ms() / 1_000);
    core.outbox.push(event);
    Ok(())
}

/// The customer takes another phone number: a new BSUID with it, and a notice of the ids and a system message to `number` that say so.
/// A hidden number changes unseen: only the ids are told then.
pub(crate) fn change_number(
    core: &Arc<Core>,
    number: &str,
    customer: &str,
    phone: &str,
) -> Result<String, PhoneError> {
    let (_, old) = parties(&core.world.lock(), number, customer)?;
    let mut new = Customer { phone: phone.to_owned(), wa_id: None, user_id: String::new(), ..old.clone() };
    new = new.completed();
    let kind = if old.hides_phone { "system_user_id_changed" } else { "system_number_changed" };
    let (from, to) = if old.hides_phone { (&old.user_id, &new.user_id) } else { (&old.phone, &new.phone) };
    let mut system = json!({
        "body": format!("User {} changed from {from} to {to}", old.name),
        "user_id": new.user_id,
        "previous_user_id": old.user_id,
    });
    if let Some(map) = system.as_object_mut().filter(|_| !old.hides_phone) {
        map.insert("wa_id".to_owned(), json!(new.wa_id()));
    }
    let contact = json!({ "profile": { "name": old.name } });
    let ids = json!({ "previous": old.user_id, "current": new.user_id });
    let timestamp = (core.world.lock().now_ms() / 1_000).to_string();
    let detail = format!("User id for {} has been updated.", old.name);
    let mut update = json!({ "detail": detail, "user_id": ids, "timestamp": timestamp });
    if let Some(map) = update.as_object_mut().filter(|_| !old.hides_phone) {
        map.insert("wa_id".to_owned(), json!(new.wa_id()));
    }
    // First, which is the harder order: the old number is not in it.
    notice(core, number, "user_id_update", &json!({ "contacts": [contact], "user_id_update": [update] }))?;
    let said = Say::kind(kind).with(json!({ "system": system }));
    say(core, number, &old.user_id, &said)?;
    let mut world = core.world.lock();
    world.customers.remove(&old.user_id);
    world.forget_phone(&old.phone);
    world.forget_phone(old.wa_id());
    // The chat goes on under the new id, and with it the window.
    let windows: Vec<_> = world
        .last_said
        .iter()
        .filter(|((_, of), _)| *of == old.user_id)
        .map(|((n, _), at)| (n.clone(), *at))
        .collect();
    for (number, at) in windows {
        world.last_said.insert((number, new.user_id.clone()), at);
    }
    Ok(world.put_customer(new))
}

/// The customer opens the chat: everything that was delivered is read.
pub(crate) fn read_all(core: &Arc<Core>, customer: &str) -> Result<usize, PhoneError> {
    let open: Vec<String> = {
        let world = core.world.lock();
        let customer =
            world.any_customer(customer).ok_or_else(|| PhoneError::NoSuchCustomer(customer.to_owned()))?;
        let of = &customer.user_id;
        let unread = |wamid: &&String| {
            world.sent.get(*wamid).is_some_and(|sent| {
                let has = |name: &str| sent.statuses.iter().any(|(status, _)| status == name);
                sent.customer == *of && has("delivered") && !has("read")
            })
        };
        world.sent_order.iter().filter(unread).cloned().collect()
    };
    Ok(open.iter().filter(|wamid| statuses::tell(core, wamid, "read", None)).count())
}

/// Tells a status of one message by hand, in any order and as often as wanted.
pub(crate) fn status(
    core: &Arc<Core>,
    wamid: &str,
    status: &str,
    code: Option<u32>,
) -> Result<bool, PhoneError> {
    if !core.world.lock().sent.contains_key(wamid) {
        return Err(PhoneError::NoSuchMessage(wamid.to_owned()));
    }
    let error = code.map(crate::errors::GraphError::plain);
    Ok(statuses::tell(core, wamid, status, error.as_ref()))
}

/// Switches the phone off or on; what waited is delivered then.
pub(crate) fn switch(core: &Arc<Core>, customer: &str, on: bool) -> Result<(), PhoneError> {
    let waiting: Vec<String> = {
        let mut world = core.world.lock();
        let id = world.any_customer(customer).map(|found| found.user_id.clone());
        let id = id.ok_or_else(|| PhoneError::NoSuchCustomer(customer.to_owned()))?;
        if let Some(customer) = world.customers.get_mut(&id) {
            customer.offline = !on;
        }
        world.changes += 1;
        let order: Vec<String> = world.sent_order.iter().cloned().collect();
        let waits = |wamid: &String| {
            world.sent.get(wamid).is_some_and(|sent| sent.customer == id && sent.awaits_phone)
        };
        let waiting: Vec<String> = order.into_iter().filter(|wamid| on && waits(wamid)).collect();
        for wamid in &waiting {
            if let Some(sent) = world.sent.get_mut(wamid) {
                sent.awaits_phone = false;
            }
        }
        waiting
    };
    for wamid in waiting {
        statuses::tell(core, &wamid, "delivered", None);
    }
    Ok(())
}
