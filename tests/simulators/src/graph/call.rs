//! What every Graph call goes through: faults, version, token, the answer, the record.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::config::App;
use crate::errors::GraphError;
use crate::faults::{Effect, Endpoint};
use crate::record::Request;
use crate::statuses::{self, Course};
use crate::world::{Core, World};

/// Marks an answer that must never be sent: the connection is closed instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered;

/// A Graph call on its way.
pub(crate) struct Call {
    core: Arc<Core>,
    row: Request,
    version: String,
    headers: HeaderMap,
}

/// What a call comes to.
pub(crate) enum Outcome {
    /// An answer, usually JSON.
    Answer(Response),
    /// A message was taken: its id, its course, the answer.
    Taken(String, Course, Value),
}

impl From<Value> for Outcome {
    fn from(value: Value) -> Self {
        Self::Answer(Json(value).into_response())
    }
}

impl Call {
    pub fn new(core: Arc<Core>, method: &Method, path: &str, version: &str, headers: HeaderMap) -> Self {
        let at_ms = core.world.lock().now_ms();
        let row = Request {
            seq: 0,
            at_ms,
            line: format!("{method} {path}"),
            endpoint: Endpoint::Any,
            object: String::new(),
            to: None,
            kind: None,
            opaque: None,
            body: Value::Null,
            status: None,
            code: None,
            wamid: None,
            fault: None,
        };
        Self { core, row, version: version.to_owned(), headers }
    }

    pub fn on(mut self, endpoint: Endpoint, object: &str) -> Self {
        self.row.endpoint = endpoint;
        object.clone_into(&mut self.row.object);
        self
    }

    pub fn row(&mut self) -> &mut Request {
        &mut self.row
    }

    /// Lets the faults have their say, then `act`, and answers.
    pub async fn run<F>(mut self, act: F) -> Response
    where
        F: FnOnce(&mut World, &App) -> Result<Outcome, GraphError>,
    {
        let fault =
            self.core.world.lock().faults.take(self.row.endpoint, &self.row.object, self.row.to.as_deref());
        self.row.fault = fault.as_ref().map(name);
        match &fault {
            Some(Effect::Answer { http, body }) => return self.raw(*http, body.clone()),
            Some(Effect::HangBefore { ms }) => return self.hang(*ms).await,
            Some(Effect::Refuse { code, http, details }) => {
                let mut error =
                    details.as_ref().map_or_else(|| GraphError::plain(*code), |d| GraphError::new(*code, d));
                error.http = http.unwrap_or(error.http);
                return self.refuse(&error);
            }
            _ => {}
        }
        let outcome = {
            let mut world = self.core.world.lock();
            self.caller(&world).and_then(|app| act(&mut world, &app))
        };
        match outcome {
            Err(error) => {
                self.wait(fault.as_ref()).await;
                self.refuse(&error)
            }
            Ok(Outcome::Answer(answer)) => self.finish(answer, fault.as_ref()).await,
            Ok(Outcome::Taken(wamid, course, value)) => {
                let course = match &fault {
                    Some(Effect::Silent | Effect::HangAfter { statuses: false, .. }) => Course::Silent,
                    Some(Effect::FailLater { code, ms }) => Course::Fails(GraphError::plain(*code), *ms),
                    _ => course,
                };
                statuses::begin(&self.core, &wamid, course);
                self.row.wamid = Some(wamid);
                self.finish(Json(value).into_response(), fault.as_ref()).await
            }
        }
    }

    async fn wait(&self, fault: Option<&Effect>) {
        if let Some(Effect::Slow { ms }) = fault {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
        }
    }

    async fn finish(mut self, answer: Response, fault: Option<&Effect>) -> Response {
        if let Some(Effect::HangAfter { ms, .. }) = fault {
            return self.hang(*ms).await;
        }
        self.wait(fault).await;
        self.row.status = Some(answer.status().as_u16());
        self.core.world.lock().record.request(self.row);
        answer
    }

    async fn hang(self, ms: u64) -> Response {
        // Recorded before the wait: who looks for evidence need not outlast the hang.
        self.core.world.lock().record.request(self.row);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let mut answer = StatusCode::SERVICE_UNAVAILABLE.into_response();
        answer.extensions_mut().insert(Unanswered);
        answer
    }

    fn raw(mut self, http: u16, body: String) -> Response {
        self.row.status = Some(http);
        self.core.world.lock().record.request(self.row);
        (StatusCode::from_u16(http).unwrap_or(StatusCode::BAD_GATEWAY), body).into_response()
    }

    fn refuse(mut self, error: &GraphError) -> Response {
        self.row.status = Some(error.http);
        self.row.code = Some(error.code);
        self.core.world.lock().record.request(self.row);
        error.answer(&trace())
    }

    /// The app whose token the call carries.
    fn caller(&self, world: &World) -> Result<App, GraphError> {
        if !known_version(&self.version) {
            return Err(GraphError::new(2500, format!("Unknown path components: /{}", self.version)));
        }
        let carried = self.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(token) = carried.and_then(|value| value.strip_prefix("Bearer ")) else {
            return Err(GraphError::new(190, "An access token is required to request this resource."));
        };
        let app =
            world.apps.iter().find(|app| app.access_token.as_bytes().ct_eq(token.trim().as_bytes()).into());
        app.cloned().ok_or_else(|| GraphError::plain(190))
    }
}

/// `v` and two numbers; the download address has no version and passes an empty one.
fn known_version(version: &str) -> bool {
    let numbers = version.strip_prefix('v').and_then(|rest| rest.split_once('.'));
    version.is_empty()
        || numbers.is_some_and(|(major, minor)| major.parse::<u8>().is_ok() && minor.parse::<u8>().is_ok())
}

/// A trace id as Meta's answers carry it.
pub(crate) fn trace() -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 17]>())
}

fn name(effect: &Effect) -> String {
    match effect {
        Effect::Refuse { code, .. } => format!("refuse {code}"),
        Effect::Answer { http, .. } => format!("answer {http}"),
        Effect::HangBefore { .. } => "hang_before".to_owned(),
        Effect::HangAfter { statuses: true, .. } => "hang_after".to_owned(),
        Effect::HangAfter { statuses: false, .. } => "hang_after, silent".to_owned(),
        Effect::Slow { .. } => "slow".to_owned(),
        Effect::FailLater { code, .. } => format!("fail_later {code}"),
        Effect::Silent => "silent".to_owned(),
    }
}
