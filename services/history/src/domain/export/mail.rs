//! A stored message as a mail file (RFC 5322, MIME). It is built anew from what is stored: the sanitised HTML, the text,
//! the files; the raw mail stays with the channel service.
//!
//! Every body is base64, so no line of it can be a boundary or an mbox separator.

use super::mime;
use crate::domain::Thread;
use crate::domain::thread::{Attachment, Message};

/// A piece of a mail in order. Files are named, not held, so that writing one needs the memory of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is, lines ending with CRLF.
    Text(String),
    /// The content of a file as base64 lines.
    File(Attachment),
}

/// The pieces of a message. `html` is the HTML to write, sanitised by the caller; empty when there is none. `missing` are
/// names of files whose content is not there any more.
pub fn pieces(thread: &Thread, message: &Message, html: &str, missing: &[String]) -> Vec<Piece> {
    let mixed = boundary(message, "mixed");
    let mut head = headers(thread, message);
    for name in missing {
        head.push_str(&format!("X-Hilo-Missing-File: {}\r\n", mime::text(name)));
    }
    if message.attachments.is_empty() {
        head.push_str(&body(message, html));
        return vec![Piece::Text(head)];
    }
    head.push_str(&format!("Content-Type: multipart/mixed; boundary=\"{mixed}\"\r\n\r\n--{mixed}\r\n"));
    head.push_str(&body(message, html));
    let mut pieces = vec![Piece::Text(head)];
    for file in &message.attachments {
        pieces.push(Piece::Text(format!("--{mixed}\r\n{}", file_head(file))));
        pieces.push(Piece::File(file.clone()));
    }
    pieces.push(Piece::Text(format!("--{mixed}--\r\n")));
    pieces
}

/// Name of a message's file: attention, interaction, place in the thread.
pub fn file_name(thread: &Thread, place: usize) -> String {
    format!("{}-{}-{place:04}.eml", thread.head.attention_number, thread.head.ordinal)
}

/// The line that begins a mail in an mbox file (RFC 4155), without its end.
pub fn separator(message: &Message) -> String {
    format!("From {} {}", mime::address(&message.from.address), mime::asctime(message.occurred_at))
}

fn headers(thread: &Thread, message: &Message) -> String {
    let list = |all: &[crate::domain::thread::Mailbox]| {
        all.iter().map(|one| mime::mailbox(&one.name, &one.address)).collect::<Vec<_>>().join(",\r\n ")
    };
    let mut lines = vec![
        format!("Date: {}", mime::date(message.occurred_at)),
        format!("From: {}", mime::mailbox(&message.from.name, &message.from.address)),
    ];
    if !message.to.is_empty() {
        lines.push(format!("To: {}", list(&message.to)));
    }
    if !message.cc.is_empty() {
        lines.push(format!("Cc: {}", list(&message.cc)));
    }
    lines.push(format!("Subject: {}", mime::text(&message.subject)));
    lines.extend(mime::id(&message.internet_message_id).map(|id| format!("Message-ID: {id}")));
    lines.push(format!("X-Hilo-Attention: {}", thread.head.attention_number));
    lines.push(format!("X-Hilo-Interaction: {}", thread.head.interaction_id));
    lines.push("MIME-Version: 1.0".to_owned());
    lines.join("\r\n") + "\r\n"
}

/// Headers and content of the readable part.
fn body(message: &Message, html: &str) -> String {
    if html.is_empty() {
        return leaf("text/plain", &message.text);
    }
    if message.text.is_empty() {
        return leaf("text/html", html);
    }
    let inner = boundary(message, "alternative");
    format!(
        "Content-Type: multipart/alternative; boundary=\"{inner}\"\r\n\r\n--{inner}\r\n{}--{inner}\r\n{}--{inner}--\r\n",
        leaf("text/plain", &message.text),
        leaf("text/html", html),
    )
}

