//! The control API under `/sim`: everything the Rust handle can do, as JSON, for people and other programs.
//!
//! It has no token: who can reach loopback may play. The README of the tests lists the calls.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{Number, Template};
use crate::customer::Customer;
use crate::faults::Fault;
use crate::fixtures::{Family, kinds};
use crate::phone::{self, PhoneError};
use crate::say::Say;
use crate::webhook;
use crate::world::{Core, World};

/// Rows of a record that are given at once.
const PAGE: usize = 1_000;

pub(crate) fn routes() -> Router<Arc<Core>> {
    Router::new()
        .route("/", get(overview))
        .route("/kinds", get(all_kinds))
        .route("/behaviour", get(behaviour).patch(behave))
        .route("/subscribe", post(subscribing))
        .route("/templates", post(template))
        .route("/numbers", post(business))
        .route("/faults", get(faults).post(fault).delete(heal))
        .route("/customers", get(customers).post(customer))
        .route("/customers/{who}/messages", get(chat).post(saying))
        .route("/customers/{who}/read", post(read))
        .route("/customers/{who}/phone", post(switch))
        .route("/customers/{who}/number", post(number))
        .route("/statuses", post(status))
        .route("/notices", post(notice))
        .route("/clock", post(clock))
        .route("/record/{of}", get(record))
}

type Answer = Result<Json<Value>, Refused>;

/// A control call that cannot be done, in words.
pub(crate) struct Refused(StatusCode, String);

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<PhoneError> for Refused {
    fn from(error: PhoneError) -> Self {
        Self(StatusCode::NOT_FOUND, error.to_string())
    }
}

fn bad(why: impl ToString) -> Refused {
    Refused(StatusCode::BAD_REQUEST, why.to_string())
}

