//! Who a customer is: by phone number, WhatsApp id and business-scoped user id (BSUID), of which any may be missing.
//!
//! Source: Meta, "Business-scoped user IDs" (2026): a BSUID belongs to one person and one business portfolio, does not change
//! with the user name, and is a new one after a change of number. A number can pass to another person.

use std::collections::HashMap;

use hilo_kit::ids::Uuid;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use serde_json::Value;

use super::json::{array, object, short, text};

/// Longest name of a person kept, in characters.
const NAME_CHARS: usize = 200;

/// `contacts` of a change, found by what they say: a body may hold as many of them as messages.
#[derive(Clone, Debug, Default)]
pub struct Contacts<'a> {
    by_user_id: HashMap<String, &'a Value>,
    by_wa_id: HashMap<String, &'a Value>,
    only: Option<&'a Value>,
}

impl<'a> Contacts<'a> {
    /// Of two for the same person the first counts.
    pub fn new(contacts: &'a [Value]) -> Self {
        let mut all = Self::default();
        for contact in contacts {
            all.by_user_id.entry(user_id(&text(contact, "user_id"))).or_insert(contact);
            all.by_wa_id.entry(digits(&text(contact, "wa_id"))).or_insert(contact);
        }
        if let [only] = contacts {
            all.only = Some(only);
        }
        all
    }

    /// The contact of who writes from this number or under this id; the only one also when nothing says whose it is. Never one
    /// that names another person.
    fn of(&self, from: &str, user: &str) -> &'a Value {
        let named = |index: &HashMap<String, &'a Value>, value: &str| {
            if value.is_empty() { None } else { index.get(value).copied() }
        };
        let found = [named(&self.by_user_id, user), named(&self.by_wa_id, from), self.only];
        found.into_iter().flatten().find(|contact| agrees(contact, from, user)).unwrap_or(&Value::Null)
    }
}

/// False when the contact is another person's: the user id decides, a number only where one of them has no user id.
fn agrees(contact: &Value, from: &str, user: &str) -> bool {
    let (its_user, its_number) = (user_id(&text(contact, "user_id")), digits(&text(contact, "wa_id")));
    if !user.is_empty() && !its_user.is_empty() {
        return user == its_user;
    }
    from.is_empty() || its_number.is_empty() || from == its_number
}

/// Reads who wrote `message`, with what `contacts` of the same change says of him.
pub fn of_message(message: &Value, contacts: &Contacts<'_>) -> WhatsAppIdentity {
    let from = digits(&text(message, "from"));
    let user_id = user_id(&text(message, "from_user_id"));
    let contact = contacts.of(&from, &user_id);
    let told = digits(&text(contact, "wa_id"));
    WhatsAppIdentity {
        wa_id: if told.is_empty() { from.clone() } else { told },
        phone: phone(&from),
        user_id: first(user_id, self::user_id(&text(contact, "user_id"))),
        parent_user_id: first(
            self::user_id(&text(message, "from_parent_user_id")),
            self::user_id(&text(contact, "parent_user_id")),
        ),
        username: short(object(contact, "profile"), "username", NAME_CHARS),
        profile_name: short(object(contact, "profile"), "name", NAME_CHARS),
    }
}

/// Who set a preference: it names him by his WhatsApp id and, since 2026, his user id.
pub fn of_preference(told: &Value, contacts: &Contacts<'_>) -> WhatsAppIdentity {
    let (wa_id, user) = (digits(&text(told, "wa_id")), user_id(&text(told, "user_id")));
    let contact = contacts.of(&wa_id, &user);
    let wa_id = first(wa_id, digits(&text(contact, "wa_id")));
    WhatsAppIdentity {
        phone: phone(&wa_id),
        wa_id,
        user_id: first(user, user_id(&text(contact, "user_id"))),
        ..WhatsAppIdentity::default()
    }
}

/// The identities before and after a change that Meta tells of in a system item.
pub fn of_change(message: &Value, system: &Value) -> (WhatsAppIdentity, WhatsAppIdentity) {
    let before = digits(&text(message, "from"));
    let new_user = user_id(&text(system, "user_id"));
    let told = user_id(&text(message, "from_user_id"));
    let previous = user_id(&text(system, "previous_user_id"));
    let old = WhatsAppIdentity {
        wa_id: before.clone(),
        phone: phone(&before),
        user_id: if previous.is_empty() && told != new_user { told } else { previous },
        parent_user_id: user_id(&text(system, "previous_parent_user_id")),
        ..WhatsAppIdentity::default()
    };
    let after = digits(&first(text(system, "wa_id"), text(system, "new_wa_id")));
    let new = WhatsAppIdentity {
        wa_id: after.clone(),
        phone: phone(&after),
        user_id: new_user,
        parent_user_id: user_id(&text(system, "parent_user_id")),
        ..WhatsAppIdentity::default()
    };
    (old, new)
}

