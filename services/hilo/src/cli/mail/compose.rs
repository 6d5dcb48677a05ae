//! Builds a customer's mail (RFC 5322, MIME) with lettre, from the arguments of `hilo mail send` or of an answer.

use lettre::Message;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Attachment, Body, Mailbox, MultiPart, SinglePart};
use uuid::Uuid;

use crate::cli::Failure;

/// What is to be sent.
#[derive(Clone, Debug, Default)]
pub struct Letter {
    /// `address` or `Name <address>`.
    pub from: String,
    /// Recipients, at least one.
    pub to: Vec<String>,
    /// Copies.
    pub cc: Vec<String>,
    /// Subject.
    pub subject: String,
    /// Plain text; any line ending.
    pub text: String,
    /// HTML beside it.
    pub html: Option<String>,
    /// Attachments.
    pub files: Vec<File>,
    /// References chain, oldest first, with or without angle brackets; the last one is answered.
    pub references: Vec<String>,
}

/// An attachment.
#[derive(Clone, Debug)]
pub struct File {
    /// Name shown.
    pub name: String,
    /// Media type.
    pub media_type: &'static str,
    /// Content.
    pub content: Vec<u8>,
}

/// A mail ready to be handed in.
#[derive(Debug)]
pub struct Composed {
    /// MAIL FROM and RCPT TO.
    pub envelope: Envelope,
    /// The mail with CRLF line ends.
    pub raw: Vec<u8>,
    /// Message-ID without angle brackets.
    pub message_id: String,
}

/// Builds the mail; its Message-ID is new and lies in the sender's domain.
///
/// # Errors
/// `BAD_ADDRESS` when an address is none, `BAD_MAIL` when the parts do not make a mail.
pub fn compose(letter: &Letter) -> Result<Composed, Failure> {
    let from = mailbox(&letter.from)?;
    let message_id = format!("{}@{}", Uuid::now_v7().simple(), from.email.domain());
    let mut builder =
        Message::builder().message_id(Some(format!("<{message_id}>"))).date_now().subject(&letter.subject);
    builder = builder.from(from);
    for to in &letter.to {
        builder = builder.to(mailbox(to)?);
    }
    for cc in &letter.cc {
        builder = builder.cc(mailbox(cc)?);
    }
    let chain: Vec<String> = letter.references.iter().map(|id| format!("<{}>", bare_id(id))).collect();
    if let Some(last) = chain.last() {
        builder = builder.in_reply_to(last.clone()).references(chain.join(" "));
    }
    let message = match body(letter)? {
        Parts::Single(part) => builder.singlepart(part),
        Parts::Multi(parts) => builder.multipart(parts),
    };
    let message = message.map_err(|error| Failure::invalid("BAD_MAIL", error.to_string()))?;
    Ok(Composed { envelope: message.envelope().clone(), raw: message.formatted(), message_id })
}

enum Parts {
    Single(SinglePart),
    Multi(MultiPart),
}

fn body(letter: &Letter) -> Result<Parts, Failure> {
    let text = SinglePart::plain(crlf(&letter.text));
    let content = match &letter.html {
        None => Parts::Single(text),
        Some(html) => {
            Parts::Multi(MultiPart::alternative().singlepart(text).singlepart(SinglePart::html(crlf(html))))
        }
    };
    if letter.files.is_empty() {
        return Ok(content);
    }
    let mut mixed = match content {
        Parts::Single(part) => MultiPart::mixed().singlepart(part),
        Parts::Multi(part) => MultiPart::mixed().multipart(part),
    };
    for file in &letter.files {
        let kind = ContentType::parse(file.media_type)
            .map_err(|error| Failure::invalid("BAD_MAIL", error.to_string()))?;
        // Base64 whatever it holds: lettre would send text files as they are, bare line feeds included.
        let content = Body::new_with_encoding(file.content.clone(), ContentTransferEncoding::Base64);
        let content =
            content.map_err(|_| Failure::invalid("BAD_MAIL", format!("{} cannot be attached", file.name)))?;
        mixed = mixed.singlepart(Attachment::new(file.name.clone()).body(content, kind));
    }
    Ok(Parts::Multi(mixed))
}

