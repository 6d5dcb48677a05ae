//! The mails that Hilo sent and the local catcher received, one `.eml` file each.

use std::path::Path;
use std::time::SystemTime;

use mail_parser::{Address, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders as _, PartType};

use super::compose::bare_id;
use crate::cli::Failure;

/// Larger files are not read.
const MAX_MAIL_BYTES: u64 = 40 * 1024 * 1024;
/// At most this many of the newest files are looked at.
const MAX_MAILS: usize = 500;

/// A received mail, as far as a customer looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Author.
    pub from: String,
    /// Where answers go, when it says so.
    pub reply_to: Option<String>,
    /// To addresses.
    pub to: Vec<String>,
    /// Cc addresses.
    pub cc: Vec<String>,
    /// Subject, decoded.
    pub subject: String,
    /// Message-ID without angle brackets.
    pub message_id: String,
    /// In-Reply-To, without angle brackets.
    pub in_reply_to: Vec<String>,
    /// References, oldest first, without angle brackets.
    pub references: Vec<String>,
    /// Plain text, decoded.
    pub text: String,
    /// HTML, decoded, when there is any.
    pub html: Option<String>,
    /// Envelope recipients, when the receiving server noted them (`Delivered-To`, `X-Envelope-To`).
    pub recipients: Vec<String>,
    /// Files that came with it, each as name, media type and size.
    pub files: Vec<String>,
}

impl Received {
    /// Parses a mail as received; `None` when it is none.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let message = MessageParser::default().parse(raw)?;
        Some(Self {
            from: addresses(message.from()).into_iter().next().unwrap_or_default(),
            reply_to: addresses(message.reply_to()).into_iter().next(),
            to: addresses(message.to()),
            cc: addresses(message.cc()),
            subject: message.subject().unwrap_or_default().to_owned(),
            message_id: message.message_id().map(bare_id).unwrap_or_default(),
            in_reply_to: ids(message.in_reply_to()),
            references: ids(message.references()),
            text: message.body_text(0).unwrap_or_default().into_owned(),
            recipients: noted_recipients(&message),
            files: message.attachments().map(file).collect(),
            html: message.html_bodies().find_map(|part| match &part.body {
                PartType::Html(html) => Some(html.clone().into_owned()),
                PartType::Text(_) | PartType::Binary(_) | PartType::InlineBinary(_) => None,
                PartType::Message(_) | PartType::Multipart(_) => None,
            }),
        })
    }

    /// Where an answer goes (RFC 5322 section 3.6.2).
    pub fn answer_to(&self) -> &str {
        self.reply_to.as_deref().unwrap_or(&self.from)
    }

    /// References of an answer: the chain so far and this mail (RFC 5322 section 3.6.4).
    pub fn references_of_answer(&self) -> Vec<String> {
        let before = if self.references.is_empty() { &self.in_reply_to } else { &self.references };
        before.iter().chain(std::iter::once(&self.message_id)).filter(|id| !id.is_empty()).cloned().collect()
    }

    /// Subject of an answer.
    pub fn subject_of_answer(&self) -> String {
        let begins = self.subject.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:"));
        if begins { self.subject.clone() } else { format!("Re: {}", self.subject) }
    }

    /// True when `address` got it: named in To or Cc, or noted by the receiving server (a blind copy is named nowhere).
    pub fn is_to(&self, address: &str) -> bool {
        self.names(address) || self.recipients.iter().any(|to| to.eq_ignore_ascii_case(address))
    }

    /// Recipients whom neither To nor Cc names.
    pub fn hidden(&self) -> Vec<&str> {
        self.recipients.iter().map(String::as_str).filter(|to| !self.names(to)).collect()
    }

    fn names(&self, address: &str) -> bool {
        self.to.iter().chain(&self.cc).any(|to| to.eq_ignore_ascii_case(address))
    }
}

fn file(part: &MessagePart<'_>) -> String {
    let kind = part.content_type().map(|kind| match kind.c_subtype.as_deref() {
        Some(subtype) => format!("{}/{subtype}", kind.c_type),
        None => kind.c_type.to_string(),
    });
    let kind = kind.unwrap_or_else(|| "application/octet-stream".to_owned());
    format!("{}, {kind}, {} bytes", part.attachment_name().unwrap_or("(no name)"), part.contents().len())
}

fn noted_recipients(message: &Message<'_>) -> Vec<String> {
    let noted = message.headers().iter().filter(|header| {
        ["delivered-to", "x-envelope-to"].iter().any(|name| header.name().eq_ignore_ascii_case(name))
    });
    noted.filter_map(|header| header.value().as_text().map(bare_id)).collect()
}