/// The user ids before and after, of an element of `user_id_update`; `None` when one of them is missing or they are the same.
pub fn of_user_id_update(told: &Value) -> Option<(WhatsAppIdentity, WhatsAppIdentity)> {
    let (user, parent) = (object(told, "user_id"), object(told, "parent_user_id"));
    let of = |when: &str| {
        let (user_id, parent_user_id) = (user_id(&text(user, when)), user_id(&text(parent, when)));
        WhatsAppIdentity { user_id, parent_user_id, ..WhatsAppIdentity::default() }
    };
    let (old, new) = (of("previous"), of("current"));
    (!old.user_id.is_empty() && !new.user_id.is_empty() && old.user_id != new.user_id).then_some((old, new))
}

/// Whom a message goes to, by Meta's answer to the request: the WhatsApp id where it was sent to a number, the user id where it was
/// sent to one ("Business-scoped user IDs", 2026). The id need not be the digits of the number.
pub fn of_answer(answer: &Value) -> Option<WhatsAppIdentity> {
    let contact = array(answer, "contacts").first()?;
    named(digits(&text(contact, "wa_id")), user_id(&text(contact, "user_id")), String::new())
}

/// Whom a message went to, by a status of it; nobody when that was a group.
pub fn of_status(status: &Value) -> Option<WhatsAppIdentity> {
    if text(status, "recipient_type") == "group" {
        return None;
    }
    let of = |field: &str| text(status, field);
    let (user, parent) = (of("recipient_user_id"), of("recipient_parent_user_id"));
    named(digits(&of("recipient_id")), user_id(&user), user_id(&parent))
}

fn named(wa_id: String, user_id: String, parent_user_id: String) -> Option<WhatsAppIdentity> {
    let identity = WhatsAppIdentity { wa_id, user_id, parent_user_id, ..WhatsAppIdentity::default() };
    (!is_nobody(&identity)).then_some(identity)
}

/// True when nothing names the person.
pub fn is_nobody(identity: &WhatsAppIdentity) -> bool {
    identity.wa_id.is_empty() && identity.user_id.is_empty()
}

/// What the ledger knows of the identities of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The ordering key of the BSUID.
    pub by_user_id: Option<Uuid>,
    /// The ordering key of the WhatsApp id.
    pub by_wa_id: Option<Uuid>,
    /// True when the key of the WhatsApp id belongs to a BSUID, which then is another one than the item's.
    pub wa_id_is_taken: bool,
}

/// The ordering key of who has these identities; `None` for a new customer. The BSUID decides: a number that comes with a BSUID
/// nobody has seen belongs to another person than the BSUID it came with before.
pub fn key(identity: &WhatsAppIdentity, known: Known) -> Option<Uuid> {
    match (identity.user_id.is_empty(), known.by_user_id) {
        (_, Some(key)) => Some(key),
        (true, None) => known.by_wa_id,
        (false, None) => known.by_wa_id.filter(|_| !known.wa_id_is_taken),
    }
}

/// Digits only, without a leading `+`; empty for anything else.
pub fn digits(text: &str) -> String {
    let bare = text.strip_prefix('+').unwrap_or(text);
    let fits = (1..=20).contains(&bare.len()) && bare.bytes().all(|b| b.is_ascii_digit());
    if fits { bare.to_owned() } else { String::new() }
}

fn phone(digits: &str) -> String {
    if (8..=15).contains(&digits.len()) { format!("+{digits}") } else { String::new() }
}

fn user_id(text: &str) -> String {
    let fits = (1..=160).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    if fits { text.to_owned() } else { String::new() }
}

