//! An agent of the demo: a gRPC client on the public endpoint with its WatchDesk stream, as an agent's frontend is.

use std::sync::Arc;
use std::time::Duration;

use hilo_proto::attention::v1::{Attention, DeskItem, GetAttentionRequest};
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::clock::until;
use crate::cli::desk::list::DeskList;
use crate::cli::desk::remote::RemoteDesk;
use crate::cli::desk::watch::{self, Login, News, Who};
use crate::cli::session::Session;
use crate::cli::{Exit, Failure};

/// A signed-in agent.
#[derive(Debug)]
pub struct Agent {
    /// User key.
    pub key: String,
    /// The calls of the desk.
    pub desk: RemoteDesk,
    list: Arc<Mutex<DeskList>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Agent {
    /// Signs in, says that it is present, and waits for the first snapshot of its stream.
    ///
    /// # Errors
    /// When one of them does not succeed in time.
    pub async fn sign_in(
        endpoint: &str,
        key: &str,
        password: &SecretString,
        limit: Duration,
    ) -> Result<Self, Failure> {
        // The directory has just changed: an agent may be known a moment later.
        let session = until(limit, "an agent can sign in", || async {
            match Session::login(endpoint, key, password).await {
                Ok(session) => Ok(Some(session)),
                Err(failure) if failure.exit == Exit::Denied && failure.reason != "SIGN_IN_ELSEWHERE" => {
                    Ok(None)
                }
                Err(failure) => Err(failure),
            }
        });
        let session = session.await?;
        let desk = RemoteDesk::new(session.clone());
        until(limit, "routing takes a heartbeat", || async { desk.heartbeat().await.map(Some) }).await?;
        let channels = [watch::EMAIL, watch::WHATSAPP];
        let list = Arc::new(Mutex::new(DeskList::of(channels.len())));
        let (news_tx, news) = mpsc::channel(256);
        let mut tasks =
            vec![tokio::spawn(watch::heartbeats(desk.clone())), tokio::spawn(keep(news, list.clone()))];
        for channel in channels {
            let (endpoint, user, password) = (endpoint.to_owned(), key.to_owned(), password.clone());
            let login = Login { who: Who::Password { endpoint, user, password }, channel };
            tasks.push(tokio::spawn(watch::follow(login, session.clone(), desk.clone(), news_tx.clone())));
        }
        let agent = Self { key: key.to_owned(), desk, list, tasks };
        agent.until(limit, "WatchDesk sends a snapshot", |list| list.is_complete().then_some(())).await?;
        Ok(agent)
    }

    /// Waits until the agent's list, as its stream told it, shows something.
    ///
    /// # Errors
    /// `NOT_IN_TIME`.
    pub async fn until<T>(
        &self,
        limit: Duration,
        what: &str,
        look: impl Fn(&DeskList) -> Option<T>,
    ) -> Result<T, Failure> {
        until(limit, what, || {
            let found = look(&self.list.lock());
            async move { Ok(found) }
        })
        .await
    }

    /// The item of a subject that fits, as the stream told it last.
    pub fn item(&self, fits: impl Fn(&DeskItem) -> bool) -> Option<DeskItem> {
        self.list.lock().items().find(|item| fits(item)).cloned()
    }

    /// The attention as attention-state answers now.
    ///
    /// # Errors
    /// When it is not visible to the agent.
    pub async fn attention(&self, attention_id: &str) -> Result<Attention, Failure> {
        let session = self.desk.session();
        let request = session.request(GetAttentionRequest { attention_id: attention_id.to_owned() });
        let answer = session.attention().get_attention(request).await?.into_inner();
        answer
            .attention
            .ok_or_else(|| Failure::new(Exit::Failed, "INCOMPLETE_ANSWER", "the answer holds no attention"))
    }

    /// Leaves.
    pub async fn leave(self) {
        for task in &self.tasks {
            task.abort();
        }
        let _ = tokio::time::timeout(Duration::from_secs(2), self.desk.leave()).await;
    }
}

async fn keep(mut news: mpsc::Receiver<News>, list: Arc<Mutex<DeskList>>) {
    while let Some(item) = news.recv().await {
        match item {
            News::Update(channel, update) => {
                list.lock().apply(channel, *update);
            }
            News::Lost(..) => {}
            News::Over(_) => return,
        }
    }
}