fn addresses(address: Option<&Address<'_>>) -> Vec<String> {
    address.into_iter().flat_map(Address::iter).filter_map(|one| one.address().map(str::to_owned)).collect()
}

fn ids(value: &HeaderValue<'_>) -> Vec<String> {
    value.as_text_list().into_iter().flatten().map(|id| bare_id(id)).collect()
}

/// Mails in `folder`, oldest first; with `to`, only those to that address.
///
/// # Errors
/// When the folder is there but cannot be read; a missing one is empty.
pub fn read(folder: &Path, to: Option<&str>) -> Result<Vec<Received>, Failure> {
    let mut files: Vec<(SystemTime, std::path::PathBuf)> = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Failure::invalid("OUTBOX_UNREADABLE", format!("{}: {error}", folder.display())));
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        if path.extension().is_some_and(|ending| ending == "eml") && metadata.len() <= MAX_MAIL_BYTES {
            files.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
    }
    files.sort();
    let newest = files.len().saturating_sub(MAX_MAILS);
    let raw = files.into_iter().skip(newest).filter_map(|(_, path)| std::fs::read(path).ok());
    let mails = raw.filter_map(|raw| Received::parse(&raw));
    Ok(mails.filter(|mail| to.is_none_or(|to| mail.is_to(to))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "Delivered-To: rosa@example.org\r\nFrom: Soporte <soporte@hilo.example>\r\nReply-To: soporte+abc@hilo.example\r\nTo: Rosa <rosa@example.org>\r\n\
        Subject: =?utf-8?q?Re=3A_=C2=BFD=C3=B3nde=3F?=\r\nMessage-ID: <3@hilo.example>\r\nIn-Reply-To: <2@example.org>\r\n\
        References: <1@example.org>\r\n <2@example.org>\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\nMa=C3=B1ana\r\n";

    #[test]
    fn the_answer_goes_on_where_the_thread_ends() {
        let mail = Received::parse(MAIL.as_bytes()).expect("a mail");
        assert_eq!(mail.answer_to(), "soporte+abc@hilo.example");
        assert_eq!(mail.references_of_answer(), vec!["1@example.org", "2@example.org", "3@hilo.example"]);
        assert_eq!(mail.subject_of_answer(), "Re: ¿Dónde?");
        assert_eq!(mail.text.trim(), "Mañana");
        assert_eq!(
            (mail.html.as_deref(), mail.recipients.as_slice()),
            (None, ["rosa@example.org".to_owned()].as_slice())
        );
        assert!(mail.is_to("ROSA@example.org") && !mail.is_to("otra@example.org"));
        assert!(mail.hidden().is_empty() && mail.files.is_empty());
    }

    #[test]
    fn a_blind_copy_is_found_by_its_envelope_and_files_are_named() {
        let mail = "Delivered-To: rosa@example.org\r\nDelivered-To: oculta@example.org\r\nFrom: s@hilo.example\r\nTo: rosa@example.org\r\n\
            Subject: Nota\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nVa.\r\n\
            --b\r\nContent-Type: text/plain; charset=utf-8; name=nota.txt\r\nContent-Disposition: attachment; filename=nota.txt\r\n\
            Content-Transfer-Encoding: base64\r\n\r\naG9sYQo=\r\n--b--\r\n";
        let mail = Received::parse(mail.as_bytes()).expect("a mail");
        assert!(mail.is_to("Oculta@example.org") && mail.is_to("rosa@example.org"));
        assert_eq!(mail.hidden(), ["oculta@example.org"]);
        assert_eq!(mail.files, ["nota.txt, text/plain, 5 bytes"]);
        assert_eq!(mail.text.trim(), "Va.");
    }

    #[test]
    fn the_newest_file_comes_last_and_others_are_ignored() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(read(&folder.path().join("missing"), None).expect("missing is empty").is_empty());
        for (age, name, id) in [(20, "b.eml", "old"), (10, "a.eml", "new"), (0, "c.tmp", "partial")] {
            let path = folder.path().join(name);
            std::fs::write(&path, MAIL.replace("3@hilo", &format!("{id}@hilo"))).expect("written");
            let file = std::fs::File::options().write(true).open(&path).expect("opened");
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).expect("time set");
        }
        let ids: Vec<String> =
            read(folder.path(), None).expect("read").into_iter().map(|mail| mail.message_id).collect();
        assert_eq!(ids, vec!["old@hilo.example", "new@hilo.example"]);
        assert!(read(folder.path(), Some("otra@example.org")).expect("read").is_empty());
    }
}
