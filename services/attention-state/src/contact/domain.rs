//! What a contact may hold, checked before anything is stored. Plain: no database, no clock.

use std::collections::BTreeMap;

use hilo_kit::error::Error;
use hilo_proto::contact::v1::{Contact, ContactIdentity};

/// Longest name and company.
pub(crate) const MAX_TEXT: usize = 200;
/// Most extra fields, and the longest value.
const MAX_EXTRA: usize = 50;
const MAX_EXTRA_VALUE: usize = 1_000;
/// Most addresses and numbers of one request.
const MAX_IDENTITIES: usize = 20;

/// Kind of an address or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Email address.
    Email,
    /// Telephone number.
    Phone,
    /// WhatsApp id; never typed by hand.
    Whatsapp,
    /// Business-scoped user id of the channel; never typed by hand.
    Bsuid,
}

impl Kind {
    /// The word of contracts and tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Email => "email",
            Kind::Phone => "phone",
            Kind::Whatsapp => "whatsapp",
            Kind::Bsuid => "bsuid",
        }
    }

    /// From the word.
    pub(crate) fn of(word: &str) -> Option<Self> {
        [Kind::Email, Kind::Phone, Kind::Whatsapp, Kind::Bsuid].into_iter().find(|kind| kind.word() == word)
    }
}

/// An address or number, normalised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    /// Kind.
    pub kind: Kind,
    /// Value: an address in lower case, a number as `+` and digits.
    pub value: String,
}

/// What people may change of a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Data {
    /// Name; may be empty.
    pub name: String,
    /// Company; may be empty.
    pub company: String,
    /// VIP star.
    pub vip: bool,
    /// Extra fields, none empty.
    pub extra: BTreeMap<String, String>,
}

impl Data {
    /// From a request; malformed parts are added to `bad`.
    pub(crate) fn of(contact: Contact, mut bad: Error) -> (Self, Error) {
        for (field, text) in [("contact.name", &contact.name), ("contact.company", &contact.company)] {
            if text.chars().count() > MAX_TEXT || text.contains(char::is_control) {
                bad = bad.field(field, format!("at most {MAX_TEXT} characters in one line"));
            }
        }
        let fits = |(key, value): (&String, &String)| {
            (1..=MAX_TEXT).contains(&key.chars().count())
                && value.chars().count() <= MAX_EXTRA_VALUE
                && !value.contains('\0')
        };
        if contact.extra.len() > MAX_EXTRA || !contact.extra.iter().all(fits) {
            let text = format!("at most {MAX_EXTRA} fields of {MAX_EXTRA_VALUE} characters");
            bad = bad.field("contact.extra", text);
        }
        let data = Self {
            name: contact.name.trim().to_owned(),
            company: contact.company.trim().to_owned(),
            vip: contact.vip,
            extra: contact.extra.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect(),
        };
        (data, bad)
    }

    /// What stays of two contacts: the first one's words, where it has none the other's; a VIP stays one.
    pub(crate) fn merged_with(self, other: Data) -> Self {
        let either = |one: String, other: String| if one.is_empty() { other } else { one };
        let mut extra = other.extra;
        extra.extend(self.extra);
        Self {
            name: either(self.name, other.name),
            company: either(self.company, other.company),
            vip: self.vip || other.vip,
            extra,
        }
    }
}

/// Identities of a request, normalised, each once; malformed ones are added to `bad` under `field`.
pub(crate) fn identities(given: &[ContactIdentity], field: &str, mut bad: Error) -> (Vec<Identity>, Error) {
    if given.len() > MAX_IDENTITIES {
        return (Vec::new(), bad.field(field, format!("at most {MAX_IDENTITIES}")));
    }
    let mut all = Vec::new();
    for (at, one) in given.iter().enumerate() {
        match identity(one) {
            Ok(identity) if all.contains(&identity) => {}
            Ok(identity) => all.push(identity),
            Err((part, text)) => bad = bad.field(format!("{field}[{at}].{part}"), text),
        }
    }
    (all, bad)
}

