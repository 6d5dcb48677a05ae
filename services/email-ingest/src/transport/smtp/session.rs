//! One client's session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lifecycle::Shutdown;
use smtp_proto::Request;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tracing::Instrument;

use super::budget::Budget;
use super::data::{Content, DataReceiver, Progress, Thrown};
use super::line::{self, Line};
use super::reply::Reply;
use super::transaction::Transaction;
use super::{Limits, MailIntake, ReceivedMail};

/// Mistakes before the connection ends.
const MAX_ERRORS: u32 = 20;
/// Commands before the connection ends; a mail needs five. Nobody keeps one of our places for ever.
const MAX_COMMANDS: u32 = 100_000;
/// Longest time for the content of one mail.
const MAX_DATA: Duration = Duration::from_secs(600);
/// How much more than the limit is read, so that the client hears 552 instead of a broken connection.
const DRAIN_FACTOR: usize = 2;

/// Tells a client that there is no place for it.
pub async fn refuse(mut stream: TcpStream, limits: Arc<Limits>) {
    let text = Reply::ComeBack(limits.hostname.clone()).text();
    // The client may be gone already; nothing was promised to it.
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.write_all(text.as_bytes())).await;
}

/// Runs the session to its end.
pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: IpAddr,
    intake: Arc<dyn MailIntake>,
    limits: &Limits,
    budget: Budget,
    stop: Shutdown,
) {
    let mut session = Session {
        stream: BufReader::with_capacity(16 * 1024, stream),
        peer,
        intake,
        limits,
        budget,
        stop,
        transaction: Transaction::default(),
        errors: 0,
    };
    if session.say(&Reply::Greeting(limits.hostname.clone())).await.is_some() {
        session.converse().await;
    }
}

struct Session<'a, S> {
    stream: BufReader<S>,
    peer: IpAddr,
    intake: Arc<dyn MailIntake>,
    limits: &'a Limits,
    budget: Budget,
    stop: Shutdown,
    transaction: Transaction,
    errors: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    /// `None` ends the session: the client does not listen any more.
    async fn say(&mut self, reply: &Reply) -> Option<()> {
        let text = reply.text();
        let written = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(self.limits.idle, written).await {
            Ok(Ok(())) => Some(()),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn converse(&mut self) -> Option<()> {
        for _ in 0..MAX_COMMANDS {
            let stop = self.stop.clone();
            let line = tokio::select! {
                biased;
                () = stop.cancelled() => return self.say(&Reply::ComeBack(self.limits.hostname.clone())).await,
                line = line::read(&mut self.stream, self.limits.idle) => line,
            };
            let reply = match line {
                Line::Gone => return None,
                Line::BareLineFeed => return self.say(&Reply::BareLineFeed).await,
                Line::TooLong => Reply::LineTooLong,
                Line::Text(line) => match Request::parse(&mut line.iter()) {
                    Ok(Request::Quit) => return self.say(&Reply::Bye).await,
                    Ok(Request::Data) => self.data().await?,
                    Ok(request) => self.answer(&request),
                    Err(_) => Reply::Syntax,
                },
            };
            self.say(&reply).await?;
            self.errors += u32::from(reply.is_error());
            if self.errors > MAX_ERRORS {
                return self.say(&Reply::TooManyErrors).await;
            }
        }
        self.say(&Reply::ComeBack(self.limits.hostname.clone())).await
    }

    fn answer<T: AsRef<str>>(&mut self, request: &Request<T>) -> Reply {
        match request {
            Request::Ehlo { host } => {
                self.transaction.hello(host.as_ref());
                Reply::ExtendedHello(self.limits.hostname.clone(), self.limits.max_message_bytes)
            }
            Request::Helo { host } => {
                self.transaction.hello(host.as_ref());
                Reply::Hello(self.limits.hostname.clone())
            }
            Request::Mail { from } => {
                self.transaction.mail(from.address.as_ref(), from.size, self.limits.max_message_bytes)
            }
            Request::Rcpt { to } => {
                let accounts = self.intake.accounts();
                self.transaction.rcpt(to.address.as_ref(), accounts.as_deref())
            }
            Request::Rset => {
                self.transaction.reset();
                Reply::Reset
            }
            Request::Noop { .. } => Reply::Nothing,
            Request::Vrfy { .. } | Request::Expn { .. } => Reply::CannotVerify,
            Request::Data | Request::Quit => Reply::BadSequence,
            Request::Lhlo { .. }
            | Request::Bdat { .. }
            | Request::Auth { .. }
            | Request::Help { .. }
            | Request::Etrn { .. }
            | Request::Atrn { .. }
            | Request::Burl { .. }
            | Request::StartTls => Reply::NotImplemented,
        }
    }

    async fn data(&mut self) -> Option<Reply> {
        let (envelope_sender, recipients) = match self.transaction.data() {
            Ok(envelope) => envelope,
            Err(reply) => return Some(reply),
        };
        self.say(&Reply::SendContent).await?;
        let content = tokio::time::timeout(MAX_DATA, self.content()).await.ok()??;
        let helo = self.transaction.helo.clone();
        self.transaction.reset();
        let Content { bytes, share } = match content {
            Ok(content) => content,
            Err(Thrown::TooLarge) => return Some(Reply::TooLarge),
            Err(Thrown::NoRoom) => {
                tracing::warn!("a mail was put off: all memory for incoming mail is in use");
                return Some(Reply::NoRoom);
            }
        };
        let mail =
            ReceivedMail { raw: Bytes::from(bytes), envelope_sender, recipients, peer: self.peer, helo };
        let accepted = accept(self.intake.as_ref(), mail).await;
        drop(share);
        Some(match accepted {
            Ok(ids) => Reply::Accepted(ids),
            Err(error) => {
                error.log("accepting a mail by SMTP");
                Reply::TryLater
            }
        })
    }

    /// `None`: the client is gone.
    async fn content(&mut self) -> Option<Result<Content, Thrown>> {
        let mut receiver = DataReceiver::new(self.limits.max_message_bytes, self.budget.share());
        let drain = self.limits.max_message_bytes.saturating_mul(DRAIN_FACTOR);
        loop {
            let available =
                tokio::time::timeout(self.limits.idle, self.stream.fill_buf()).await.ok()?.ok()?;
            if available.is_empty() {
                return None;
            }
            let length = available.len();
            match receiver.take(available) {
                Progress::Done(used) => {
                    self.stream.consume(used);
                    return Some(receiver.into_content());
                }
                Progress::More => self.stream.consume(length),
            }
            if receiver.received() > drain {
                self.say(&Reply::TooLarge).await?;
                return None;
            }
        }
    }
}

/// The span whose context travels with the mail to the agent and back out.
async fn accept(intake: &dyn MailIntake, mail: ReceivedMail) -> Result<Vec<Uuid>, Error> {
    let span = tracing::info_span!(
        "email.accept",
        otel.kind = "server",
        source = "smtp",
        size = mail.raw.len(),
        accounts = mail.recipients.len(),
        millis = tracing::field::Empty,
    );
    let began = Instant::now();
    async {
        let accepted = intake.accept(mail).await;
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::Span::current().record("millis", millis);
        if let Ok(ids) = &accepted {
            tracing::info!(ledger_ids = ?ids, "mail accepted");
        }
        accepted
    }
    .instrument(span)
    .await
}
