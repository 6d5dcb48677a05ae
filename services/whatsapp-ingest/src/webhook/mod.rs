//! Meta's webhooks: handshake by GET, events by POST. A POST is checked over its raw bytes before anything is read of them, and
//! answered 200 only after its commit; whatever stands in the way is answered so that Meta sends it again.
//!
//! Source: Meta, Graph API Webhooks, "Create an endpoint" and "Validate payloads"; a body has up to 3 MB, and anything but 200 is
//! sent again for days.

mod body;
mod commit;
mod ring;
mod serve;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hilo_kit::ids::Uuid;
use hilo_kit::telemetry;
use serde::Deserialize;
use tracing::Instrument as _;

use body::Limits;
pub use commit::Committer;
pub use ring::KeyRing;
pub use serve::serve;

use crate::config::WebhookConfig;
use crate::domain::signature::Claimed;
use crate::metrics;
use crate::store::NewWebhook;

/// Where the webhook is.
pub const PATH: &str = "/webhook";
const SIGNATURE: &str = "x-hub-signature-256";
/// Longest challenge that is given back, in bytes.
const CHALLENGE_BYTES: usize = 1_024;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Endpoint {
    ring: KeyRing,
    committer: Committer,
    limits: Limits,
}

impl Endpoint {
    /// With these secrets, into this ledger.
    pub fn new(config: &WebhookConfig, ring: KeyRing, committer: Committer) -> Self {
        Self { ring, committer, limits: Limits::new(config) }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new().route(PATH, get(handshake).post(events)).with_state(self)
    }
}

#[derive(Debug, Deserialize)]
struct Handshake {
    #[serde(rename = "hub.mode", default)]
    mode: String,
    #[serde(rename = "hub.verify_token", default)]
    verify_token: String,
    #[serde(rename = "hub.challenge", default)]
    challenge: String,
}

async fn handshake(State(endpoint): State<Endpoint>, Query(asked): Query<Handshake>) -> Response {
    if !endpoint.ring.can_verify() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let fits = asked.mode == "subscribe"
        && !asked.challenge.is_empty()
        && asked.challenge.len() <= CHALLENGE_BYTES
        && endpoint.ring.is_verify_token(&asked.verify_token);
    if !fits {
        tracing::warn!("a webhook handshake with another verify token was refused");
        return StatusCode::FORBIDDEN.into_response();
    }
    let nosniff = (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let plain = (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    (StatusCode::OK, [plain, nosniff], asked.challenge).into_response()
}

/// Why a POST is not accepted; the status tells Meta whether to send it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NoSecret,
    BadSignature,
    TooLarge,
    Busy,
    CutOff,
    NotCommitted,
}

impl Refusal {
    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Refusal::NoSecret => (StatusCode::SERVICE_UNAVAILABLE, "no_secret"),
            Refusal::BadSignature => (StatusCode::UNAUTHORIZED, "bad_signature"),
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Refusal::CutOff => (StatusCode::REQUEST_TIMEOUT, "cut_off"),
            Refusal::NotCommitted => (StatusCode::SERVICE_UNAVAILABLE, "not_committed"),
        }
    }
}

async fn events(State(endpoint): State<Endpoint>, request: Request<Body>) -> StatusCode {
    let span = tracing::info_span!("whatsapp.webhook", otel.kind = "server");
    match accept(&endpoint, request).instrument(span).await {
        Ok(()) => {
            metrics::webhook("accepted");
            StatusCode::OK
        }
        Err(refusal) => {
            let (status, word) = refusal.answer();
            metrics::webhook(word);
            tracing::warn!(answer = status.as_u16(), reason = word, "a webhook was refused");
            status
        }
    }
}

async fn accept(endpoint: &Endpoint, request: Request<Body>) -> Result<(), Refusal> {
    if !endpoint.ring.can_check() {
        return Err(Refusal::NoSecret);
    }
    let (head, body) = request.into_parts();
    let claimed = claimed(&head.headers)?;
    let length = head.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    let (body, room) = body::read(&endpoint.limits, body, length).await?;
    let signed_by = endpoint.ring.signers(claimed, &body);
    if signed_by.is_empty() {
        return Err(Refusal::BadSignature);
    }
    let traceparent = telemetry::current_traceparent();
    let webhook = NewWebhook { id: Uuid::now_v7(), body, signed_by, traceparent };
    if endpoint.committer.commit(webhook, room).await { Ok(()) } else { Err(Refusal::NotCommitted) }
}

/// The one signature of the request. Two of them are none: which one a proxy before us looked at is not known.
fn claimed(headers: &HeaderMap) -> Result<Claimed, Refusal> {
    let mut values = headers.get_all(SIGNATURE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Claimed::parse(value.as_bytes()).ok_or(Refusal::BadSignature),
        _ => Err(Refusal::BadSignature),
    }
}
