//! The far end of outgoing mail: aiosmtpd, an SMTP server that is not our code, which files every mail in a Maildir.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hilo_test_support::{Launch, Process, free_port};

/// A running server with its Maildir.
#[derive(Debug)]
pub struct Sink {
    /// Port it listens on.
    pub port: u16,
    maildir: PathBuf,
    _process: Process,
}

/// A mail as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Message-ID without angle brackets.
    pub message_id: String,
    /// In-Reply-To without angle brackets.
    pub in_reply_to: Option<String>,
    /// References, oldest first.
    pub references: Vec<String>,
    /// Where an answer goes: Reply-To, else From.
    pub reply_address: String,
    /// From address.
    pub from: String,
    /// Envelope recipients as the server noted them.
    pub recipients: String,
    /// Subject.
    pub subject: String,
    /// Text body.
    pub text: String,
    /// The whole mail as it arrived.
    pub raw: Vec<u8>,
}

impl Sink {
    /// Starts aiosmtpd with its own Mailbox handler in `folder`.
    ///
    /// # Errors
    /// When Python's environment is missing or the server does not come up within a minute.
    pub async fn start(folder: &Path) -> Result<Self> {
        let maildir = folder.join("outgoing-maildir");
        let port = free_port();
        let maildir_path = maildir.display().to_string();
        let address = format!("127.0.0.1:{port}");
        let arguments =
            ["-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Mailbox", &maildir_path, "-l", &address];
        let launch = Launch {
            program: crate::binary::python_tool("python")?,
            arguments: arguments.iter().map(Into::into).collect(),
            log: folder.join("sink.log"),
            ..Launch::default()
        };
        let sink = Self { port, maildir, _process: launch.spawn()? };
        let started = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            anyhow::ensure!(started.elapsed() < Duration::from_secs(60), "aiosmtpd did not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(sink)
    }

    /// Everything that has arrived.
    ///
    /// # Errors
    /// When the Maildir cannot be read.
    pub fn received(&self) -> Result<Vec<Received>> {
        let folder = self.maildir.join("new");
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        paths.sort();
        paths.iter().map(|path| parse(&std::fs::read(path)?)).collect()
    }

    /// How many have arrived, without reading them.
    ///
    /// # Errors
    /// When the Maildir cannot be read.
    pub fn count(&self) -> Result<usize> {
        let folder = self.maildir.join("new");
        Ok(if folder.exists() { std::fs::read_dir(folder)?.count() } else { 0 })
    }

    /// Waits until a mail fits.
    ///
    /// # Errors
    /// When none has arrived before the deadline.
    pub async fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        fits: impl Fn(&Received) -> bool,
    ) -> Result<Received> {
        let started = Instant::now();
        loop {
            if let Some(found) = self.received()?.into_iter().find(|mail| fits(mail)) {
                return Ok(found);
            }
            anyhow::ensure!(started.elapsed() < deadline, "no such mail arrived in {deadline:?}: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn parse(raw: &[u8]) -> Result<Received> {
    let mail =
        mail_parser::MessageParser::default().parse(raw).context("the received mail does not parse")?;
    let ids = |value: &mail_parser::HeaderValue<'_>| -> Vec<String> {
        value.as_text_list().map(|list| list.iter().map(ToString::to_string).collect()).unwrap_or_default()
    };
    let address = |address: Option<&mail_parser::Address<'_>>| -> Option<String> {
        address.and_then(|list| list.first()).and_then(|first| first.address()).map(str::to_owned)
    };
    let from = address(mail.from()).context("From")?;
    Ok(Received {
        message_id: mail.message_id().context("Message-ID")?.to_owned(),
        in_reply_to: ids(mail.in_reply_to()).into_iter().next(),
        references: ids(mail.references()),
        reply_address: address(mail.reply_to()).unwrap_or_else(|| from.clone()),
        from,
        recipients: mail.header_raw("X-RcptTo").unwrap_or_default().trim().to_owned(),
        subject: mail.subject().unwrap_or_default().to_owned(),
        text: mail.body_text(0).unwrap_or_default().into_owned(),
        raw: raw.to_vec(),
    })
}
