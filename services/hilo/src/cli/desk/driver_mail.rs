//! The mails of the desk: what is attached and whom it is copied to is gathered line by line and leaves with the next one.

use std::path::Path;

use hilo_proto::attention::v1::attachment_ref::Source;
use hilo_proto::attention::v1::{AttachmentRef, ComposeMode, SendMessageRequest};
use hilo_proto::inbound::v1::EmailAddress;

use super::{DeskCalls, Driver, Failure, render};
use crate::cli::Exit;
use crate::cli::terminal::{clean, counted};

/// What the next mail has beside its text.
#[derive(Debug, Default)]
pub(super) struct Pending {
    cc: Vec<String>,
    bcc: Vec<String>,
    files: Vec<AttachmentRef>,
    /// Types of the files, in the same order.
    types: Vec<String>,
}

/// Largest file, as the service has it.
const MAX_FILE: u64 = 25 * 1024 * 1024;

impl Pending {
    /// Types of the files that go with the next answer.
    pub(super) fn types(&self) -> &[String] {
        &self.types
    }
}

impl<C: DeskCalls> Driver<C> {
    pub(super) async fn reply(&mut self, text: &str, all: bool) -> Result<(), Failure> {
        let interaction_id = self.current_id()?;
        let whatsapp = self.content_of_files()?;
        if text.is_empty() && whatsapp.is_none() {
            let example = "reply needs a text, for instance: reply Buenos días, ...";
            return Err(Failure::invalid("TEXT_MISSING", example));
        }
        let letter =
            SendMessageRequest { text: text.to_owned(), reply_all: all, whatsapp, ..Default::default() };
        self.send(letter, "replied").await?;
        self.list.replied(&interaction_id);
        Ok(())
    }

    pub(super) async fn forward(&mut self, to: &[String], files: bool, text: &str) -> Result<(), Failure> {
        let letter = SendMessageRequest {
            text: text.to_owned(),
            to: addresses(to),
            mode: ComposeMode::Forward.into(),
            include_attachments: files,
            ..Default::default()
        };
        self.send(letter, "forwarded").await
    }

    pub(super) async fn send(&mut self, letter: SendMessageRequest, what: &str) -> Result<(), Failure> {
        let letter = SendMessageRequest {
            interaction_id: self.current_id()?,
            cc: addresses(&self.pending.cc),
            bcc: addresses(&self.pending.bcc),
            attachments: self.pending.files.clone(),
            ..letter
        };
        let message = self.calls.send(letter).await?;
        self.pending = Pending::default();
        if message.whatsapp.is_some() {
            let lines = render::message(&message);
            return lines.iter().try_for_each(|line| self.output.line(line));
        }
        let mut line = format!("{what} to {}", shown(&message.to));
        for (name, list) in [("cc", &message.cc), ("bcc", &message.bcc)] {
            if !list.is_empty() {
                line.push_str(&format!(", {name} {}", shown(list)));
            }
        }
        if !message.attachments.is_empty() {
            line.push_str(&format!(", {}", counted(message.attachments.len(), "file")));
        }
        self.output.line(format!("{line}: <{}>", clean(&message.internet_message_id)))
    }

    pub(super) fn copy(&mut self, list: Vec<String>, hidden: bool) -> Result<(), Failure> {
        self.current_id()?;
        let (name, kept) = if hidden { ("bcc", &mut self.pending.bcc) } else { ("cc", &mut self.pending.cc) };
        *kept = list;
        let text = kept.iter().map(|one| clean(one)).collect::<Vec<_>>().join(", ");
        self.output.line(format!("the next mail goes {name} to {text}"))
    }

    pub(super) async fn attach(&mut self, path: &str) -> Result<(), Failure> {
        self.current_id()?;
        let unreadable = |error: std::io::Error| {
            Failure::invalid("FILE_UNREADABLE", format!("{} cannot be read: {error}", clean(path)))
        };
        let size = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
        if size > MAX_FILE {
            return Err(Failure::invalid("FILE_TOO_LARGE", format!("a file has at most {MAX_FILE} bytes")));
        }
        let content = tokio::fs::read(path).await.map_err(unreadable)?;
        let name = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
        let upload = self.calls.upload(&name.unwrap_or_default(), content).await?;
        let source = Some(Source::UploadId(upload.upload_id));
        self.pending.types.push(upload.media_type.clone());
        self.pending.files.push(AttachmentRef { source, content_id: String::new() });
        let name = clean(&upload.file_name);
        self.output.line(format!("{name} goes with the next answer, {} bytes", upload.size_bytes))
    }

    /// Saves a file of the thread, numbered as `read` shows it; never over another one.
    pub(super) async fn download(&mut self, number: usize, to: &str) -> Result<(), Failure> {
        self.current_id()?;
        let messages = self.calls.messages(&self.attention_id()).await?;
        let mut files = messages.iter().flat_map(|message| {
            message.attachments.iter().enumerate().map(move |(index, file)| (message, index, file))
        });
        let Some((message, index, file)) = number.checked_sub(1).and_then(|skip| files.nth(skip)) else {
            return Err(Failure::new(Exit::Missing, "NO_SUCH_FILE", "there is no such file; type read"));
        };
        let name = hilo_kit::download::file_name(&file.file_name);
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        let content = self.calls.download(&message.message_id, index).await?;
        let path = if to.is_empty() { Path::new(&name).to_owned() } else { Path::new(to).to_owned() };
        let path = if path.is_dir() { path.join(&name) } else { path };
        let shown = clean(&path.to_string_lossy());
        let failed = |error: std::io::Error| {
            let why = match error.kind() {
                std::io::ErrorKind::AlreadyExists => format!("{shown} exists: download {number} OTHERNAME"),
                _ => format!("{shown} cannot be written: {error}"),
            };
            Failure::invalid("FILE_NOT_WRITTEN", why)
        };
        let mut written =
            tokio::fs::OpenOptions::new().write(true).create_new(true).open(&path).await.map_err(failed)?;
        tokio::io::AsyncWriteExt::write_all(&mut written, &content).await.map_err(failed)?;
        tokio::io::AsyncWriteExt::flush(&mut written).await.map_err(failed)?;
        self.output.line(format!("saved {shown}, {} bytes", content.len()))
    }
}

fn addresses(list: &[String]) -> Vec<EmailAddress> {
    list.iter().map(|one| EmailAddress { address: one.clone(), name: String::new() }).collect()
}

fn shown(list: &[EmailAddress]) -> String {
    list.iter().map(|one| clean(&one.address)).collect::<Vec<_>>().join(", ")
}
