//! A stand-in for the Graph API: it writes down what it gets and answers as it is told, by default with a new id each time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What one request is answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A new id.
    Accept,
    /// Meta's error with this code.
    Code(u16, i32),
    /// A page without Meta's error.
    Page(u16),
    /// An answer after so long, or never when the caller is gone.
    Late(Duration),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub token: String,
    pub body: Value,
    pub at: Instant,
    pub wamid: String,
}

#[derive(Default)]
struct Inner {
    seen: Vec<Seen>,
    answers: VecDeque<Answer>,
}

#[derive(Clone, Default)]
pub struct Graph(Arc<Mutex<Inner>>);

impl Graph {
    /// Serves; answers its base address.
    pub async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router =
            Router::new().route("/{version}/{number}/messages", post(messages)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        base
    }

    /// The answers of the next requests, in order.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.0.lock().answers.extend(answers);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.0.lock().seen.clone()
    }
}

async fn messages(
    State(graph): State<Graph>,
    Path((version, number)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let wamid = format!("wamid.{}", uuid::Uuid::now_v7());
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let answer = {
        let mut inner = graph.0.lock();
        inner.seen.push(Seen {
            path: format!("/{version}/{number}/messages"),
            token: token.to_owned(),
            body: body.clone(),
            at: Instant::now(),
            wamid: wamid.clone(),
        });
        inner.answers.pop_front().unwrap_or(Answer::Accept)
    };
    let accepted = json!({ "messaging_product": "whatsapp", "messages": [{ "id": wamid }] });
    let status = |code: u16| StatusCode::from_u16(code).unwrap();
    match answer {
        Answer::Accept => (StatusCode::OK, Json(accepted)),
        Answer::Code(http, code) => (
            status(http),
            Json(json!({ "error": { "code": code, "message": "m", "error_data": { "details": "d" } } })),
        ),
        Answer::Page(http) => (status(http), Json(json!({ "page": "not of Meta" }))),
        Answer::Late(wait) => {
            tokio::time::sleep(wait).await;
            (StatusCode::OK, Json(accepted))
        }
    }
}