fn leaf(kind: &str, text: &str) -> String {
    format!(
        "Content-Type: {kind}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n",
        mime::base64_lines(text.as_bytes())
    )
}

fn file_head(file: &Attachment) -> String {
    let disposition = if file.inline { "inline" } else { "attachment" };
    let mut head = format!(
        "Content-Type: {}\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: {disposition};\r\n {}\r\n",
        mime::media_type(&file.media_type),
        mime::file_name(&file.file_name),
    );
    if let Some(id) = mime::id(&file.content_id) {
        head.push_str(&format!("Content-ID: {id}\r\n"));
    }
    head + "\r\n"
}

fn boundary(message: &Message, kind: &str) -> String {
    format!("hilo-{}-{kind}", message.id.uuid().simple())
}

#[cfg(test)]
mod tests {
    use mail_parser::MimeHeaders;

    use super::*;
    use crate::domain::thread::{Mailbox, samples};

    fn whole(pieces: &[Piece], content: &[u8]) -> String {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::File(_) => mime::base64_lines(content),
            })
            .collect()
    }

    #[test]
    fn another_reader_finds_everything_where_it_belongs() {
        let mut message = samples::message("Hola, ¿qué tal?\nFrom aquí\n.\n");
        message.subject = "Reclamación n.º 7 – “urgente”".into();
        message.from.name = "Núñez, Ana \"la jefa\"".into();
        message.cc = vec![Mailbox { address: "a@b.pe".into(), name: "José".into() }];
        message.internet_message_id = "x.y@ejemplo.pe".into();
        message.attachments = vec![Attachment {
            sha256: String::new(),
            file_name: "año nuevo.pdf".into(),
            media_type: "application/pdf".into(),
            size_bytes: 3,
            content_id: String::new(),
            inline: false,
        }];
        let thread = samples::thread(1, vec![message.clone()]);
        let text = whole(&pieces(&thread, &message, "<b>Hola</b>", &["foto.png".into()]), &[1, 2, 3]);
        assert!(text.split("\r\n").all(|line| !line.contains('\n') && line.len() <= 998));
        assert!(text.lines().all(|line| !line.starts_with("From ")));
        let read = mail_parser::MessageParser::default().parse(text.as_bytes()).unwrap();
        assert_eq!(read.subject(), Some(message.subject.as_str()));
        let from = read.from().and_then(|from| from.first()).unwrap();
        assert_eq!((from.name(), from.address()), (Some(message.from.name.as_str()), Some("ana@ejemplo.pe")));
        assert_eq!(read.cc().and_then(|cc| cc.first()).and_then(|one| one.name()), Some("José"));
        assert_eq!(read.message_id(), Some("x.y@ejemplo.pe"));
        assert_eq!(read.body_text(0).as_deref(), Some(message.text.as_str()));
        assert_eq!(read.body_html(0).as_deref(), Some("<b>Hola</b>"));
        let file = read.attachment(0).unwrap();
        assert_eq!((file.attachment_name(), file.contents()), (Some("año nuevo.pdf"), [1, 2, 3].as_slice()));
    }

    #[test]
    fn hostile_names_and_subjects_add_no_header() {
        let mut message = samples::message("x");
        message.subject = "a\r\nBcc: victima@ejemplo.pe\r\n\r\n<script>".into();
        message.from = Mailbox { address: "a@b.pe>\r\nX-Evil: 1".into(), name: "x\nBcc: y@z".into() };
        message.internet_message_id = "x\r\nX-Evil: 2".into();
        let thread = samples::thread(1, vec![message.clone()]);
        let text = whole(&pieces(&thread, &message, "", &["a\r\nX-Evil: 3".into()]), &[]);
        let read = mail_parser::MessageParser::default().parse(text.as_bytes()).unwrap();
        assert!(read.bcc().is_none() && read.header("X-Evil").is_none(), "{text}");
        let separator = separator(&message);
        assert!(!separator.contains(['\r', '\n']));
    }
}
