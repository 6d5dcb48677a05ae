//! Builds the mail that answers or forwards another (pure): recipients, subject, Message-ID, References (RFC 5322 section 3.6.4).

use hilo_kit::thread_token;
use uuid::Uuid;

use super::quote::{Original, one_line};
use super::store::answered::Answered;
use super::store::message::StoredAddress;
use crate::conversation::html;

/// References kept, so that the header stays below what servers accept: the first and the newest.
const MAX_REFERENCES: usize = 20;
/// Longest subject (RFC 5322 section 2.1.1).
const MAX_SUBJECT: usize = 998;

/// How a mail relates to the one it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To the author.
    Reply,
    /// To everybody.
    ReplyAll,
    /// To new recipients, with the original.
    Forward,
}

/// What a mail is built of.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    pub account: StoredAddress,
    pub answered: Answered,
    pub mode: Mode,
    /// Exactly these instead of those of the answered mail, unless empty.
    pub to: Vec<StoredAddress>,
    /// More copies.
    pub cc: Vec<StoredAddress>,
    pub bcc: Vec<StoredAddress>,
    /// Instead of the one that follows from the answered mail, unless empty.
    pub subject: &'a str,
    pub text: &'a str,
    /// Sanitised.
    pub html: &'a str,
    /// Quotes the answered mail; a forward always has it.
    pub quote: bool,
    pub signature: &'a str,
    /// Keyed token of the attention.
    pub token: &'a str,
    /// Makes the Message-ID unique.
    pub unique: Uuid,
}

/// A mail to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub message_id: String,
    pub from: StoredAddress,
    pub to: Vec<StoredAddress>,
    pub cc: Vec<StoredAddress>,
    pub bcc: Vec<StoredAddress>,
    pub subject: String,
    pub text: String,
    pub html: String,
    pub in_reply_to: String,
    /// Oldest first.
    pub references: Vec<String>,
    /// Plus-address with the token; empty when the local part would grow too long.
    pub reply_to: String,
}

impl Reply {
    /// Everybody it goes to.
    pub(crate) fn recipients(&self) -> impl Iterator<Item = &StoredAddress> {
        self.to.iter().chain(&self.cc).chain(&self.bcc)
    }
}

/// Builds the mail.
pub(crate) fn compose(parts: Parts<'_>) -> Reply {
    let (to, cc) = recipients(&parts);
    let mut seen = vec![own_address(&parts.account.address)];
    let to = once_each(to, &mut seen);
    let cc = once_each(cc, &mut seen);
    let bcc = once_each(parts.bcc.clone(), &mut seen);
    let domain = parts.account.address.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let answered = &parts.answered;
    let in_reply_to = match parts.mode {
        Mode::Reply | Mode::ReplyAll => answered.internet_message_id.clone(),
        // It answers nobody; the references still tell a program where it comes from.
        Mode::Forward => String::new(),
    };
    Reply {
        message_id: format!("{}.{}@{domain}", parts.unique.simple(), parts.token),
        to,
        cc,
        bcc,
        subject: subject(&parts),
        text: text(&parts),
        html: html_body(&parts),
        in_reply_to,
        references: references(answered),
        reply_to: thread_token::plus_address(&parts.account.address, parts.token).unwrap_or_default(),
        from: parts.account,
    }
}

fn recipients(parts: &Parts<'_>) -> (Vec<StoredAddress>, Vec<StoredAddress>) {
    let answered = &parts.answered;
    let explicit = !parts.to.is_empty();
    let author = || match (&answered.outbound, answered.reply_to.is_empty()) {
        // Our own mail is followed up at the people it went to.
        (true, _) => answered.to.clone(),
        (false, true) => vec![answered.from.clone()],
        (false, false) => answered.reply_to.clone(),
    };
    let (mut to, mut cc) = match parts.mode {
        _ if explicit => (parts.to.clone(), Vec::new()),
        Mode::Reply => (author(), Vec::new()),
        Mode::ReplyAll => (author(), answered.cc.clone()),
        Mode::Forward => (Vec::new(), Vec::new()),
    };
    if parts.mode == Mode::ReplyAll && !explicit {
        to.extend(answered.to.iter().cloned());
    }
    cc.extend(parts.cc.iter().cloned());
    (to, cc)
}

/// Our own address without its plus part, by which we recognise ourselves among recipients.
pub(super) fn own_address(address: &str) -> String {
    let lower = address.trim().to_lowercase();
    match lower.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{domain}", local.split('+').next().unwrap_or(local)),
        None => lower,
    }
}