/// Bare line feeds and carriage returns must not reach an SMTP dialogue (RFC 5321 section 2.3.8, RUSTSEC-2026-0561).
fn crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
}

/// A Message-ID without angle brackets and white space.
pub fn bare_id(id: &str) -> String {
    id.chars().filter(|c| !matches!(c, '<' | '>') && !c.is_whitespace() && !c.is_control()).collect()
}

fn mailbox(text: &str) -> Result<Mailbox, Failure> {
    text.parse().map_err(|_| {
        let shown = crate::cli::terminal::clean(text);
        Failure::invalid(
            "BAD_ADDRESS",
            format!("{shown:?} is not an address such as ana@example.org or Ana <ana@example.org>"),
        )
    })
}

/// Media type by the ending of a file's name, as IANA registers them; bytes when it is not one of the common ones.
pub fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "txt" => "text/plain; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "html" | "htm" => "text/html; charset=utf-8",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        "xml" => "application/xml",
        "zip" => "application/zip",
        "doc" => "application/msword",
        "xls" => "application/vnd.ms-excel",
        "ppt" => "application/vnd.ms-powerpoint",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "odt" => "application/vnd.oasis.opendocument.text",
        "ods" => "application/vnd.oasis.opendocument.spreadsheet",
        "mp3" => "audio/mpeg",
        "ogg" => "audio/ogg",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter {
            from: "Rosa Núñez <rosa@example.org>".to_owned(),
            to: vec!["soporte@hilo.example".to_owned()],
            subject: "¿Dónde está mi pedido?".to_owned(),
            text: "Señores:\nno llegó.\r\nGracias".to_owned(),
            ..Letter::default()
        }
    }

    #[test]
    fn an_answer_names_the_whole_chain() {
        let letter = Letter { references: vec!["<1@a>".to_owned(), "2@b".to_owned()], ..letter() };
        let composed = compose(&letter).expect("a mail");
        let raw = String::from_utf8(composed.raw).expect("ascii");
        assert!(raw.contains("In-Reply-To: <2@b>\r\n"), "{raw}");
        assert!(raw.contains("References: <1@a> <2@b>\r\n"), "{raw}");
        assert!(raw.contains(&format!("Message-ID: <{}>\r\n", composed.message_id)), "{raw}");
        assert!(composed.message_id.ends_with("@example.org"));
    }

    #[test]
    fn no_bare_line_feed_leaves() {
        let file =
            File {
                name: "ñ.bin".to_owned(), media_type: media_type("ñ.bin"), content: b"a\nb\rc".to_vec()
            };
        let letter = Letter { html: Some("<p>á\n</p>\r".to_owned()), files: vec![file], ..letter() };
        let raw = compose(&letter).expect("a mail").raw;
        let text = String::from_utf8_lossy(&raw).replace("\r\n", "");
        assert!(!text.contains('\n') && !text.contains('\r'));
    }

    #[test]
    fn common_endings_have_their_media_type() {
        for (name, expected) in [
            ("nota.TXT", "text/plain; charset=utf-8"),
            ("informe.v2.pdf", "application/pdf"),
            ("hoja.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
            ("sin-final", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name), expected, "{name:?}");
            assert!(ContentType::parse(media_type(name)).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_wrong_address_is_named() {
        let letter = Letter { to: vec!["nadie".to_owned()], ..letter() };
        let failure = compose(&letter).expect_err("no address");
        assert_eq!(failure.reason, "BAD_ADDRESS");
        assert!(failure.message.contains("nadie"));
    }

    #[test]
    fn header_injection_by_references_is_impossible() {
        let letter = Letter { references: vec!["<1@a>\r\nBcc: x@y".to_owned()], ..letter() };
        let raw = compose(&letter).expect("a mail").raw;
        assert!(!String::from_utf8_lossy(&raw).contains("\r\nBcc"));
    }
}