fn json_of<T: Serialize>(value: &T) -> Answer {
    serde_json::to_value(value)
        .map(Json)
        .map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn overview(State(core): State<Arc<Core>>) -> Answer {
    let world = core.world.lock();
    let peaks: HashMap<_, _> = world
        .numbers
        .iter()
        .map(|number| (number.phone_number_id.clone(), world.pacer.peak(&number.phone_number_id)))
        .collect();
    Ok(Json(json!({
        "now_ms": world.now_ms(),
        "numbers": world.numbers,
        "callbacks": world.apps.iter().map(|app| json!({"app": app.id, "callback": app.callback})).collect::<Vec<_>>(),
        "customers": world.customers.len(),
        "pending": core.outbox.pending(),
        "peaks": peaks,
        "totals": world.record.totals,
    })))
}

async fn all_kinds() -> Json<Value> {
    let of = |family| kinds(family).collect::<Vec<_>>();
    Json(
        json!({ "messages": of(Family::Message), "notices": of(Family::Notice), "statuses": of(Family::Status) }),
    )
}

async fn behaviour(State(core): State<Arc<Core>>) -> Answer {
    json_of(&core.world.lock().behaviour)
}

async fn behave(State(core): State<Arc<Core>>, Json(patch): Json<Value>) -> Answer {
    let after = core.world.lock().behaviour.patched(&patch).map_err(bad)?;
    core.world.lock().behaviour = after.clone();
    core.outbox.wake();
    json_of(&after)
}

#[derive(Deserialize)]
struct Subscribing {
    app: Option<String>,
    callback: String,
}

async fn subscribing(State(core): State<Arc<Core>>, Json(asked): Json<Subscribing>) -> Answer {
    let first = core.world.lock().apps.first().map(|app| app.id.clone());
    let app = asked.app.or(first).unwrap_or_default();
    subscribe(&core, &app, &asked.callback).await.map_err(bad)?;
    Ok(Json(json!({ "success": true })))
}

/// The verify handshake, then the callback.
pub(crate) async fn subscribe(core: &Core, app: &str, callback: &str) -> Result<(), String> {
    if !webhook::loopback(callback) {
        return Err(format!("webhooks go to loopback only, not to {callback}"));
    }
    let token = core.world.lock().app(app).map(|app| app.verify_token.clone());
    let token = token.ok_or_else(|| format!("there is no app {app}"))?;
    webhook::handshake(callback, &token).await?;
    if let Some(app) = core.world.lock().apps.iter_mut().find(|known| known.id == app) {
        app.callback = Some(callback.to_owned());
    }
    Ok(())
}

async fn template(State(core): State<Arc<Core>>, Json(template): Json<Template>) -> Json<Value> {
    put_template(&core, template);
    Json(json!({ "success": true }))
}

async fn business(State(core): State<Arc<Core>>, Json(number): Json<Number>) -> Answer {
    let mut world = core.world.lock();
    if world.app(&number.app).is_none() {
        return Err(bad(format!("there is no app {}", number.app)));
    }
    world.put_number(number);
    Ok(Json(json!({ "success": true })))
}

/// Adds a template or replaces the one of the same account, name and language.
pub(crate) fn put_template(core: &Core, template: Template) {
    let key = |of: &Template| (of.business_account_id.clone(), of.name.clone(), of.language.clone());
    let mut world = core.world.lock();
    world.templates.retain(|known| key(known) != key(&template));
    world.templates.push(template);
}

async fn faults(State(core): State<Arc<Core>>) -> Answer {
    json_of(&core.world.lock().faults.waiting())
}

async fn fault(State(core): State<Arc<Core>>, Json(fault): Json<Fault>) -> Json<Value> {
    Json(json!({ "id": core.world.lock().faults.add(fault) }))
}

async fn heal(State(core): State<Arc<Core>>, Query(query): Query<HashMap<String, u64>>) -> Json<Value> {
    core.world.lock().faults.remove(query.get("id").copied());
    Json(json!({ "success": true }))
}

async fn customers(State(core): State<Arc<Core>>) -> Answer {
    json_of(&core.world.lock().customers.values().take(PAGE).collect::<Vec<_>>())
}

async fn customer(State(core): State<Arc<Core>>, Json(customer): Json<Customer>) -> Answer {
    if customer.phone.is_empty() {
        return Err(bad("phone is missing; everybody has one, hides_phone keeps it out of webhooks"));
    }
    let mut world = core.world.lock();
    let id = world.put_customer(customer);
    json_of(&world.customers.get(&id))
}

/// The number that `query` or a body names; the first one where none is named.
fn number_of(world: &World, named: Option<&String>) -> String {
    let first = world.numbers.first().map(|number| number.phone_number_id.clone());
    named.cloned().or(first).unwrap_or_default()
}

async fn saying(
    State(core): State<Arc<Core>>,
    Path(who): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    Json(say): Json<Say>,
) -> Answer {
    let number = number_of(&core.world.lock(), query.get("number"));
    let wamid = phone::say(&core, &number, &who, &say)?;
    Ok(Json(json!({ "wamid": wamid })))
}

/// What both sides wrote, oldest first.
async fn chat(State(core): State<Arc<Core>>, Path(who): Path<String>) -> Answer {
    let world = core.world.lock();
    let customer = world.any_customer(&who).ok_or(PhoneError::NoSuchCustomer(who))?;
    let of = customer.user_id.clone();
    let said =
        world.said_order.iter().filter_map(|wamid| world.said.get(wamid)).filter(|said| said.customer == of);
    let sent =
        world.sent_order.iter().filter_map(|wamid| world.sent.get(wamid)).filter(|sent| sent.customer == of);
    let mut rows: Vec<(i64, Value)> = said.map(|said| (said.at_ms, json!({ "said": said }))).collect();
    rows.extend(sent.map(|sent| (sent.at_ms, json!({ "received": sent }))));
    rows.sort_by_key(|(at, _)| *at);
    Ok(Json(Value::Array(rows.into_iter().map(|(_, row)| row).collect())))
}

async fn read(State(core): State<Arc<Core>>, Path(who): Path<String>) -> Answer {
    Ok(Json(json!({ "read": phone::read_all(&core, &who)? })))
}

#[derive(Deserialize)]
struct Switch {
    on: bool,
}

async fn switch(State(core): State<Arc<Core>>, Path(who): Path<String>, Json(asked): Json<Switch>) -> Answer {
    phone::switch(&core, &who, asked.on)?;
    Ok(Json(json!({ "success": true })))
}

#[derive(Deserialize)]
struct NewNumber {
    phone: String,
    number: Option<String>,
}

async fn number(
    State(core): State<Arc<Core>>,
    Path(who): Path<String>,
    Json(asked): Json<NewNumber>,
) -> Answer {
    let number = number_of(&core.world.lock(), asked.number.as_ref());
    Ok(Json(json!({ "user_id": phone::change_number(&core, &number, &who, &asked.phone)? })))
}

#[derive(Deserialize)]
struct Status {
    wamid: String,
    status: String,
    code: Option<u32>,
}

async fn status(State(core): State<Arc<Core>>, Json(asked): Json<Status>) -> Answer {
    if !["sent", "delivered", "read", "played", "failed"].contains(&asked.status.as_str()) {
        return Err(bad(format!("there is no status {}", asked.status)));
    }
    Ok(Json(json!({ "told": phone::status(&core, &asked.wamid, &asked.status, asked.code)? })))
}

#[derive(Deserialize)]
struct Notice {
    kind: String,
    number: Option<String>,
    #[serde(default)]
    with: Value,
}

async fn notice(State(core): State<Arc<Core>>, Json(asked): Json<Notice>) -> Answer {
    let number = number_of(&core.world.lock(), asked.number.as_ref());
    phone::notice(&core, &number, &asked.kind, &asked.with)?;
    Ok(Json(json!({ "success": true })))
}

#[derive(Deserialize)]
struct Clock {
    advance_ms: i64,
}

async fn clock(State(core): State<Arc<Core>>, Json(asked): Json<Clock>) -> Json<Value> {
    let mut world = core.world.lock();
    world.shift_ms += asked.advance_ms;
    Json(json!({ "now_ms": world.now_ms() }))
}

/// `requests`, `violations` or `attempts`, after the row `after`, at most 1,000 of them.
async fn record(
    State(core): State<Arc<Core>>,
    Path(of): Path<String>,
    Query(query): Query<HashMap<String, u64>>,
) -> Response {
    let after = query.get("after").copied().unwrap_or(0);
    let world = core.world.lock();
    let record = &world.record;
    let answer = match of.as_str() {
        "requests" => {
            json_of(&record.requests.iter().filter(|row| row.seq > after).take(PAGE).collect::<Vec<_>>())
        }
        "attempts" => {
            json_of(&record.attempts.iter().filter(|row| row.seq > after).take(PAGE).collect::<Vec<_>>())
        }
        "violations" => json_of(
            &record
                .violations
                .iter()
                .skip(usize::try_from(after).unwrap_or(0))
                .take(PAGE)
                .collect::<Vec<_>>(),
        ),
        _ => Err(bad("the record has requests, attempts and violations")),
    };
    answer.into_response()
}
