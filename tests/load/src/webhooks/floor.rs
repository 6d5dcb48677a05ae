//! The floor: a listener that does nothing but check the signature over the raw body and commit it, many waiting bodies per commit, as the
//! shortest program would.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hilo_end_to_end::chat::Poster;
use hilo_simulators::{SIGNATURE_HEADER, signature};
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Bodies of one commit.
const AT_ONCE: usize = 256;
const SECRET: &str = "secret of the floor";

type Waiting = (Vec<u8>, oneshot::Sender<()>);

/// The listener; it stops when this is dropped.
pub struct Floor {
    address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl Floor {
    /// Starts it on the database at `url`, in a table of its own.
    ///
    /// # Errors
    /// When the database cannot be used, or does not commit durably.
    pub async fn start(url: &str) -> Result<Self> {
        let mut session = PgConnection::connect(url).await?;
        for setting in ["fsync", "synchronous_commit"] {
            let value: String = sqlx::query_scalar("SELECT current_setting($1)")
                .bind(setting)
                .fetch_one(&mut session)
                .await?;
            anyhow::ensure!(value == "on", "{setting} is {value}");
        }
        let table = "CREATE TABLE IF NOT EXISTS webhook_floor (id uuid PRIMARY KEY, body bytea NOT NULL)";
        sqlx::query(table).execute(&mut session).await?;
        let (sender, receiver) = mpsc::channel(4_096);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let routes = Router::new().route("/webhook", post(take)).with_state(sender);
        let serving = tokio::spawn(async move {
            let _ended = axum::serve(listener, routes).await;
        });
        Ok(Self { address, tasks: [serving, tokio::spawn(commit(session, receiver))] })
    }

    /// A poster to it.
    ///
    /// # Errors
    /// Never: its address is one.
    pub fn poster(&self) -> Result<Poster> {
        Poster::new(&format!("http://{}/webhook", self.address), SECRET).context("the floor's address")
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn take(State(sender): State<mpsc::Sender<Waiting>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let claimed = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok());
    if claimed != Some(&signature(SECRET, &body)) {
        return StatusCode::UNAUTHORIZED;
    }
    let (done, committed) = oneshot::channel();
    if sender.send((body.to_vec(), done)).await.is_err() || committed.await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    StatusCode::OK
}

async fn commit(mut session: PgConnection, mut receiver: mpsc::Receiver<Waiting>) {
    let mut batch: Vec<Waiting> = Vec::new();
    while receiver.recv_many(&mut batch, AT_ONCE).await > 0 {
        let (bodies, answers): (Vec<Vec<u8>>, Vec<oneshot::Sender<()>>) = batch.drain(..).unzip();
        let ids: Vec<uuid::Uuid> = bodies.iter().map(|_| uuid::Uuid::now_v7()).collect();
        let rows = "INSERT INTO webhook_floor (id, body) SELECT * FROM unnest($1::uuid[], $2::bytea[])";
        if sqlx::query(rows).bind(ids).bind(bodies).execute(&mut session).await.is_ok() {
            for answer in answers {
                // Who does not wait any more needs no answer.
                let _ = answer.send(());
            }
        }
    }
}