fn first(one: String, other: String) -> String {
    if one.is_empty() { other } else { one }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_customer_is_read_with_and_without_a_number() {
        let contacts = json!([{"wa_id": "51999", "profile": {"name": "X"}},
            {"wa_id": "51987654321", "user_id": "PE.1", "profile": {"name": "Ana", "username": "ana"}}]);
        let contacts = contacts.as_array().unwrap();
        let (all, last) = (&Contacts::new(contacts), &Contacts::new(&contacts[1..]));
        let both = of_message(&json!({"from": "51987654321", "from_user_id": "PE.1"}), all);
        assert_eq!((both.wa_id.as_str(), both.phone.as_str()), ("51987654321", "+51987654321"));
        assert_eq!((both.user_id.as_str(), both.profile_name.as_str()), ("PE.1", "Ana"));
        let nameless = of_message(&json!({"from_user_id": "PE.2"}), all);
        assert_eq!((nameless.wa_id.as_str(), nameless.user_id.as_str()), ("", "PE.2"));
        assert_eq!(nameless.profile_name, "", "another customer's name is not borrowed");
        let alone = of_message(&json!({}), last);
        assert_eq!((alone.wa_id.as_str(), alone.user_id.as_str()), ("51987654321", "PE.1"));
        assert!(is_nobody(&of_message(&json!({"from": "nobody"}), all)));
    }

    #[test]
    fn the_only_contact_is_not_borrowed_from_another_person() {
        let contacts = json!([{"wa_id": "51987654321", "user_id": "PE.1", "profile": {"name": "Ana"}}]);
        let only = &Contacts::new(contacts.as_array().unwrap());
        let table = [
            (json!({}), "PE.1", "51987654321", "Ana"),
            (json!({"from": "51987654321"}), "PE.1", "51987654321", "Ana"),
            (json!({"from_user_id": "PE.1"}), "PE.1", "51987654321", "Ana"),
            // Written in another way, the number may differ; the id is his.
            (json!({"from": "519087654321", "from_user_id": "PE.1"}), "PE.1", "51987654321", "Ana"),
            (json!({"from": "51999999999"}), "", "51999999999", ""),
            (json!({"from_user_id": "PE.2"}), "PE.2", "", ""),
            // His number with another person's id: the number has passed on.
            (json!({"from": "51987654321", "from_user_id": "PE.2"}), "PE.2", "51987654321", ""),
        ];
        for (message, user_id, wa_id, name) in table {
            let who = of_message(&message, only);
            assert_eq!((&*who.user_id, &*who.wa_id, &*who.profile_name), (user_id, wa_id, name), "{message}");
        }
    }

    #[test]
    fn answers_and_statuses_say_whom_a_message_goes_to() {
        let told =
            |identity: Option<WhatsAppIdentity>| identity.map(|of| [of.wa_id, of.user_id, of.parent_user_id]);
        let some = |wa_id: &str, user: &str, parent: &str| Some([wa_id, user, parent].map(str::to_owned));
        let answer = |contacts: Value| told(of_answer(&json!({ "contacts": contacts })));
        assert_eq!(
            answer(json!([{"input": "+525512345678", "wa_id": "5215512345678"}])),
            some("5215512345678", "", "")
        );
        assert_eq!(answer(json!([{"input": "MX.1", "user_id": "MX.1"}])), some("", "MX.1", ""));
        assert_eq!(
            (answer(json!([{"input": "+52"}])), answer(json!([])), answer(json!(7))),
            (None, None, None)
        );
        let status = json!({"recipient_id": "5215512345678", "recipient_user_id": "MX.1",
            "recipient_parent_user_id": "MX.ENT.9"});
        assert_eq!(told(of_status(&status)), some("5215512345678", "MX.1", "MX.ENT.9"));
        assert_eq!(of_status(&json!({"recipient_id": "120363", "recipient_type": "group"})), None);
        assert_eq!(of_status(&json!({"id": "wamid.1"})), None);
    }

    #[test]
    fn a_body_full_of_contacts_is_read_in_one_pass() {
        let contact = |n: usize| json!({"wa_id": format!("51{n:09}"), "profile": {"name": format!("c{n}")}});
        let contacts: Vec<Value> = (0..20_000).map(contact).collect();
        let all = Contacts::new(&contacts);
        for n in 0..20_000 {
            let who = of_message(&json!({"from": format!("51{n:09}")}), &all);
            assert_eq!(who.profile_name, format!("c{n}"));
        }
    }

    #[test]
    fn the_user_id_decides_who_it_is() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let who = |user: &str| WhatsAppIdentity {
            wa_id: "1".into(),
            user_id: user.into(),
            ..WhatsAppIdentity::default()
        };
        let known = |by_user_id, by_wa_id, wa_id_is_taken| Known { by_user_id, by_wa_id, wa_id_is_taken };
        let table = [
            ("", known(None, None, false), None),
            ("", known(None, Some(a), false), Some(a)),
            ("", known(None, Some(a), true), Some(a)),
            ("PE.1", known(None, Some(a), false), Some(a)),
            // The number came with another BSUID before: it has passed to another person.
            ("PE.1", known(None, Some(a), true), None),
            ("PE.1", known(Some(b), Some(a), true), Some(b)),
            ("PE.1", known(Some(b), None, false), Some(b)),
        ];
        for (user, known, expected) in table {
            assert_eq!(key(&who(user), known), expected, "{user} {known:?}");
        }
    }

    #[test]
    fn a_change_names_old_and_new() {
        let (old, new) = of_change(
            &json!({"from": "51911111111", "from_user_id": "PE.2"}),
            &json!({"wa_id": "51922222222", "user_id": "PE.2", "previous_user_id": "PE.1"}),
        );
        assert_eq!((old.wa_id.as_str(), old.user_id.as_str()), ("51911111111", "PE.1"));
        assert_eq!((new.phone.as_str(), new.user_id.as_str()), ("+51922222222", "PE.2"));
    }
}
