//! One IMAP session: connect, log in, select, fetch what is new, wait, again.

use std::time::{Duration, Instant};

use async_imap::{Client, Session};
use hilo_kit::error::Error;
use hilo_kit::lease::{Keeper, Lease};
use hilo_proto::directory::v1::ImapSettings;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Parts;
use super::fetch::Look;
use super::troubles::Troubles;
use crate::adapter::tls;

/// Longest wait for an answer to a command.
const ANSWER: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(15);
/// A mail that is due again is not asked for more often than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(500);
/// Reason of an answer that refuses.
const REFUSED: &str = "IMAP_REFUSED";

/// Plain or encrypted.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + std::fmt::Debug + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + std::fmt::Debug + Send + Sync> Stream for T {}

pub(super) type Imap = Session<Box<dyn Stream>>;

/// A selected mailbox.
pub(super) struct Selected {
    pub account_key: String,
    pub mailbox: String,
    pub uid_validity: u32,
}

/// Runs until something fails or the lease is lost.
pub(super) async fn run(
    parts: &Parts,
    key: &str,
    settings: &ImapSettings,
    lease: &Lease,
    keeper: &Keeper,
    troubles: &mut Troubles,
) -> Result<(), Error> {
    let mut imap = log_in(parts, settings).await?;
    let mailbox = if settings.mailbox.is_empty() { "INBOX".to_owned() } else { settings.mailbox.clone() };
    let found = answered(imap.select(&mailbox)).await?;
    let uid_validity = found.uid_validity.ok_or_else(|| {
        Error::unavailable("IMAP_NO_UIDVALIDITY", "the mailbox has no UIDVALIDITY, so no lasting UIDs")
    })?;
    let selected = Selected { account_key: key.to_owned(), mailbox, uid_validity };
    let idles = answered(imap.capabilities()).await?.has_str("IDLE");
    tracing::info!(account = key, uid_validity, mails = found.exists, idles, "mailbox open");
    let mut again = false;
    loop {
        let Some(current) = keeper.current().filter(|current| current.epoch == lease.epoch) else {
            // Another replica may own the account now; it finds the cursor where it is.
            return Ok(());
        };
        let look =
            Look { parts, imap: &mut imap, selected: &selected, lease: &current, troubles, grew: false };
        // Growth that was announced during the look is looked at at once, but a server that always says so must not spin.
        again = look.new_mails().await? && !again;
        if again {
            continue;
        }
        let poll = Duration::from_secs(parts.config.poll_seconds);
        let until = troubles.next_due(Instant::now()).map_or(poll, |due| poll.min(due.max(SHORTEST_WAIT)));
        imap = wait(parts, imap, idles, keeper, until).await?;
        // What the server said meanwhile is answered by looking again.
        while imap.unsolicited_responses.try_recv().is_ok() {}
    }
}

async fn log_in(parts: &Parts, settings: &ImapSettings) -> Result<Imap, Error> {
    let password = parts.secrets.get(&settings.password_secret).await?;
    let stream = connect(parts, settings).await?;
    let mut client = Client::new(stream);
    let greeting = tokio::time::timeout(ANSWER, client.read_response()).await.map_err(|_| silent())?;
    greeting
        .map_err(|error| unavailable("no greeting").with_source(error))?
        .ok_or_else(|| unavailable("no greeting"))?;
    let logged_in = tokio::time::timeout(ANSWER, client.login(&settings.user, password.expose())).await;
    match logged_in.map_err(|_| silent())? {
        Ok(session) => Ok(session),
        Err((async_imap::error::Error::No(_) | async_imap::error::Error::Bad(_), _)) => {
            Err(Error::denied("IMAP_LOGIN_REFUSED", "the server refused user or password"))
        }
        Err((error, _)) => Err(unavailable("login failed").with_source(error)),
    }
}

async fn connect(parts: &Parts, settings: &ImapSettings) -> Result<Box<dyn Stream>, Error> {
    let port =
        u16::try_from(settings.port).map_err(|_| Error::invalid("IMAP_SETTINGS", "the port is not one"))?;
    let host = settings.host.as_str();
    let opening = async {
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match settings.security.as_str() {
            "tls" => Box::new(parts.tls.connect(tcp, host).await?),
            _ => Box::new(tcp),
        };
        Ok::<_, std::io::Error>(stream)
    };
    match settings.security.as_str() {
        "tls" => {}
        "plain" if tls::is_loopback(host) => {}
        _ => return Err(Error::invalid("IMAP_SETTINGS", "without TLS only this machine may be spoken to")),
    }
    match tokio::time::timeout(CONNECT, opening).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(unavailable("connection failed").with_source(error)),
        Err(_) => Err(unavailable("connection not in time")),
    }
}

/// Until the server says that something happened, or it is time to look anyway.
async fn wait(
    parts: &Parts,
    mut imap: Imap,
    idles: bool,
    keeper: &Keeper,
    poll: Duration,
) -> Result<Imap, Error> {
    let mut lease = keeper.watch();
    let epoch = lease.borrow_and_update().as_ref().map(|lease| lease.epoch);
    let lost = async move {
        // A closed channel is a lost lease too.
        let _ = lease.wait_for(|now| now.as_ref().map(|lease| lease.epoch) != epoch).await;
    };
    if !idles {
        tokio::select! {
            () = tokio::time::sleep(poll) => {}
            () = lost => {}
        }
        answered(imap.noop()).await?;
        return Ok(imap);
    }
    let limit = poll.min(Duration::from_secs(parts.config.idle_seconds));
    let mut idle = imap.idle();
    answered(idle.init()).await?;
    let waited = {
        let (waiting, _interrupt) = idle.wait_with_timeout(limit);
        tokio::select! {
            waited = waiting => waited.map(drop),
            () = lost => Ok(()),
        }
    };
    waited.map_err(|error| unavailable("IDLE broke").with_source(error))?;
    answered(idle.done()).await
}

/// An answer, or an error in time.
pub(super) async fn answered<T>(
    command: impl Future<Output = async_imap::error::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(ANSWER, command).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if is_answer(&error) => {
            Err(refusal("the server refused a command, or its answer cannot be read").with_source(error))
        }
        Ok(Err(error)) => Err(unavailable("a command failed").with_source(error)),
        Err(_) => Err(silent()),
    }
}

/// True for what the server said, false for what happened to the connection. An answer that cannot be parsed comes as an
/// error of kind "other", which no socket and no TLS gives.
fn is_answer(error: &async_imap::error::Error) -> bool {
    use async_imap::error::Error;
    match error {
        Error::No(_) | Error::Bad(_) | Error::Parse(_) => true,
        Error::Io(error) => error.kind() == std::io::ErrorKind::Other,
        _ => false,
    }
}

/// The server answered, and not with what was asked for.
pub(super) fn refusal(text: &'static str) -> Error {
    Error::unavailable(REFUSED, text)
}

/// True for a [`refusal`].
pub(super) fn is_refusal(error: &Error) -> bool {
    error.reason() == REFUSED
}

pub(super) fn unavailable(text: &'static str) -> Error {
    Error::unavailable("IMAP_UNAVAILABLE", text)
}

fn silent() -> Error {
    unavailable("the server did not answer in time")
}
