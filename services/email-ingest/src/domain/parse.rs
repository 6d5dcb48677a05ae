//! Raw bytes to `hilo.inbound.v1.InboundEmail`: a repeatable derivation, without clock, network or randomness.

use hilo_kit::ids::Uuid;
use hilo_proto::inbound::v1::{Attachment, EmailAddress, InboundEmail, MailClass, ThreadingEvidence};
use mail_parser::{Address, HeaderName, HeaderValue, MimeHeaders};
use prost::Message as _;
use sha2::{Digest, Sha256};

use super::body::{self, File};
use super::bounce::{self, Returned};
use super::class::{self, Evidence};
use super::fields::Fields;
use super::limits::{ADDRESSES, REFERENCES};
use super::mime::{self, OverLimit, Part};
use super::{text, threading};

/// Raised when the derivation changes, so that stored results tell which rules made them.
pub const VERSION: i32 = 2;

/// A mail as it arrived, with what the way of arrival knows.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The mail.
    pub raw: &'a [u8],
    /// Key of the receiving account.
    pub account_key: &'a str,
    /// Address of the receiving account, lower-case.
    pub account_address: &'a str,
    /// Addresses of all our accounts, lower-case.
    pub own_addresses: &'a [String],
    /// Envelope sender; `Some("")` is the null sender; `None` when the way of arrival does not tell.
    pub envelope_sender: Option<&'a str>,
    /// Envelope recipients; empty when the way of arrival does not tell.
    pub envelope_recipients: &'a [String],
    /// Key of the thread tokens.
    pub thread_key: &'a [u8],
}

/// A parsed mail and the contents of its files, in the order of its attachments.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The mail without its authentication results.
    pub email: InboundEmail,
    /// Content of `email.attachments`, each by its SHA-256.
    pub contents: Vec<(String, Vec<u8>)>,
    /// What a delivery report says about a mail of ours.
    pub returned: Option<Returned>,
}

/// Parses.
///
/// # Errors
/// The limit that the mail breaks.
pub fn parse(arrival: &Arrival<'_>) -> Result<Parsed, OverLimit> {
    let root = mime::split(arrival.raw)?;
    let fields = Fields::read(arrival.raw);
    let mut email = addresses(&root)?;
    envelope(arrival, &fields, &mut email);
    email.subject = subject(&root);
    message_id(arrival, &fields, &mut email);
    email.sent_at = root.message().and_then(|message| message.date()).and_then(sent_at);
    threads(arrival, &fields, &mut email);
    classify(arrival, &root, &fields, &mut email);
    let body = body::read(&root);
    email.text = body.text;
    email.html = body.html;
    email.anomalies.extend(body.anomalies.into_iter().map(str::to_owned));
    let mut contents = Vec::with_capacity(body.files.len());
    for file in body.files {
        let (attachment, content) = attachment(file);
        contents.push((attachment.sha256.clone(), content));
        email.attachments.push(attachment);
    }
    let returned = returned(&root, &fields, &mut email);
    Ok(Parsed { email, contents, returned })
}

/// Largest encoded mail: below what the outbox takes, with room for the envelope around it.
pub const ENCODED_BYTES: usize = 900 * 1024;

/// Makes a mail fit a message: what is cut goes into a file beside it, so nothing is lost.
pub fn fit(parsed: &mut Parsed) {
    let email = &mut parsed.email;
    if email.encoded_len() > ENCODED_BYTES && !email.html.is_empty() {
        let html = std::mem::take(&mut email.html);
        keep_aside(email, &mut parsed.contents, "message.html", "text/html", html);
        email.anomalies.push("html-too-large".to_owned());
    }
    if email.encoded_len() > ENCODED_BYTES {
        let whole = email.text.clone();
        text::cut(&mut email.text, SHORT_TEXT_CHARS);
        keep_aside(email, &mut parsed.contents, "message.txt", "text/plain", whole);
        email.anomalies.push("text-truncated".to_owned());
    }
    if email.encoded_len() > ENCODED_BYTES {
        for mailbox in email.to.iter_mut().chain(&mut email.cc).chain(&mut email.reply_to) {
            mailbox.name.clear();
        }
        email.anomalies.push("names-removed".to_owned());
    }
}

/// Text that always fits.
const SHORT_TEXT_CHARS: usize = 20_000;