/// Addresses that were not seen before, never ourselves, without line breaks in names.
fn once_each(from: Vec<StoredAddress>, seen: &mut Vec<String>) -> Vec<StoredAddress> {
    let mut kept = Vec::new();
    for one in from {
        let address = one.address.trim().to_owned();
        let bare = own_address(&address);
        let lower = address.to_lowercase();
        // The first entry is our own address: it is met with any plus part.
        let known = seen.first() == Some(&bare) || seen.contains(&lower);
        if address.contains('@') && !known {
            seen.push(lower);
            kept.push(StoredAddress { address, name: one_line(&one.name) });
        }
    }
    kept
}

/// `Re: ` or `Fwd: ` once, whatever the customer's program wrote (Spanish ones write `RV:` and `Re:`).
fn subject(parts: &Parts<'_>) -> String {
    let own = one_line(parts.subject);
    let line = one_line(&parts.answered.original.subject);
    let line = line.trim();
    let lower = line.to_lowercase();
    let begins = |marks: &[&str]| marks.iter().any(|mark| lower.starts_with(mark));
    let subject = match parts.mode {
        _ if !own.trim().is_empty() => own.trim().to_owned(),
        Mode::Reply | Mode::ReplyAll if begins(&["re:"]) => line.to_owned(),
        Mode::Reply | Mode::ReplyAll => format!("Re: {line}"),
        Mode::Forward if begins(&["fwd:", "fw:", "rv:"]) => line.to_owned(),
        Mode::Forward => format!("Fwd: {line}"),
    };
    subject.chars().take(MAX_SUBJECT).collect()
}

fn references(answered: &Answered) -> Vec<String> {
    let mut chain: Vec<String> =
        answered.reference_ids.iter().filter(|id| fit_for_header(id)).cloned().collect();
    if fit_for_header(&answered.internet_message_id) {
        chain.retain(|id| *id != answered.internet_message_id);
        chain.push(answered.internet_message_id.clone());
    }
    if chain.len() > MAX_REFERENCES {
        // The root keeps the thread together for programs that lack a link in the middle.
        chain.drain(1..=chain.len() - MAX_REFERENCES);
    }
    chain
}

/// A Message-ID from outside goes into our header, so it must not bring line breaks or brackets.
fn fit_for_header(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 900
        && id.chars().all(|c| !c.is_control() && !c.is_whitespace() && !matches!(c, '<' | '>'))
}

/// The original as it stands below the text, if it does.
fn below<'a>(parts: &'a Parts<'_>) -> Option<&'a Original> {
    (parts.quote || parts.mode == Mode::Forward).then_some(&parts.answered.original)
}

fn text(parts: &Parts<'_>) -> String {
    let (text, signature) = (parts.text.trim_end(), parts.signature.trim());
    // RFC 3676 section 4.3: dash, dash, space.
    let mut whole =
        if signature.is_empty() { text.to_owned() } else { format!("{text}\n\n-- \n{signature}") };
    if let Some(original) = below(parts) {
        whole.push_str("\n\n");
        whole.push_str(&match parts.mode {
            Mode::Forward => original.forwarded_text(),
            Mode::Reply | Mode::ReplyAll => original.quoted_text(),
        });
    }
    whole.trim_start_matches('\n').to_owned()
}

fn html_body(parts: &Parts<'_>) -> String {
    let original = below(parts);
    // A forward of HTML stays HTML, also below a plain text.
    let needed = !parts.html.trim().is_empty()
        || (parts.mode == Mode::Forward && original.is_some_and(|original| !original.html.is_empty()));
    if !needed {
        return String::new();
    }
    let mut whole = match parts.html.trim() {
        "" if parts.text.trim().is_empty() => String::new(),
        "" => html::from_text(parts.text.trim_end()),
        html => html.to_owned(),
    };
    let signature = parts.signature.trim();
    if !signature.is_empty() {
        let lines: Vec<String> = signature.lines().map(html::escape).collect();
        whole.push_str(&format!("<p>-- <br>{}</p>", lines.join("<br>")));
    }
    if let Some(original) = original {
        whole.push_str(&match parts.mode {
            Mode::Forward => original.forwarded_html(),
            Mode::Reply | Mode::ReplyAll => original.quoted_html(),
        });
    }
    whole
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
