//! By what a customer is one and the same user of WhatsApp: the ids under which he writes, those under which a number that is written to
//! is his, and the digits that Meta may have for a number that was dialled.

use std::collections::BTreeSet;

use hilo_kit::error::Error;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use sqlx::PgConnection;

use super::{Known, PARENT, identities, of_contacts};
use crate::attention::domain::ContactId;
use crate::contact::domain::{Identity, Kind};

/// An id as it names a user: numbers without `+`, so that a number and the WhatsApp id of the same digits are one. `None` for what several
/// persons share.
fn named(identity: &Identity) -> Option<String> {
    let shared = identity.value.contains(PARENT);
    (!shared).then(|| identity.value.trim_start_matches('+').to_owned())
}

/// The ids under which a customer writes.
pub(crate) fn names(who: &WhatsAppIdentity) -> BTreeSet<String> {
    identities(who).iter().filter_map(named).collect()
}

impl Known {
    /// Everything that a contact alone is known by to WhatsApp, as far as it is known here: digits of telephones and user ids.
    pub(crate) fn names(&self, contact: ContactId) -> BTreeSet<String> {
        let of_chats = |one: &Identity| match one.kind {
            Kind::Phone | Kind::Whatsapp | Kind::Bsuid => named(one),
            Kind::Email => None,
        };
        self.owners
            .iter()
            .filter(|(_, owner)| **owner == contact)
            .filter_map(|(one, _)| of_chats(one))
            .collect()
    }
}

/// The ids of a contact that are those of the user who is written to as `to`: his WhatsApp id, the digits by which others may dial it, and
/// his user id, while the contact has one of each at most; else, and for a telephone that is not among them (a second one, which a person
/// noted), only what he is written to by.
///
/// # Errors
/// Database errors.
pub(crate) async fn of_user(
    tx: &mut PgConnection,
    contact: ContactId,
    to: &WhatsAppIdentity,
) -> Result<Vec<String>, Error> {
    let all = of_contacts(tx, &[contact.uuid()]).await?;
    Ok(user(&all, to).into_iter().collect())
}

fn user(all: &[Identity], to: &WhatsAppIdentity) -> BTreeSet<String> {
    let of =
        |kind| -> BTreeSet<String> { all.iter().filter(|one| one.kind == kind).filter_map(named).collect() };
    let written_to = [&to.wa_id, &to.phone, &to.user_id].into_iter().find(|one| !one.is_empty());
    let Some(written_to) = written_to.map(|one| one.trim_start_matches('+').to_owned()) else {
        return BTreeSet::new();
    };
    let (ids, users) = (of(Kind::Whatsapp), of(Kind::Bsuid));
    let is_one = ids.len() <= 1 && users.len() <= 1;
    let dialled: Vec<String> = ids.iter().flat_map(|id| other_digits(id)).collect();
    let one: BTreeSet<String> = ids.into_iter().chain(users).chain(dialled).collect();
    if is_one && one.contains(&written_to) { one } else { BTreeSet::from([written_to]) }
}

