//! Where agents' mail goes on a machine without a relay: an SMTP server (RFC 5321) on loopback that takes mail for
//! anybody, relays nothing, and writes each mail as one `.eml` file into the data folder's `outbox`.
//!
//! `Return-Path` and one `Delivered-To` per recipient stand on top, as in any mailbox. Part of the embedded stack only.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hilo_kit::lifecycle::Shutdown;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A mail of 25 MiB with its base64 overhead fits.
const MAX_MAIL: usize = 40 * 1024 * 1024;
const MAX_RECIPIENTS: usize = 100;
/// RFC 5321 4.5.3.1.4 asks for 512; parameters of extensions need more.
const MAX_COMMAND: u64 = 2048;
const MAX_CONNECTIONS: usize = 32;
/// RFC 5321 4.5.3.2.7: at least five minutes.
const IDLE: Duration = Duration::from_secs(300);

/// Serves until the shutdown begins. Every mail that was answered 250 is on disk.
pub async fn serve(listener: TcpListener, outbox: PathBuf, shutdown: Shutdown) {
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors: give the others a moment to end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let (outbox, stop) = (outbox.clone(), shutdown.clone());
        shutdown.spawn("mailbox connection", async move {
            let session = Session::new(stream, outbox);
            tokio::select! {
                ended = session.run() => if let Err(error) = ended {
                    tracing::debug!(%error, "a mailbox connection broke");
                },
                () = stop.cancelled() => {}
            }
            drop(permit);
        });
    }
}

struct Session {
    stream: BufReader<TcpStream>,
    outbox: PathBuf,
    sender: Option<String>,
    recipients: Vec<String>,
}

/// What follows an answer.
enum Next {
    Command,
    Data,
    End,
}

impl Session {
    fn new(stream: TcpStream, outbox: PathBuf) -> Self {
        Self { stream: BufReader::new(stream), outbox, sender: None, recipients: Vec::new() }
    }

    async fn run(mut self) -> std::io::Result<()> {
        self.answer("220 mailbox.hilo.example ESMTP Hilo mailbox").await?;
        loop {
            let Some(line) = self.command().await? else { return Ok(()) };
            let (answer, next) = self.handle(&line);
            self.answer(&answer).await?;
            match next {
                Next::Command => {}
                Next::Data => {
                    let answer = self.receive().await?;
                    self.answer(&answer).await?;
                }
                Next::End => return Ok(()),
            }
        }
    }

