//! Follows WatchDesk through lost connections and expired tokens, and keeps the agent's session alive.

use std::time::Duration;

use hilo_proto::attention::v1::WatchDeskRequest;
use hilo_proto::attention::v1::watch_desk_response::Update;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::remote::RemoteDesk;
use crate::cli::installation::SignIn;
use crate::cli::session::Session;
use crate::cli::{Exit, Failure, Installation};

/// The contract's heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// WatchDesk says that it is alive every 15 s; longer silence is a dead connection.
const SILENCE: Duration = Duration::from_secs(45);
/// First and longest pause between two tries to come back.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// The channel of mails, as the contract names it.
pub const EMAIL: &str = "email";
/// The channel of WhatsApp, as the contract names it.
pub const WHATSAPP: &str = "whatsapp";

/// Who signs in.
#[derive(Clone, Debug)]
pub enum Who {
    /// As the arguments and variables of a command say, by password or token.
    Arguments(Installation, SignIn),
    /// A user with this password.
    Password {
        /// Public endpoint.
        endpoint: String,
        /// User key.
        user: String,
        /// Password.
        password: SecretString,
    },
}

impl Who {
    async fn session(&self) -> Result<Session, Failure> {
        match self {
            Self::Arguments(installation, sign_in) => Session::open(installation, sign_in).await,
            Self::Password { endpoint, user, password } => Session::login(endpoint, user, password).await,
        }
    }
}

/// What is needed to sign in again.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who, and where.
    pub who: Who,
    /// Channel watched.
    pub channel: &'static str,
}

/// What reaches the desk.
#[derive(Clone, Debug)]
pub enum News {
    /// A change of a channel's list; the first after every (re)connection is a snapshot.
    Update(&'static str, Box<Update>),
    /// The connection of a channel is lost; it is being tried again.
    Lost(&'static str, Failure),
    /// It cannot come back: signed out, or not allowed.
    Over(Failure),
}

/// Follows until nobody listens or the sign-in is refused.
pub async fn follow(login: Login, session: Session, remote: RemoteDesk, news: mpsc::Sender<News>) {
    let mut session = session;
    let mut pause = PAUSES.0;
    loop {
        let failure = match stream(&session, login.channel, &news, &mut pause).await {
            Ok(()) => return,
            Err(failure) => failure,
        };
        if failure.exit == Exit::Denied && failure.reason != "UNAUTHENTICATED" {
            let _ = news.send(News::Over(failure)).await;
            return;
        }
        if news.send(News::Lost(login.channel, failure)).await.is_err() {
            return;
        }
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            match login.who.session().await {
                Ok(fresh) => {
                    remote.replace_session(fresh.clone());
                    session = fresh;
                    break;
                }
                Err(failure) if failure.exit == Exit::Denied => {
                    let _ = news.send(News::Over(failure)).await;
                    return;
                }
                Err(_) => {}
            }
        }
    }
}

/// One WatchDesk stream; `Ok` when nobody listens any more.
async fn stream(
    session: &Session,
    channel: &'static str,
    news: &mpsc::Sender<News>,
    pause: &mut Duration,
) -> Result<(), Failure> {
    let request = session.stream_request(WatchDeskRequest { channel: channel.to_owned() });
    let silent = || Failure::unavailable("SILENT", "the desk's stream is silent");
    let mut client = session.attention();
    let opening = timeout(SILENCE, client.watch_desk(request)).await.map_err(|_| silent())?;
    let mut updates = opening?.into_inner();
    loop {
        let next = timeout(SILENCE, updates.message()).await.map_err(|_| silent())??;
        let Some(next) = next else {
            return Err(Failure::unavailable("STREAM_ENDED", "the desk's stream ended"));
        };
        *pause = PAUSES.0;
        if let Some(update) = next.update
            && news.send(News::Update(channel, Box::new(update))).await.is_err()
        {
            return Ok(());
        }
    }
}

/// Beats for ever; a failed beat is repeated soon, since the lease is only three beats long.
pub async fn heartbeats(remote: RemoteDesk) {
    loop {
        let pause = if remote.heartbeat().await.is_ok() { HEARTBEAT } else { Duration::from_secs(2) };
        tokio::time::sleep(pause).await;
    }
}
