//! An outgoing mail as bytes: lettre's builder, every body encoded, so that nothing in it can end DATA or add a field.
//!
//! lettre before 0.11.24 passes bare line feeds of a body on (RUSTSEC-2026-0561). Here every text is normalised and
//! quoted-printable, every file base 64, and the finished mail is checked again before it may leave.

use std::time::SystemTime;

use hilo_proto::inbound::v1::{Attachment, EmailAddress};
use hilo_proto::outbound::v1::OutboundEmail;
use lettre::Address;
use lettre::message::header::{ContentDisposition, ContentId, ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox, Message, MessageBuilder, MultiPart, MultiPartBuilder, SinglePart};

use super::automatic::{AutoResponseSuppress, AutoSubmitted};
use super::limits::REFERENCES;
use super::text;

/// A file with its content.
#[derive(Clone, Debug)]
pub struct Enclosure {
    /// Name, type, place.
    pub attachment: Attachment,
    /// Content.
    pub content: Vec<u8>,
}

/// Why a mail cannot be built; trying again cannot help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbuildable {
    /// The From or Reply-To address is not one.
    Sender,
    /// The Message-ID is missing or not one.
    MessageId,
    /// No recipient at all.
    NoRecipients,
    /// The builder refused it, or the result is not safe to send.
    Content,
}

impl Unbuildable {
    /// What the delivery report says.
    pub fn text(self) -> &'static str {
        match self {
            Unbuildable::Sender => "the sender's address is not valid",
            Unbuildable::MessageId => "the Message-ID is not valid",
            Unbuildable::NoRecipients => "there is no recipient",
            Unbuildable::Content => "the mail cannot be built",
        }
    }
}

/// Recipients of the envelope: To, Cc and Bcc in this order, each address once (compared without case); of a repetition only
/// those it is for.
pub fn recipients(email: &OutboundEmail) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for mailbox in email.to.iter().chain(&email.cc).chain(&email.bcc) {
        let named = |list: &[String]| list.iter().any(|one| one.eq_ignore_ascii_case(&mailbox.address));
        let wanted = email.only_recipients.is_empty() || named(&email.only_recipients);
        if wanted && !named(&found) {
            found.push(mailbox.address.clone());
        }
    }
    found
}

/// An address as SMTP commands take it; `None` when it is none (then that recipient has failed).
pub fn envelope_address(written: &str) -> Option<Address> {
    text::address(written).and_then(|address| address.parse().ok())
}

/// Builds the mail. The same input gives the same bytes, so a retry repeats the mail exactly.
///
/// # Errors
/// Why it can never be sent.
pub fn compose(
    email: &OutboundEmail,
    files: Vec<Enclosure>,
    at: SystemTime,
    send_id: &str,
) -> Result<Vec<u8>, Unbuildable> {
    let head = head(email, at)?;
    let boundary = |level: &str| format!("={level}_{send_id}");
    let (inline, mut attached): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| is_shown(&file.attachment, &email.html));
    attached.iter_mut().for_each(|file| file.attachment.inline = false);
    let body = text_part(&email.text, ContentType::TEXT_PLAIN);
    let message = match (email.html.is_empty(), attached.is_empty()) {
        (true, true) => head.singlepart(body),
        (true, false) => head.multipart(enclose(mixed(boundary("m")).singlepart(body), attached)?),
        (false, true) => head.multipart(alternative(email, inline, &boundary, body)?),
        (false, false) => {
            let shown = alternative(email, inline, &boundary, body)?;
            head.multipart(enclose(mixed(boundary("m")).multipart(shown), attached)?)
        }
    };
    let bytes = message.map_err(|_| Unbuildable::Content)?.formatted();
    if is_safe(&bytes) { Ok(bytes) } else { Err(Unbuildable::Content) }
}

/// Envelope sender; `None` is the null sender. Nobody may answer a mail that no person wrote, and nothing that goes wrong with it
/// may come back (RFC 3834 section 3.3).
///
/// # Errors
/// When the From address is none.
pub fn return_path(email: &OutboundEmail) -> Result<Option<Address>, Unbuildable> {
    if email.automatic {
        return Ok(None);
    }
    let from = email.from.as_ref().and_then(|from| envelope_address(&from.address));
    from.map(Some).ok_or(Unbuildable::Sender)
}

/// An inline file that the HTML does not show would be seen by nobody: it is attached.
fn is_shown(attachment: &Attachment, html: &str) -> bool {
    attachment.inline
        && message_id(&attachment.content_id).is_some()
        && html.contains(&format!("cid:{}", attachment.content_id))
}

