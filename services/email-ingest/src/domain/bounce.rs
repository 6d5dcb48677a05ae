//! What a delivery report says about mails of ours: RFC 3464 where there is one, and what can be read of the others, which
//! are about half of the bounces in the wild. Only evidence: the ledger decides whether it fits one of its sends.

use hilo_kit::ids::Uuid;

use super::decode;
use super::fields::Fields;
use super::mime::Part;
use super::send::{REPLY_CHARS, Reply};
use super::text;

/// Most mails one report may name; a real one names one.
const MAX_IDS: usize = 10;
/// Most recipients read of one report.
const MAX_RECIPIENTS: usize = 100;
/// So much of a report's text is searched for codes and ids.
const MAX_TEXT: usize = 64 * 1024;

/// What became of a mail for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Given up.
    Undelivered,
    /// Handed to the recipient's mailbox, or to a system that reports no further.
    Delivered,
}

/// One recipient's part of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The addresses it goes by, as we wrote it first; empty when the report names nobody.
    pub addresses: Vec<String>,
    /// What became of it.
    pub fate: Fate,
    /// The last server's words.
    pub reply: Reply,
}

/// A report as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    /// Sends named by the envelope id that we gave.
    pub send_ids: Vec<Uuid>,
    /// Message-IDs of the mails that came back.
    pub message_ids: Vec<String>,
    /// What is said of recipients.
    pub told: Vec<Told>,
}

/// Reads a report; `None` when it names no mail or says nothing final.
pub fn read(root: &Part<'_>, fields: &Fields, body: &str) -> Option<Returned> {
    let mut returned = Returned::default();
    let mut structured = false;
    walk(root, &mut |part| match (part.kind.as_str(), part.subtype.as_str()) {
        ("message", "delivery-status" | "global-delivery-status") => {
            structured = true;
            status(&decode::content(part), &mut returned);
        }
        ("message", "rfc822" | "global" | "rfc822-headers" | "global-headers")
        | ("text", "rfc822-headers") => {
            let headers = Fields::read(&decode::content(part));
            remember(&mut returned.message_ids, headers.message_ids("message-id"));
        }
        _ => {}
    });
    let body: String = body.chars().take(MAX_TEXT).collect();
    for name in ["in-reply-to", "references"] {
        remember(&mut returned.message_ids, fields.message_ids(name));
    }
    remember(&mut returned.message_ids, ids_in(&body));
    if !structured {
        returned.told = unstructured(fields, &body);
    }
    let names_a_mail = !returned.message_ids.is_empty() || !returned.send_ids.is_empty();
    (names_a_mail && !returned.told.is_empty()).then_some(returned)
}

fn walk<'p, 'm>(part: &'p Part<'m>, see: &mut dyn FnMut(&'p Part<'m>)) {
    see(part);
    for child in &part.children {
        walk(child, see);
    }
}

fn remember(known: &mut Vec<String>, ids: Vec<String>) {
    for id in ids {
        if known.len() < MAX_IDS && !known.contains(&id) {
            known.push(id);
        }
    }
}

/// RFC 3464 section 2.1: a block about the message, then one per recipient, parted by empty lines.
fn status(content: &[u8], returned: &mut Returned) {
    let text = String::from_utf8_lossy(content).replace("\r\n", "\n");
    let blocks = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty());
    for block in blocks.take(MAX_RECIPIENTS + 1) {
        let fields = Fields::read(block.as_bytes());
        if let Some(id) = fields.first("original-envelope-id").and_then(|id| Uuid::try_parse(id.trim()).ok())
        {
            returned.send_ids.push(id);
        }
        returned.told.extend(told(&fields));
    }
}

