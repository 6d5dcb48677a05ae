//! The simulator's control API, as far as a phone needs it.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::cli::terminal::clean;
use crate::cli::{Exit, Failure};

/// Most bytes of an answer: a chat of a thousand messages.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A simulator that is running somewhere on this machine.
#[derive(Debug)]
pub(crate) struct Simulator {
    base: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Simulator {
    pub fn at(url: &str) -> Self {
        let base = format!("{}/sim", url.trim_end_matches('/'));
        Self { base, http: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// GET; `None` for what does not exist.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.call("GET", path, Bytes::new()).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            answer => good(answer).map(Some),
        }
    }

    /// POST.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        good(self.call("POST", path, Bytes::from(body.to_string())).await?)
    }

    /// What both sides wrote, oldest first; `None` for a customer nobody knows.
    pub async fn chat(&self, who: &str) -> Result<Option<Vec<Value>>, Failure> {
        let rows = self.get(&format!("/customers/{}/messages", segment(who))).await?;
        Ok(rows.map(|rows| rows.as_array().cloned().unwrap_or_default()))
    }

    /// Sends, and gives the id of the message.
    pub async fn say(&self, who: &str, number: Option<&str>, said: &Value) -> Result<String, Failure> {
        let number = number.map(|number| format!("?number={}", segment(number))).unwrap_or_default();
        let answer = self.post(&format!("/customers/{}/messages{number}", segment(who)), said).await?;
        Ok(answer.get("wamid").and_then(Value::as_str).unwrap_or_default().to_owned())
    }

    /// Opens the chat.
    pub async fn read(&self, who: &str) -> Result<(), Failure> {
        self.post(&format!("/customers/{}/read", segment(who)), &json!({})).await.map(drop)
    }

    async fn call(&self, method: &str, path: &str, body: Bytes) -> Result<(StatusCode, Value), Failure> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| Failure::invalid("SIMULATOR_IS_NO_URL", "--simulator must be a URL"))?;
        let asking = async {
            let answer = self.http.request(request).await.ok()?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.ok()?.to_bytes();
            Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
        };
        tokio::time::timeout(PATIENCE, asking).await.ok().flatten().ok_or_else(|| {
            let whom = format!("no simulator answers at {}; `hilo run` starts one", clean(&self.base));
            Failure::unavailable("NOBODY_ANSWERS", whom)
        })
    }
}

/// The answer, or the refusal in the simulator's words.
fn good((status, body): (StatusCode, Value)) -> Result<Value, Failure> {
    if status.is_success() {
        return Ok(body);
    }
    let said = body.get("error").and_then(Value::as_str).unwrap_or("without a reason");
    let (exit, reason) = match status {
        StatusCode::NOT_FOUND => (Exit::Missing, "NOT_FOUND"),
        status if status.is_client_error() => (Exit::Invalid, "REFUSED"),
        _ => (Exit::Failed, "SIMULATOR_FAILED"),
    };
    Err(Failure::new(exit, reason, format!("the simulator answered {}: {}", status.as_u16(), clean(said))))
}

/// One part of a path or a query.
fn segment(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