    async fn answer(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).await
    }

    /// One command line; `None` at the end of the connection, after an overlong line or a long silence.
    async fn command(&mut self) -> std::io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_COMMAND);
        let read = tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await;
        match read {
            Err(_) => Ok(None),
            Ok(Ok(_)) if line.ends_with(b"\n") => Ok(Some(String::from_utf8_lossy(&line).trim().to_owned())),
            Ok(Ok(_)) => Ok(None),
            Ok(Err(error)) => Err(error),
        }
    }

    fn handle(&mut self, line: &str) -> (String, Next) {
        let upper = line.to_ascii_uppercase();
        let verb = upper.split_whitespace().next().unwrap_or_default();
        let answer = match verb {
            "EHLO" => {
                let name = "250-mailbox.hilo.example\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-PIPELINING";
                format!("{name}\r\n250 SIZE {MAX_MAIL}")
            }
            "HELO" => "250 mailbox.hilo.example".to_owned(),
            "MAIL" => self.mail(line),
            "RCPT" => self.recipient(line),
            "DATA" if self.sender.is_none() || self.recipients.is_empty() => {
                "503 5.5.1 MAIL and RCPT first".to_owned()
            }
            "DATA" => return ("354 end with a line of one dot".to_owned(), Next::Data),
            "RSET" => {
                self.reset();
                "250 2.0.0 forgotten".to_owned()
            }
            "NOOP" => "250 2.0.0 nothing done".to_owned(),
            "QUIT" => return ("221 2.0.0 goodbye".to_owned(), Next::End),
            _ => "500 5.5.1 unknown command".to_owned(),
        };
        (answer, Next::Command)
    }

    fn mail(&mut self, line: &str) -> String {
        self.reset();
        match path_in(line) {
            Some(sender) => {
                self.sender = Some(sender);
                "250 2.1.0 sender ok".to_owned()
            }
            None => "501 5.1.7 MAIL FROM:<address> was expected".to_owned(),
        }
    }

    fn recipient(&mut self, line: &str) -> String {
        match path_in(line) {
            _ if self.sender.is_none() => "503 5.5.1 MAIL first".to_owned(),
            _ if self.recipients.len() >= MAX_RECIPIENTS => "452 4.5.3 too many recipients".to_owned(),
            Some(recipient) if recipient.contains('@') => {
                self.recipients.push(recipient);
                "250 2.1.5 recipient ok".to_owned()
            }
            Some(_) | None => "501 5.1.3 RCPT TO:<address> was expected".to_owned(),
        }
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    /// Reads up to the lone dot, undoes dot stuffing (RFC 5321 4.5.2), writes the file.
    async fn receive(&mut self) -> std::io::Result<String> {
        let mut mail = self.envelope().into_bytes();
        let mut too_large = false;
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut limited = (&mut self.stream).take(MAX_MAIL as u64);
            let read = tokio::time::timeout(IDLE, limited.read_until(b'\n', &mut line)).await;
            if read.map_err(|_| std::io::ErrorKind::TimedOut)?? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" || line == b".\n" {
                break;
            }
            too_large |= mail.len() + line.len() > MAX_MAIL;
            if !too_large {
                mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            }
        }
        self.reset();
        if too_large {
            return Ok("552 5.3.4 too large".to_owned());
        }
        let outbox = self.outbox.clone();
        let stored = tokio::task::spawn_blocking(move || store(&outbox, &mail)).await;
        match stored.map_err(std::io::Error::other).and_then(|stored| stored) {
            Ok(name) => Ok(format!("250 2.0.0 stored as {name}")),
            Err(error) => {
                tracing::warn!(%error, "a mail could not be stored in the outbox folder");
                Ok("451 4.3.0 could not be stored".to_owned())
            }
        }
    }

    fn envelope(&self) -> String {
        let mut head = format!("Return-Path: <{}>\r\n", self.sender.as_deref().unwrap_or_default());
        for recipient in &self.recipients {
            head.push_str(&format!("Delivered-To: {recipient}\r\n"));
        }
        head
    }
}

/// The address between `<` and `>`; control characters never get into the file's head.
fn path_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    path.chars().all(|character| !character.is_control()).then(|| path.to_owned())
}

/// Written beside and renamed, so that who reads the folder never sees half a mail. Names sort by time of arrival.
fn store(outbox: &Path, mail: &[u8]) -> std::io::Result<String> {
    let name = format!("{}.eml", uuid::Uuid::now_v7());
    let temporary = outbox.join(format!(".{name}.new"));
    let mut file = std::fs::File::create(&temporary)?;
    file.write_all(mail)?;
    file.sync_all()?;
    std::fs::rename(&temporary, outbox.join(&name))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn converse(script: &str) -> (String, Vec<String>) {
        let outbox = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let server = tokio::spawn(serve(listener, outbox.path().to_owned(), shutdown.clone()));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(script.as_bytes()).await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        shutdown.begin();
        server.await.unwrap();
        let files = std::fs::read_dir(outbox.path()).unwrap().flatten();
        (answers, files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect())
    }

    #[tokio::test]
    async fn a_pipelined_mail_is_stored_with_its_envelope_and_without_dot_stuffing() {
        let (answers, files) = converse(
            "EHLO me\r\nMAIL FROM:<a@hilo.example> SIZE=10\r\nRCPT TO:<b@x.example>\r\nRCPT TO:<c@x.example>\r\nDATA\r\n\
             Subject: hi\r\n\r\n..dot\r\n.\r\nQUIT\r\n",
        )
        .await;
        assert!(answers.contains("250 2.0.0 stored"), "{answers}");
        let expected = "Return-Path: <a@hilo.example>\r\nDelivered-To: b@x.example\r\nDelivered-To: c@x.example\r\n\
                        Subject: hi\r\n\r\n.dot\r\n";
        assert_eq!(files, [expected]);
    }

    #[tokio::test]
    async fn nothing_is_stored_without_an_envelope() {
        let (answers, files) =
            converse("HELO me\r\nDATA\r\nRCPT TO:<b@x.example>\r\nMAIL FROM: nobody\r\nQUIT\r\n").await;
        assert_eq!(answers.matches("503").count(), 2, "{answers}");
        assert_eq!(answers.matches("501").count(), 1, "{answers}");
        assert!(files.is_empty());
    }
}
