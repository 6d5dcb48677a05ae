//! A caller of the Graph API and a receiver of webhooks.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use bytes::Bytes;
use hilo_simulators::{Config, Customer, Phone, Say, Simulator};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use serde_json::{Value, json};

pub const NUMBER: &str = "106540352242922";
pub const ACCOUNT: &str = "102290129340398";
pub const TOKEN: &str = "simulated-access-token";
pub const SECRET: &str = "simulated-app-secret";
pub const PHONE: &str = "16505551234";
/// How long a condition may take on a slow machine.
pub const LONG: Duration = Duration::from_secs(60);

type Http = Client<HttpConnector, Full<Bytes>>;

/// What the receiver got.
#[derive(Clone, Debug)]
pub struct Got {
    pub body: Bytes,
    pub signature: String,
}

/// How the receiver answers, and what it got.
#[derive(Default)]
pub struct Inbox {
    pub got: Mutex<Vec<Got>>,
    /// Answers for the next POSTs; 200 when it is empty.
    pub answers: Mutex<Vec<u16>>,
}

/// A simulator with a receiver and a caller.
pub struct World {
    pub simulator: Simulator,
    pub inbox: Arc<Inbox>,
    http: Http,
}

impl World {
    pub async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        let simulator = Simulator::start(config).await.expect("simulator");
        let inbox = Arc::new(Inbox::default());
        let receiver = Router::new().route("/hook", get(challenge).post(take)).with_state(Arc::clone(&inbox));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let callback = format!("http://{}/hook", listener.local_addr().expect("address"));
        tokio::spawn(async move { axum::serve(listener, receiver).await });
        simulator.subscribe("app-1", &callback).await.expect("handshake");
        Self { simulator, inbox, http: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// A customer whose window is open.
    pub async fn talking(&self) -> Phone {
        let phone = self.simulator.customer(Customer::new(PHONE));
        phone.says(NUMBER, &Say::text("hello")).expect("says");
        self.settled().await;
        phone
    }

    pub async fn settled(&self) {
        self.simulator.settled(LONG).await.expect("settled");
    }

    /// Calls the Graph API with the right token.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        self.call_as(TOKEN, method, path, body).await
    }

    pub async fn call_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let (status, bytes) = self.raw(token, method, path, body).await.expect("an answer");
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// The same, where there may be no answer.
    pub async fn raw(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), String> {
        let base = if path.starts_with("http") { "" } else { self.simulator.base_url() };
        let mut request = axum::http::Request::builder().method(method).uri(format!("{base}{path}"));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request =
            request.header("content-type", "application/json").body(Full::new(bytes)).expect("request");
        let answer = self.http.request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok((status, bytes))
    }

    /// Sends a text to `to`.
    pub async fn text(&self, to: &str, body: &str) -> (StatusCode, Value) {
        self.send(&json!({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": body}}))
            .await
    }

    pub async fn send(&self, body: &Value) -> (StatusCode, Value) {
        self.call("POST", &format!("/v23.0/{NUMBER}/messages"), Some(body)).await
    }

    /// Bodies of the webhooks so far.
    pub fn bodies(&self) -> Vec<Value> {
        self.inbox.got.lock().iter().map(|got| serde_json::from_slice(&got.body).expect("JSON")).collect()
    }

    /// Every message and status of the webhooks so far, in the order they came.
    pub fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        for body in self.bodies() {
            for entry in array(&body, "entry") {
                for change in array(&entry, "changes") {
                    let value = change.get("value").cloned().unwrap_or_default();
                    events.extend(array(&value, "messages"));
                    events.extend(array(&value, "statuses"));
                }
            }
        }
        events
    }

    /// Names of the statuses of `wamid`, in the order they came.
    pub fn statuses(&self, wamid: &str) -> Vec<String> {
        let events = self.events();
        let of = events.iter().filter(|event| event.get("id").is_some_and(|id| id == wamid));
        of.filter_map(|event| Some(event.get("status")?.as_str()?.to_owned())).collect()
    }
}

pub fn array(value: &Value, name: &str) -> Vec<Value> {
    value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

pub fn code(answer: &(StatusCode, Value)) -> u64 {
    answer.1.pointer("/error/code").and_then(Value::as_u64).unwrap_or(0)
}

pub fn wamid(answer: &(StatusCode, Value)) -> String {
    assert_eq!(answer.0, StatusCode::OK, "{}", answer.1);
    answer.1.pointer("/messages/0/id").and_then(Value::as_str).expect("the id of a message").to_owned()
}

async fn challenge(Query(query): Query<std::collections::HashMap<String, String>>) -> (StatusCode, String) {
    if query.get("hub.verify_token").is_some_and(|token| token == "simulated-verify-token") {
        (StatusCode::OK, query.get("hub.challenge").cloned().unwrap_or_default())
    } else {
        (StatusCode::FORBIDDEN, String::new())
    }
}

async fn take(State(inbox): State<Arc<Inbox>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature =
        headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok()).unwrap_or_default();
    inbox.got.lock().push(Got { body, signature: signature.to_owned() });
    let mut answers = inbox.answers.lock();
    let status = if answers.is_empty() { 200 } else { answers.remove(0) };
    StatusCode::from_u16(status).expect("status")
}