fn told(fields: &Fields) -> Option<Told> {
    let addresses: Vec<String> = ["original-recipient", "final-recipient"]
        .into_iter()
        .filter_map(|name| address(fields.first(name)?))
        .collect();
    if addresses.is_empty() {
        return None;
    }
    let status = fields.word("status").unwrap_or_default();
    let fate = match fields.word("action").as_deref() {
        Some("failed") => Fate::Undelivered,
        Some("delivered" | "relayed" | "expanded") => Fate::Delivered,
        // A delay is nothing final; the report of the failure follows.
        Some("delayed") => return None,
        _ if status.starts_with("5.") => Fate::Undelivered,
        _ if status.starts_with("2.") => Fate::Delivered,
        _ => return None,
    };
    let words =
        fields.first("diagnostic-code").map(|code| code.split_once(';').map_or(code, |(_, words)| words));
    Some(Told { addresses, fate, reply: reply(words.unwrap_or_default(), &status, fate) })
}

fn reply(words: &str, status: &str, fate: Fate) -> Reply {
    let text = text::line(words, REPLY_CHARS);
    let code = text.get(..3).and_then(|code| code.parse().ok()).filter(|code| (200..600).contains(code));
    let unsaid = match fate {
        Fate::Undelivered => "the mail came back undelivered",
        Fate::Delivered => "delivered",
    };
    Reply {
        code: code.unwrap_or(0),
        enhanced: text::line(status, 16),
        text: if text.is_empty() { unsaid.to_owned() } else { text },
    }
}

/// `rfc822; ana@example.com` (RFC 3464 section 2.3.1), perhaps in xtext (RFC 3461 section 4).
fn address(value: &str) -> Option<String> {
    let (kind, written) = value.split_once(';')?;
    let mail = matches!(kind.trim().to_ascii_lowercase().as_str(), "rfc822" | "utf-8");
    let written = written.trim();
    let plain = xtext(written).unwrap_or_else(|| written.to_owned());
    if mail { text::address(&plain) } else { None }
}

fn xtext(written: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(written.len());
    let mut rest = written.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'+' {
            let (hex, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A bounce in prose: whom the header names, and the line with a permanent code.
fn unstructured(fields: &Fields, body: &str) -> Vec<Told> {
    let coded = body.lines().find_map(coded);
    let named: Vec<String> = fields
        .all("x-failed-recipients")
        .flat_map(|value| value.split(','))
        .filter_map(text::address)
        .take(MAX_RECIPIENTS)
        .collect();
    let reply = coded.clone().unwrap_or_else(|| reply("", "", Fate::Undelivered));
    if named.is_empty() {
        // Nobody named: it counts where only one can be meant, and only with a code that says "for good".
        let told = Told { addresses: Vec::new(), fate: Fate::Undelivered, reply };
        return coded.map(|_| told).into_iter().collect();
    }
    named
        .into_iter()
        .map(|address| Told { addresses: vec![address], fate: Fate::Undelivered, reply: reply.clone() })
        .collect()
}

/// The reply in a line such as `host mx.example said: 550 5.1.1 no such user`.
fn coded(line: &str) -> Option<Reply> {
    let at = line.match_indices('5').map(|(at, _)| at).find(|at| {
        let before = line.get(..*at).and_then(|before| before.chars().next_back());
        let code = line.get(*at..at + 3).is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
        let after = line.get(at + 3..).and_then(|after| after.chars().next());
        code && before.is_none_or(|c| !c.is_alphanumeric() && c != '.') && matches!(after, Some(' ' | '-'))
    })?;
    let words = text::line(line.get(at..)?, REPLY_CHARS);
    let enhanced = words.get(4..).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    let enhanced = if enhanced.starts_with("5.") { enhanced.to_owned() } else { String::new() };
    Some(Reply { code: words.get(..3)?.parse().ok()?, enhanced, text: words })
}

/// Message-IDs that a text quotes in a header line.
fn ids_in(body: &str) -> Vec<String> {
    let lines = body.lines().map(|line| line.trim_start_matches(['>', ' ', '\t']));
    let quoted =
        lines.filter(|line| line.get(..11).is_some_and(|name| name.eq_ignore_ascii_case("message-id:")));
    quoted.flat_map(|line| Fields::read(line.as_bytes()).message_ids("message-id")).collect()
}

#[cfg(test)]
#[path = "bounce_tests.rs"]
mod tests;
