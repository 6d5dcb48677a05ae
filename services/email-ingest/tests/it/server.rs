//! An SMTP server that is not our code path: lax about line ends, and misbehaving on request.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What happens after the final dot of the next mails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum After {
    /// Reply.
    Reply(&'static str),
    /// Close without a word; the mail was taken.
    Close,
}

/// A taken mail.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The MAIL command as it came.
    pub mail: String,
    pub recipients: Vec<String>,
    pub content: String,
}

impl Taken {
    pub fn message_id(&self) -> String {
        let line = self.content.lines().find(|line| line.starts_with("Message-ID:")).unwrap_or_default();
        line.trim_start_matches("Message-ID:").trim().to_owned()
    }

    /// The header lines, unfolded.
    pub fn head(&self) -> Vec<String> {
        let head = self.content.split("\n\n").next().unwrap_or_default();
        head.replace("\n ", " ").replace("\n\t", " ").lines().map(str::to_owned).collect()
    }

    pub fn subject(&self) -> String {
        let line = self.content.lines().find(|line| line.starts_with("Subject:")).unwrap_or_default();
        line.trim_start_matches("Subject:").trim().to_owned()
    }
}

#[derive(Default)]
struct State {
    taken: Vec<Taken>,
    after: VecDeque<After>,
    recipients: Vec<(String, &'static str)>,
    reports: bool,
}

#[derive(Clone)]
pub struct MailServer {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl MailServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(session(stream, shared.clone()));
            }
        });
        Self { port, state }
    }

    /// Queues what happens after the next final dots; then mails are taken as usual.
    pub fn after(&self, after: &[After]) {
        self.state.lock().after.extend(after);
    }

    /// Announces DSN (RFC 3461) from now on.
    pub fn reports(&self) {
        self.state.lock().reports = true;
    }

    /// Answers RCPT for this address so.
    pub fn recipient(&self, address: &str, reply: &'static str) {
        self.state.lock().recipients.push((address.to_owned(), reply));
    }

    pub fn forget_recipients(&self) {
        self.state.lock().recipients.clear();
    }

    pub fn forget_taken(&self) {
        self.state.lock().taken.clear();
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.state.lock().taken.clone()
    }
}

async fn session(stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    say(&mut stream, "220 lax").await?;
    let mut recipients = Vec::new();
    let mut mail = String::new();
    loop {
        let line = line(&mut stream).await?;
        match line.get(..4).unwrap_or_default() {
            "EHLO" => {
                let dsn = if state.lock().reports { "250-DSN\r\n" } else { "" };
                say(&mut stream, &format!("250-lax\r\n{dsn}250 8BITMIME")).await?;
            }
            "MAIL" => {
                mail.clone_from(&line);
                say(&mut stream, "250 ok").await?;
            }
            "RCPT" => {
                let address = line.trim_start_matches("RCPT TO:<").trim_end_matches('>').to_owned();
                let refused =
                    state.lock().recipients.iter().find(|(one, _)| *one == address).map(|(_, reply)| *reply);
                if refused.is_none() {
                    recipients.push(address);
                }
                say(&mut stream, refused.unwrap_or("250 ok")).await?;
            }
            "DATA" => {
                say(&mut stream, "354 go").await?;
                let mut content = String::new();
                loop {
                    let line = self::line(&mut stream).await?;
                    // Lax on purpose: a bare line feed ends a line here.
                    if line == "." {
                        break;
                    }
                    content.push_str(line.strip_prefix('.').unwrap_or(&line));
                    content.push('\n');
                }
                let mail = std::mem::take(&mut mail);
                let taken = Taken { mail, recipients: std::mem::take(&mut recipients), content };
                let after = {
                    let mut state = state.lock();
                    let after = state.after.pop_front();
                    if !matches!(after, Some(After::Reply(_))) {
                        state.taken.push(taken);
                    }
                    after
                };
                match after {
                    Some(After::Close) => return None,
                    Some(After::Reply(reply)) => say(&mut stream, reply).await?,
                    None => say(&mut stream, "250 2.0.0 queued as 1").await?,
                }
            }
            "QUIT" => return say(&mut stream, "221 bye").await,
            _ => say(&mut stream, "250 ok").await?,
        }
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line).await.ok()? == 0 {
        return None;
    }
    Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

async fn say(stream: &mut BufReader<TcpStream>, reply: &str) -> Option<()> {
    stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()
}