/// Digits that Meta or a person may write otherwise, for the same telephone: mobile numbers of Mexico with or without a 1 behind the
/// country code, of Brazil with or without the ninth digit, of Argentina with a 9 behind the country code or a 15 behind the area
/// (Meta's page on numbers says so of Brazil and Mexico:
/// <https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/phone-numbers>).
pub(crate) fn other_digits(digits: &str) -> Vec<String> {
    let plain = digits.bytes().all(|one| one.is_ascii_digit());
    let Some((country, rest)) = digits.split_at_checked(2).filter(|_| plain) else { return Vec::new() };
    let parts = |at: usize| rest.split_at_checked(at).unwrap_or((rest, ""));
    match (country, rest.len()) {
        ("52", 10) => vec![format!("521{rest}")],
        ("52", 11) if rest.starts_with('1') => vec![format!("52{}", parts(1).1)],
        ("55", 10) => vec![format!("55{}9{}", parts(2).0, parts(2).1)],
        ("55", 11) if parts(2).1.starts_with('9') => {
            vec![format!("55{}{}", parts(2).0, parts(3).1)]
        }
        ("54", 10) => argentine(rest).into_iter().filter(|one| one != digits).collect(),
        ("54", 11) if rest.starts_with('9') => {
            argentine(parts(1).1).into_iter().filter(|one| one != digits).collect()
        }
        // With the 15 behind an area code of two to four digits.
        ("54", 12) => (2..=4)
            .filter_map(|area| {
                let (area, behind) = parts(area);
                behind.strip_prefix("15").map(|number| format!("{area}{number}"))
            })
            .flat_map(|national| argentine(&national))
            .filter(|one| one != digits)
            .collect::<BTreeSet<String>>()
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

/// How the telephone of a customer may have been dialled, beside the digits that Meta has.
pub(super) fn dialled_as(who: &WhatsAppIdentity) -> Vec<Identity> {
    let phone = |digits| Identity { kind: Kind::Phone, value: format!("+{digits}") };
    names(who).iter().flat_map(|name| other_digits(name)).map(phone).collect()
}

/// A national number of Argentina, area and subscriber in ten digits, in every way of writing it.
fn argentine(national: &str) -> Vec<String> {
    let with_15 = (2..=4).filter_map(|area| {
        let (area, number) = national.split_at_checked(area)?;
        Some(format!("54{area}15{number}"))
    });
    [format!("54{national}"), format!("549{national}")].into_iter().chain(with_15).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_telephone_has_other_digits_in_three_countries() {
        for (one, other) in [
            ("525512345678", "5215512345678"),
            ("551187654321", "5511987654321"),
            ("541112345678", "5491112345678"),
            ("54111512345678", "5491112345678"),
            ("542966123456", "5492966123456"),
            ("54296615123456", "5492966123456"),
        ] {
            assert!(other_digits(one).contains(&other.to_owned()), "{one}: {:?}", other_digits(one));
            assert!(other_digits(other).contains(&one.to_owned()), "{other}: {:?}", other_digits(other));
            assert!(!other_digits(one).contains(&one.to_owned()));
        }
        for none in ["51987654321", "", "5", "52", "ñandú", "55abcdefghij", "5212345", "521234567890123"] {
            assert_eq!(other_digits(none), Vec::<String>::new(), "{none}");
        }
    }

    #[test]
    fn what_can_be_one_user_is_and_two_telephones_are_two() {
        let of = |kind, value: &str| Identity { kind, value: value.into() };
        let to = |phone: &str| WhatsAppIdentity { phone: phone.into(), ..WhatsAppIdentity::default() };
        let mexican =
            [of(Kind::Phone, "+525512345678"), of(Kind::Whatsapp, "5215512345678"), of(Kind::Bsuid, "MX.1")];
        let all = ["5215512345678", "525512345678", "MX.1"].map(str::to_owned);
        assert_eq!(user(&mexican, &to("+525512345678")), BTreeSet::from(all));
        let two =
            [of(Kind::Whatsapp, "51900000001"), of(Kind::Whatsapp, "51900000002"), of(Kind::Bsuid, "PE.1")];
        assert_eq!(user(&two, &to("+51900000002")), BTreeSet::from(["51900000002".to_owned()]));
        // A second one that a person noted, of which nothing says that it is the same.
        let noted = [
            of(Kind::Phone, "+51900000001"),
            of(Kind::Whatsapp, "51900000001"),
            of(Kind::Phone, "+51900000002"),
        ];
        assert_eq!(user(&noted, &to("+51900000002")), BTreeSet::from(["51900000002".to_owned()]));
        assert_eq!(user(&noted, &to("+51900000001")), BTreeSet::from(["51900000001".to_owned()]));
        assert_eq!(user(&noted, &WhatsAppIdentity::default()), BTreeSet::new());
        let users = [of(Kind::Bsuid, "PE.1"), of(Kind::Bsuid, "PE.2"), of(Kind::Bsuid, "PE.ENT.3")];
        let one = WhatsAppIdentity { user_id: "PE.2".into(), ..WhatsAppIdentity::default() };
        assert_eq!(user(&users, &one), BTreeSet::from(["PE.2".to_owned()]));
    }
}