fn head(email: &OutboundEmail, at: SystemTime) -> Result<MessageBuilder, Unbuildable> {
    let from = email.from.as_ref().and_then(mailbox).ok_or(Unbuildable::Sender)?;
    let id = message_id(&email.message_id).ok_or(Unbuildable::MessageId)?;
    if recipients(email).is_empty() {
        return Err(Unbuildable::NoRecipients);
    }
    let mut head =
        Message::builder().from(from).subject(text::subject(&email.subject)).date(at).message_id(Some(id));
    // The envelope decides who gets it; an address that cannot be written in a header is left out here and reported
    // as failed there.
    for to in email.to.iter().filter_map(mailbox) {
        head = head.to(to);
    }
    for cc in email.cc.iter().filter_map(mailbox) {
        head = head.cc(cc);
    }
    if let Some(id) = message_id(&email.in_reply_to) {
        head = head.in_reply_to(id);
    }
    let references: Vec<String> =
        email.references.iter().take(REFERENCES).filter_map(|id| message_id(id)).collect();
    if !references.is_empty() {
        head = head.references(references.join(" "));
    }
    if !email.reply_to.is_empty() {
        let address = envelope_address(&email.reply_to).ok_or(Unbuildable::Sender)?;
        head = head.reply_to(Mailbox::new(None, address));
    }
    if email.automatic {
        head = head.header(AutoSubmitted).header(AutoResponseSuppress);
    }
    // lettre wants an envelope to build; ours is carried beside the mail, per recipient.
    let sender = email.from.as_ref().and_then(|from| envelope_address(&from.address));
    let to = sender.clone().map(|sender| vec![sender]).ok_or(Unbuildable::Sender)?;
    let envelope = lettre::address::Envelope::new(sender, to).map_err(|_| Unbuildable::Sender)?;
    Ok(head.envelope(envelope))
}

fn mailbox(written: &EmailAddress) -> Option<Mailbox> {
    let name = text::name(&written.name);
    Some(Mailbox::new((!name.is_empty()).then_some(name), envelope_address(&written.address)?))
}

/// `<id>` when it is one: printable ASCII without spaces and brackets, so that nothing needs encoding or folding.
fn message_id(id: &str) -> Option<String> {
    let plain = !id.is_empty()
        && id.len() <= 900
        && id.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>');
    plain.then(|| format!("<{id}>"))
}

fn mixed(boundary: String) -> MultiPartBuilder {
    MultiPart::builder().kind(lettre::message::MultiPartKind::Mixed).boundary(boundary)
}

fn alternative(
    email: &OutboundEmail,
    inline: Vec<Enclosure>,
    boundary: &dyn Fn(&str) -> String,
    plain: SinglePart,
) -> Result<MultiPart, Unbuildable> {
    let html = text_part(&email.html, ContentType::TEXT_HTML);
    let builder =
        MultiPart::builder().kind(lettre::message::MultiPartKind::Alternative).boundary(boundary("a"));
    let both = builder.singlepart(plain);
    if inline.is_empty() {
        return Ok(both.singlepart(html));
    }
    let related = MultiPart::builder().kind(lettre::message::MultiPartKind::Related).boundary(boundary("r"));
    Ok(both.multipart(enclose(related.singlepart(html), inline)?))
}

fn enclose(mut parts: MultiPart, files: Vec<Enclosure>) -> Result<MultiPart, Unbuildable> {
    for file in files {
        parts = parts.singlepart(enclosure(file)?);
    }
    Ok(parts)
}

fn enclosure(file: Enclosure) -> Result<SinglePart, Unbuildable> {
    let Enclosure { attachment, content } = file;
    let kind = ContentType::parse(media_type(&attachment.media_type)).map_err(|_| Unbuildable::Content)?;
    let name = text::file_name(&attachment.file_name);
    let name = if name.is_empty() { "file".to_owned() } else { name };
    let content = Body::new_with_encoding(content, ContentTransferEncoding::Base64)
        .map_err(|_| Unbuildable::Content)?;
    let part = SinglePart::builder().header(kind);
    let id = message_id(&attachment.content_id);
    let part = match (attachment.inline, id) {
        (true, Some(id)) => {
            part.header(ContentDisposition::inline_with_name(&name)).header(ContentId::from(id))
        }
        _ => part.header(ContentDisposition::attachment(&name)),
    };
    Ok(part.body(content))
}

/// `type/subtype` of a declared type, or that of unknown bytes. A multipart or a message cannot be said to be base 64 (RFC 2045
/// section 6.4), and a parameter would only describe what we do not know.
fn media_type(declared: &str) -> &str {
    let essence = declared.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        (1..=127).contains(&part.len()) && part.bytes().all(plain)
    };
    match essence.split_once('/') {
        Some((kind, subtype)) if token(kind) && token(subtype) => {
            let composite = ["multipart", "message"].iter().any(|one| kind.eq_ignore_ascii_case(one));
            if composite { UNKNOWN_TYPE } else { essence }
        }
        Some(_) | None => UNKNOWN_TYPE,
    }
}

/// RFC 2046 section 4.5.1.
const UNKNOWN_TYPE: &str = "application/octet-stream";

fn text_part(content: &str, kind: ContentType) -> SinglePart {
    let content = text::body(content);
    let body = Body::new_with_encoding(content, ContentTransferEncoding::QuotedPrintable)
        .expect("quoted-printable encodes every text");
    SinglePart::builder().header(kind).body(body)
}

/// Only ASCII, and every CR is followed by LF, every LF preceded by CR: no receiver can read two mails in it.
pub fn is_safe(mail: &[u8]) -> bool {
    let mut before = 0u8;
    for byte in mail {
        let broken = match (before, *byte) {
            (b'\r', b'\n') => false,
            (b'\r', _) | (_, b'\n') => true,
            (_, byte) => !byte.is_ascii() || byte == 0,
        };
        if broken {
            return false;
        }
        before = *byte;
    }
    before != b'\r'
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