fn identity(given: &ContactIdentity) -> Result<Identity, (&'static str, &'static str)> {
    let kind = match Kind::of(&given.kind) {
        Some(kind @ (Kind::Email | Kind::Phone)) => kind,
        Some(Kind::Whatsapp | Kind::Bsuid) | None => return Err(("kind", "must be email or phone")),
    };
    let value = match kind {
        Kind::Email => address(&given.value).ok_or(("value", "must be an email address"))?,
        Kind::Phone | Kind::Whatsapp | Kind::Bsuid => {
            number(&given.value).ok_or(("value", "must be a number with its country code, 8 to 15 digits"))?
        }
    };
    Ok(Identity { kind, value })
}

/// One addr-spec in lower case (RFC 5321 section 4.5.3.1: at most 64 octets before the `@`, 254 in all).
fn address(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let (local, domain) = text.rsplit_once('@')?;
    let plain = |part: &str| {
        let bad = |c: char| {
            c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '"' | '(' | ')' | ':')
        };
        !part.is_empty() && !part.contains(bad)
    };
    let fits =
        text.len() <= 254 && local.len() <= 64 && plain(local) && !local.contains('@') && plain(domain);
    fits.then_some(text)
}

/// A number as people write it, as `+` and its digits (ITU-T E.164: at most 15).
fn number(text: &str) -> Option<String> {
    let digits = digits_of(text)?;
    let digits = digits.strip_prefix("00").unwrap_or(&digits);
    ((8..=15).contains(&digits.len()) && !digits.starts_with('0')).then(|| format!("+{digits}"))
}

/// The digits of something that looks like a number; `None` when it holds anything else.
pub(crate) fn digits_of(text: &str) -> Option<String> {
    let mark = |c: char| matches!(c, '+' | ' ' | '-' | '.' | '(' | ')' | '/');
    if !text.chars().all(|c| c.is_ascii_digit() || mark(c)) {
        return None;
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_normalised_or_refused() {
        let rows = [
            ("email", " Eva@Cliente.Example ", Ok("eva@cliente.example")),
            ("email", "ñandú@ejemplo.pe", Ok("ñandú@ejemplo.pe")),
            ("email", "eva", Err("value")),
            ("email", "a@b@c", Err("value")),
            ("email", "a@x\r\nBcc: c@d", Err("value")),
            ("phone", "+51 987-654 321", Ok("+51987654321")),
            ("phone", "0051 (987) 654321", Ok("+51987654321")),
            ("phone", "987", Err("value")),
            ("phone", "0987654321", Err("value")),
            ("phone", "+51 987 654 321 000 111", Err("value")),
            ("phone", "51987x654321", Err("value")),
            ("bsuid", "abc", Err("kind")),
            ("whatsapp", "51987654321", Err("kind")),
            ("fax", "+51987654321", Err("kind")),
        ];
        for (kind, value, expected) in rows {
            let given = ContactIdentity { kind: kind.into(), value: value.into() };
            let found = identity(&given).map(|one| one.value).map_err(|(part, _)| part);
            assert_eq!(found, expected.map(str::to_owned), "{kind} {value}");
        }
    }

    #[test]
    fn of_two_contacts_the_first_ones_words_stay() {
        let data = |name: &str, company: &str, vip, extra: &[(&str, &str)]| Data {
            name: name.into(),
            company: company.into(),
            vip,
            extra: extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let merged = data("Eva", "", false, &[("dni", "1")]).merged_with(data(
            "Eva Q.",
            "Textil",
            true,
            &[("dni", "2"), ("ruc", "3")],
        ));
        assert_eq!(merged, data("Eva", "Textil", true, &[("dni", "1"), ("ruc", "3")]));
        let empty = data("", "", false, &[]).merged_with(data("Eva", "", false, &[]));
        assert_eq!(empty.name, "Eva");
    }
}