fn keep_aside(
    email: &mut InboundEmail,
    contents: &mut Vec<(String, Vec<u8>)>,
    name: &str,
    kind: &str,
    content: String,
) {
    let (attachment, content) = attachment(File {
        name: name.to_owned(),
        media_type: kind.to_owned(),
        content_id: String::new(),
        inline: false,
        content: content.into_bytes(),
    });
    contents.push((attachment.sha256.clone(), content));
    email.attachments.push(attachment);
}

fn addresses(root: &Part<'_>) -> Result<InboundEmail, OverLimit> {
    let mut email = InboundEmail::default();
    let mut invalid = false;
    let mut all = |name: HeaderName<'static>| -> Vec<EmailAddress> {
        let Some(part) = root.headers() else { return Vec::new() };
        let values = part.headers().iter().filter(|header| header.name == name).map(|header| &header.value);
        values.flat_map(|value| mailboxes(value, &mut invalid)).collect()
    };
    let from = all(HeaderName::From);
    email.to = all(HeaderName::To);
    email.cc = all(HeaderName::Cc);
    email.reply_to = all(HeaderName::ReplyTo);
    if from.len() + email.to.len() + email.cc.len() + email.reply_to.len() > ADDRESSES {
        return Err(OverLimit::Addresses);
    }
    let anomalies =
        [(from.len() > 1, "multiple-from"), (from.is_empty(), "missing-from"), (invalid, "invalid-address")];
    email.anomalies =
        anomalies.iter().filter(|(holds, _)| *holds).map(|(_, word)| (*word).to_owned()).collect();
    email.from = Some(from.into_iter().next().unwrap_or_default());
    Ok(email)
}

/// Name space of the ordering keys.
const CONVERSATION: Uuid = Uuid::from_u128(0x6869_6c6f_656d_5000_8000_696e_626f_756e);

/// The ordering key of a mail, from its header alone: mails of one author to one account are handed over in the order
/// of their arrival.
pub fn conversation_key(account_key: &str, raw: &[u8]) -> Uuid {
    let head = mime::head(raw);
    let from = head.as_ref().and_then(|head| head.parts.first()).and_then(|part| {
        let values = part.headers().iter().filter(|header| header.name == HeaderName::From);
        values.flat_map(|header| mailboxes(&header.value, &mut false)).next()
    });
    let author = from.map(|from| from.address.to_lowercase()).unwrap_or_default();
    Uuid::new_v5(&CONVERSATION, format!("{account_key}\n{author}").as_bytes())
}

/// True when the mail names itself.
pub fn has_message_id(raw: &[u8]) -> bool {
    let head = raw.get(..super::limits::HEADER_BYTES).unwrap_or(raw);
    !Fields::read(head).message_ids("message-id").is_empty()
}

/// True when the mail says when it was written.
pub fn has_date(raw: &[u8]) -> bool {
    let head = raw.get(..super::limits::HEADER_BYTES).unwrap_or(raw);
    Fields::read(head).first("date").is_some_and(|date| !date.is_empty())
}

fn mailboxes(value: &HeaderValue<'_>, invalid: &mut bool) -> Vec<EmailAddress> {
    let HeaderValue::Address(list) = value else { return Vec::new() };
    let written: Vec<_> = match list {
        Address::List(list) => list.iter().collect(),
        Address::Group(groups) => groups.iter().flat_map(|group| group.addresses.iter()).collect(),
    };
    let mut found = Vec::new();
    for mailbox in written {
        match mailbox.address().and_then(text::address) {
            Some(address) => {
                found
                    .push(EmailAddress { address, name: mailbox.name().map(text::name).unwrap_or_default() });
            }
            None => *invalid = true,
        }
    }
    found
}

fn envelope(arrival: &Arrival<'_>, fields: &Fields, email: &mut InboundEmail) {
    email.envelope_sender = match arrival.envelope_sender {
        Some(sender) => sender.to_owned(),
        None => return_path(fields).unwrap_or_default(),
    };
    email.envelope_recipients =
        arrival.envelope_recipients.iter().map(|address| address.to_lowercase()).collect();
    if email.envelope_recipients.is_empty() {
        // Fetched by IMAP: the delivering server's fields tell, if at all, under which plus-address it came.
        let written = ["delivered-to", "x-original-to", "envelope-to"]
            .into_iter()
            .filter_map(|name| fields.first(name));
        let known = written.filter_map(text::address).map(|address| address.to_lowercase());
        email.envelope_recipients =
            known.filter(|address| belongs_to(address, arrival.account_address)).collect();
        email.envelope_recipients.dedup();
    }
    if email.envelope_recipients.is_empty() {
        email.envelope_recipients.push(arrival.account_address.to_owned());
    }
}

