//! Builds the mail that answers another (pure): recipients, subject, Message-ID, References (RFC 5322 section 3.6.4).

use hilo_kit::thread_token;
use uuid::Uuid;

use super::store::message::StoredAddress;
use super::store::thread::Answered;

/// References kept, so that the header stays below what servers accept: the first and the newest.
const MAX_REFERENCES: usize = 20;
/// Longest subject (RFC 5322 section 2.1.1).
const MAX_SUBJECT: usize = 998;

/// What a reply is built of.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    pub account: StoredAddress,
    pub answered: Answered,
    pub reply_all: bool,
    pub cc: Vec<StoredAddress>,
    pub text: &'a str,
    pub html: &'a str,
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
        self.to.iter().chain(&self.cc)
    }
}

/// Builds the reply.
pub(crate) fn compose(parts: Parts<'_>) -> Reply {
    let answered = &parts.answered;
    let mut to =
        if answered.reply_to.is_empty() { vec![answered.from.clone()] } else { answered.reply_to.clone() };
    let mut cc = Vec::new();
    if parts.reply_all {
        to.extend(answered.to.iter().cloned());
        cc.extend(answered.cc.iter().cloned());
    }
    cc.extend(parts.cc.iter().cloned());
    let mut seen = vec![own_address(&parts.account.address)];
    let to = once_each(to, &mut seen);
    let cc = once_each(cc, &mut seen);
    let domain = parts.account.address.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    Reply {
        message_id: format!("{}.{}@{domain}", parts.unique.simple(), parts.token),
        to,
        cc,
        subject: subject(&answered.subject),
        text: signed(parts.text, parts.signature),
        html: html(parts.html, parts.signature),
        in_reply_to: answered.internet_message_id.clone(),
        references: references(answered),
        reply_to: thread_token::plus_address(&parts.account.address, parts.token).unwrap_or_default(),
        from: parts.account,
    }
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

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' { ' ' } else { c }).collect()
}

/// `Re: ` once, whatever the customer's program wrote (Spanish ones write `RV:` and `Re:`).
fn subject(answered: &str) -> String {
    let line = one_line(answered);
    let line = line.trim();
    let lower = line.to_lowercase();
    let subject = if lower.starts_with("re:") { line.to_owned() } else { format!("Re: {line}") };
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

fn signed(text: &str, signature: &str) -> String {
    let (text, signature) = (text.trim_end(), signature.trim());
    // RFC 3676 section 4.3: dash, dash, space.
    if signature.is_empty() { text.to_owned() } else { format!("{text}\n\n-- \n{signature}") }
}

fn html(html: &str, signature: &str) -> String {
    if html.trim().is_empty() {
        return String::new();
    }
    let signature = signature.trim();
    let body = ammonia::clean(html);
    if signature.is_empty() {
        return body;
    }
    let lines: Vec<String> = signature.lines().map(ammonia::clean_text).collect();
    format!("{body}<p>-- <br>{}</p>", lines.join("<br>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(address: &str) -> StoredAddress {
        StoredAddress { address: address.into(), name: String::new() }
    }

    fn parts() -> Parts<'static> {
        Parts {
            account: StoredAddress { address: "soporte@ejemplo.pe".into(), name: "Soporte".into() },
            answered: Answered {
                from: one("eva@cliente.example"),
                to: vec![one("Soporte+abc@ejemplo.pe"), one("otto@cliente.example")],
                cc: vec![one("EVA@cliente.example"), one("jefa@cliente.example")],
                reply_to: Vec::new(),
                subject: "No llegó\r\nBcc: x@y".into(),
                internet_message_id: "m3@cliente.example".into(),
                reference_ids: vec!["m1@cliente.example".into(), "m2@ejemplo.pe".into()],
            },
            reply_all: false,
            cc: Vec::new(),
            text: "Hola\n",
            html: "",
            signature: "Soporte\n",
            token: "token",
            unique: Uuid::nil(),
        }
    }

    fn addresses(list: &[StoredAddress]) -> Vec<&str> {
        list.iter().map(|one| one.address.as_str()).collect()
    }

    #[test]
    fn a_reply_goes_to_the_author_and_continues_the_thread() {
        let reply = compose(parts());
        assert_eq!(addresses(&reply.to), ["eva@cliente.example"]);
        assert!(reply.cc.is_empty());
        assert_eq!(reply.message_id, "00000000000000000000000000000000.token@ejemplo.pe");
        assert_eq!(reply.in_reply_to, "m3@cliente.example");
        assert_eq!(reply.references, ["m1@cliente.example", "m2@ejemplo.pe", "m3@cliente.example"]);
        assert_eq!(reply.reply_to, "soporte+token@ejemplo.pe");
        assert_eq!(reply.text, "Hola\n\n-- \nSoporte");
        assert_eq!(reply.subject, "Re: No llegó  Bcc: x@y");
    }

    #[test]
    fn reply_all_leaves_out_ourselves_and_doubles() {
        let reply = compose(Parts {
            reply_all: true,
            cc: vec![one("otto@cliente.example"), one("nuevo@x.example")],
            ..parts()
        });
        assert_eq!(addresses(&reply.to), ["eva@cliente.example", "otto@cliente.example"]);
        assert_eq!(addresses(&reply.cc), ["jefa@cliente.example", "nuevo@x.example"]);
    }

    #[test]
    fn a_stored_reply_to_is_used_instead_of_the_author() {
        let mut parts = parts();
        parts.answered.reply_to = vec![one("ventas@cliente.example")];
        assert_eq!(addresses(&compose(parts).to), ["ventas@cliente.example"]);
    }

    #[test]
    fn long_chains_keep_root_and_newest_and_hostile_ids_leave() {
        let mut parts = parts();
        parts.answered.reference_ids =
            (0..40).map(|n| format!("m{n}@x")).chain(["evil\r\nBcc: a@b".into()]).collect();
        let references = compose(parts).references;
        assert_eq!(references.len(), MAX_REFERENCES);
        assert_eq!(references.first().map(String::as_str), Some("m0@x"));
        assert_eq!(references.last().map(String::as_str), Some("m3@cliente.example"));
        assert!(references.iter().all(|id| !id.contains('\n')));
    }

    #[test]
    fn html_is_sanitised() {
        let reply = compose(Parts {
            html: "<p onclick=x()>Hola<script>1</script></p>",
            signature: "a < b",
            ..parts()
        });
        assert_eq!(reply.html, "<p>Hola</p><p>-- <br>a&#32;&lt;&#32;b</p>");
    }

    #[test]
    fn an_author_without_address_leaves_nobody() {
        let mut parts = parts();
        parts.answered.from = one("");
        assert_eq!(compose(parts).recipients().count(), 0);
    }
}