/// `Some("")` is the null sender; an unreadable one is unknown.
fn return_path(fields: &Fields) -> Option<String> {
    let value = fields.first("return-path")?.trim();
    if value == "<>" { Some(String::new()) } else { text::address(value) }
}

/// True for the account's address and its plus-addresses (`ventas+x@example.com`), whatever their case.
pub fn belongs_to(address: &str, account_address: &str) -> bool {
    let (address, account) = (address.to_lowercase(), account_address.to_lowercase());
    let (Some((local, domain)), Some((own_local, own_domain))) =
        (address.rsplit_once('@'), account.rsplit_once('@'))
    else {
        return false;
    };
    let plain = local.strip_prefix(own_local).is_some_and(|rest| rest.is_empty() || rest.starts_with('+'));
    plain && domain == own_domain
}

fn subject(root: &Part<'_>) -> String {
    root.message().and_then(|message| message.subject()).map(text::subject).unwrap_or_default()
}

/// The first Message-ID; a missing one is derived from the content, so that the same mail always has the same.
fn message_id(arrival: &Arrival<'_>, fields: &Fields, email: &mut InboundEmail) {
    if fields.all("message-id").count() > 1 {
        email.anomalies.push("duplicate-message-id".to_owned());
    }
    email.message_id = match fields.message_ids("message-id").into_iter().next() {
        Some(id) => id,
        None => {
            email.anomalies.push("missing-message-id".to_owned());
            let digest = hex::encode(Sha256::digest(arrival.raw));
            // `.invalid` (RFC 2606): nobody can ever have sent such an id.
            format!("{}@derived.invalid", digest.get(..32).unwrap_or(&digest))
        }
    };
}

fn sent_at(date: &mail_parser::DateTime) -> Option<prost_types::Timestamp> {
    let plausible = date.is_valid() && (1970..=9999).contains(&date.year);
    plausible.then(|| prost_types::Timestamp { seconds: date.to_timestamp(), nanos: 0 })
}

fn threads(arrival: &Arrival<'_>, fields: &Fields, email: &mut InboundEmail) {
    let references = threading::references(fields);
    let written = email.to.iter().chain(&email.cc).map(|mailbox| mailbox.address.as_str());
    let addresses = email.envelope_recipients.iter().map(String::as_str).chain(written);
    let tokens = threading::token_attention_ids(arrival.thread_key, &references, addresses);
    email.evidence = Some(ThreadingEvidence {
        references,
        token_attention_ids: tokens,
        subject_token: threading::subject_token(&email.subject).unwrap_or_default(),
        ..ThreadingEvidence::default()
    });
}

fn classify(arrival: &Arrival<'_>, root: &Part<'_>, fields: &Fields, email: &mut InboundEmail) {
    let report_type = root
        .headers()
        .and_then(MimeHeaders::content_type)
        .and_then(|kind| kind.attribute("report-type"))
        .unwrap_or_default()
        .to_ascii_lowercase();
    let from = email.from.as_ref().map(|from| from.address.as_str()).unwrap_or_default();
    let return_path = return_path(fields);
    let classified = class::classify(&Evidence {
        fields,
        media_type: (&root.kind, &root.subtype),
        report_type: &report_type,
        envelope_sender: arrival.envelope_sender.or(return_path.as_deref()),
        from,
        from_is_ours: arrival.own_addresses.iter().any(|own| belongs_to(from, own)),
    });
    email.mail_class = classified.class.into();
    email.class_reasons = classified.reasons.into_iter().map(str::to_owned).collect();
}

/// Only what is classed as a report is read as one. The mail that came back is the first thing it refers to.
fn returned(root: &Part<'_>, fields: &Fields, email: &mut InboundEmail) -> Option<Returned> {
    if email.mail_class() != MailClass::DeliveryReport {
        return None;
    }
    let returned = bounce::read(root, fields, &email.text)?;
    let references = &mut email.evidence.get_or_insert_default().references;
    for id in returned.message_ids.iter().rev() {
        references.retain(|known| known != id);
        references.insert(0, id.clone());
    }
    references.truncate(REFERENCES);
    Some(returned)
}

fn attachment(file: File) -> (Attachment, Vec<u8>) {
    let attachment = Attachment {
        sha256: hex::encode(Sha256::digest(&file.content)),
        file_name: file.name,
        media_type: file.media_type,
        size_bytes: i64::try_from(file.content.len()).unwrap_or(i64::MAX),
        content_id: file.content_id,
        inline: file.inline,
    };
    (attachment, file.content)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
