//! One webhook body taken apart: every entry, change, message and status stands alone, so that a bad one sinks no other.
//!
//! Source: Meta, "messages webhook reference" and the references of the other fields, of May to August 2026.

use serde_json::Value;
use time::OffsetDateTime;

use super::item::{self, Item};
use super::json::{array, object, short};
use super::notices::{self, Told};
use super::status::{self, Status};
use super::{identity, tolerant};

/// Raised when the same body would give other items.
pub const VERSION: i32 = 3;
/// Longest field or event name kept, in characters.
const WORD_CHARS: usize = 80;

/// What stands at one place of a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Find {
    /// Where (RFC 6901).
    pub place: String,
    /// Meta's id of the business number it is about; may be empty for notices.
    pub phone_number_id: String,
    /// What.
    pub what: What,
}

/// What a find is.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A customer's item.
    Item(Box<Item>),
    /// What became of a message of ours.
    Status(Status),
    /// Something about the account, a number or a template, or of a field nobody asked for.
    Notice(Notice),
    /// Something that cannot be read: a dead letter.
    Stray(&'static str),
}

/// A notice; its words stay in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Meta's id of the WhatsApp Business Account.
    pub business_account_id: String,
    /// Field of the change.
    pub field: String,
    /// Event as the field names it; may be empty.
    pub event: String,
    /// True when an operator should look.
    pub alarming: bool,
}

/// Takes a body apart; `None` when it is not an object with entries, as Meta's always are. What inside it cannot be read is missing
/// there and nowhere else.
pub fn read(body: &[u8], received_at: OffsetDateTime) -> Option<Vec<Find>> {
    let root = tolerant::parse(body)?;
    let entries = root.get("entry")?.as_array()?;
    let mut finds = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let at = format!("/entry/{number}");
        let changes = array(entry, "changes");
        if changes.is_empty() {
            finds.push(Find {
                place: at,
                phone_number_id: String::new(),
                what: What::Stray("ENTRY_UNREADABLE"),
            });
            continue;
        }
        let account = short(entry, "id", WORD_CHARS);
        for (number, change) in changes.iter().enumerate() {
            read_change(&mut finds, &format!("{at}/changes/{number}"), &account, change, received_at);
        }
    }
    Some(finds)
}

fn read_change(finds: &mut Vec<Find>, at: &str, account: &str, change: &Value, received_at: OffsetDateTime) {
    let field = short(change, "field", WORD_CHARS);
    let value = object(change, "value");
    let phone_number_id = short(object(value, "metadata"), "phone_number_id", WORD_CHARS);
    let before = finds.len();
    let mut push = |place: String, what: What| {
        finds.push(Find { place, phone_number_id: phone_number_id.clone(), what });
    };
    if field == "messages" || field == "calls" {
        let contacts = &identity::Contacts::new(array(value, "contacts"));
        for (number, message) in array(value, "messages").iter().enumerate() {
            push(format!("{at}/value/messages/{number}"), item::read(message, contacts, received_at));
        }
        for (number, call) in array(value, "calls").iter().enumerate() {
            let what = item::read_call(call, contacts, received_at)
                .unwrap_or_else(|| notice(account, "calls", short(call, "event", WORD_CHARS), false));
            push(format!("{at}/value/calls/{number}"), what);
        }
        for (number, told) in array(value, "statuses").iter().enumerate() {
            push(format!("{at}/value/statuses/{number}"), read_status(told, account, received_at));
        }
        for (number, error) in array(value, "errors").iter().enumerate() {
            let what = notice(account, "errors", short(error, "code", WORD_CHARS), true);
            push(format!("{at}/value/errors/{number}"), what);
        }
    }
    if finds.len() == before {
        for (place, what) in read_other(at, account, &field, value) {
            finds.push(Find { place, phone_number_id: phone_number_id.clone(), what });
        }
    }
    // Notices in any case; what they say of a customer is for whoever writes to him.
    let items: Option<(&str, ReadElement)> = match field.as_str() {
        "user_preferences" => Some(("user_preferences", item::read_preference)),
        "user_id_update" => Some(("user_id_update", |told, _, at| item::read_user_id(told, at))),
        _ => None,
    };
    if let Some((name, read)) = items {
        let contacts = &identity::Contacts::new(array(value, "contacts"));
        for (number, told) in array(value, name).iter().enumerate() {
            let place = format!("{at}/value/{name}/{number}");
            let item = read(told, contacts, received_at);
            let find = |what| Find { place, phone_number_id: phone_number_id.clone(), what };
            finds.extend(item.map(find));
        }
    }
}

/// Reads what an element says of a customer, if anything.
type ReadElement = fn(&Value, &identity::Contacts<'_>, OffsetDateTime) -> Option<What>;

fn read_status(told: &Value, account: &str, received_at: OffsetDateTime) -> What {
    match status::read(told, received_at) {
        Ok(status) => What::Status(status),
        Err(status::Unread::Word(word)) => notice(account, "statuses", word, false),
        Err(status::Unread::NoId) => What::Stray("STATUS_UNREADABLE"),
    }
}

fn notice(account: &str, field: &str, event: String, alarming: bool) -> What {
    What::Notice(Notice { business_account_id: account.to_owned(), field: field.to_owned(), event, alarming })
}

/// A change that is neither of messages nor of calls; of groups and preferences each element tells something of its own.
fn read_other(at: &str, account: &str, field: &str, value: &Value) -> Vec<(String, What)> {
    if field.is_empty() || !value.is_object() {
        return vec![(at.to_owned(), What::Stray("CHANGE_UNREADABLE"))];
    }
    let told = |value: &Value| {
        let Told { event, alarming } = notices::read(field, value);
        notice(account, field, event, alarming)
    };
    let elements = notices::elements(field).map(|name| (name, array(value, name)));
    match elements.filter(|(_, all)| !all.is_empty()) {
        Some((name, all)) => {
            let at = |number: usize| format!("{at}/value/{name}/{number}");
            all.iter().enumerate().map(|(number, one)| (at(number), told(one))).collect()
        }
        None => vec![(at.to_owned(), told(value))],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finds(body: &Value) -> Vec<Find> {
        read(body.to_string().as_bytes(), OffsetDateTime::UNIX_EPOCH).unwrap()
    }

    fn change(field: &str, value: Value) -> Value {
        json!({"object": "whatsapp_business_account", "entry": [{"id": "9", "changes": [{"field": field, "value": value}]}]})
    }

    #[test]
    fn one_bad_entry_of_fifty_sinks_no_other() {
        let good = |n: usize| {
            json!({"from": "51987654321", "id": format!("wamid.{n}"), "timestamp": "1749416383",
            "type": "text", "text": {"body": "hola"}})
        };
        let mut messages: Vec<Value> = (0..50).map(good).collect();
        messages[16] =
            json!({"from": "51987654321", "id": "wamid.16", "timestamp": "1749416383", "type": "hologram"});
        messages[20] = json!("nonsense");
        let found =
            finds(&change("messages", json!({"metadata": {"phone_number_id": "1"}, "messages": messages})));
        assert_eq!(found.len(), 50);
        let items = found.iter().filter(|find| matches!(find.what, What::Item(_))).count();
        assert_eq!(items, 49);
        assert_eq!(found[20].what, What::Stray("ITEM_UNREADABLE"));
        assert_eq!(found[20].place, "/entry/0/changes/0/value/messages/20");
        assert!(found.iter().all(|find| find.phone_number_id == "1"));
    }

    #[test]
    fn a_stop_in_the_menu_is_a_notice_and_an_item_of_whoever_it_names() {
        let told = |value: &str, category: &str, more: Value| {
            let mut told = json!({"value": value, "category": category, "timestamp": 1_750_030_073});
            told.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            told
        };
        let marketing = "marketing_messages";
        let eva = json!({"wa_id": "51987654321", "user_id": "PE.1"});
        let all = [
            told("stop", marketing, eva.clone()),
            told("resume", marketing, json!({"user_id": "PE.2"})),
            told("stop", "other", eva.clone()),
            told("pause", marketing, eva),
            told("stop", marketing, json!({})),
        ];
        let value = json!({"metadata": {"phone_number_id": "1"}, "user_preferences": all});
        let found = finds(&change("user_preferences", value));
        let notices = found.iter().filter(|find| matches!(find.what, What::Notice(_))).count();
        assert_eq!(notices, 5, "each is recorded");
        let items: Vec<&Find> = found.iter().filter(|find| matches!(find.what, What::Item(_))).collect();
        let of = |find: &Find| match &find.what {
            What::Item(item) => (item.kind, item.content.wamid.clone()),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            items.iter().map(|find| of(find)).collect::<Vec<_>>(),
            [
                ("preference", "preference.marketing_messages.51987654321.1750030073.true".to_owned()),
                ("preference", "preference.marketing_messages.PE.2.1750030073.false".to_owned()),
            ]
        );
        assert_eq!(items[1].place, "/entry/0/changes/0/value/user_preferences/1");
        let What::Item(first) = &items[0].what else { panic!("{items:?}") };
        let who = first.content.customer.clone().unwrap();
        assert_eq!((&*who.wa_id, &*who.phone, &*who.user_id), ("51987654321", "+51987654321", "PE.1"));
        assert_eq!(first.content.sent_at.unwrap().seconds, 1_750_030_073);
    }

    #[test]
    fn a_new_user_id_is_a_notice_and_an_item_of_whoever_had_the_old_one() {
        let of =
            |user: Value| json!({"user_id": user, "detail": "Eva", "timestamp": "7", "wa_id": "51987654321"});
        let ids = |old: &str, new: &str| of(json!({"previous": old, "current": new}));
        let all = [ids("PE.1", "PE.2"), ids("PE.1", ""), ids("PE.3", "PE.3"), of(json!("PE.4"))];
        let value = json!({"metadata": {"phone_number_id": "1"}, "user_id_update": all});
        let found = finds(&change("user_id_update", value));
        let alarming = found.iter().filter_map(|find| match &find.what {
            What::Notice(notice) => Some(notice.alarming),
            _ => None,
        });
        assert_eq!(alarming.collect::<Vec<_>>(), [false, true, true, true], "each is recorded");
        let [Find { what: What::Item(item), place, .. }] = &found[4..] else { panic!("{found:?}") };
        assert_eq!((place.as_str(), item.kind), ("/entry/0/changes/0/value/user_id_update/0", "system"));
        assert_eq!(item.content.wamid, "user_id.PE.1.PE.2");
        let (old, new) = (item.content.customer.clone().unwrap(), item.moves_to.clone().unwrap());
        assert_eq!((&*old.user_id, &*old.wa_id, &*new.user_id, &*new.wa_id), ("PE.1", "", "PE.2", ""));
        assert_eq!(item.content.sent_at.unwrap().seconds, 7);
    }

    #[test]
    fn each_element_of_groups_and_preferences_is_a_notice_of_its_own() {
        let of = |found: &[Find]| -> Vec<(String, String, bool)> {
            let told = |find: &Find| match &find.what {
                What::Notice(notice) => (find.place.clone(), notice.event.clone(), notice.alarming),
                other => panic!("{other:?}"),
            };
            found.iter().map(told).collect()
        };
        let groups = json!({"groups": [{"type": "group_create"}, {"type": "group_suspend"}, 7]});
        let at = |n: usize| format!("/entry/0/changes/0/value/groups/{n}");
        let expected = [
            (at(0), "group_create".into(), false),
            (at(1), "group_suspend".into(), true),
            (at(2), String::new(), false),
        ];
        assert_eq!(of(&finds(&change("group_status_update", groups))), expected);
        let preferences = json!({"user_preferences": [{"value": "stop"}, {"value": "resume"}]});
        let found = of(&finds(&change("user_preferences", preferences)));
        assert_eq!(found.iter().map(|(_, event, _)| event.as_str()).collect::<Vec<_>>(), ["stop", "resume"]);
        for (field, value) in
            [("group_status_update", json!({"groups": []})), ("security", json!({"event": "X"}))]
        {
            let found = finds(&change(field, value));
            let [Find { what: What::Notice(notice), place, .. }] = found.as_slice() else {
                panic!("{found:?}")
            };
            assert_eq!((place.as_str(), notice.business_account_id.as_str()), ("/entry/0/changes/0", "9"));
        }
    }

    #[test]
    fn errors_calls_and_statuses_stand_beside_messages() {
        let found = finds(&change(
            "messages",
            json!({"metadata": {"phone_number_id": "1"}, "errors": [{"code": 131000}],
                "statuses": [{"id": "wamid.A", "status": "read", "timestamp": "1"}, {"id": "wamid.B", "status": "warning"}, {}],
                "calls": [{"id": "wacid.1", "from": "51987654321", "event": "connect", "timestamp": "1"},
                    {"id": "wacid.1", "from": "51987654321", "event": "terminate"}]}),
        ));
        let kinds: Vec<&str> = found
            .iter()
            .map(|find| match &find.what {
                What::Item(item) => item.kind,
                What::Status(_) => "status",
                What::Notice(_) => "notice",
                What::Stray(reason) => reason,
            })
            .collect();
        assert_eq!(kinds, ["placeholder", "notice", "status", "notice", "STATUS_UNREADABLE", "notice"]);
    }

    #[test]
    fn what_is_no_webhook_is_none_and_what_is_half_one_is_a_stray() {
        for body in ["", "{", "[]", "1", "{}", "{\"entry\": 1}"] {
            assert_eq!(read(body.as_bytes(), OffsetDateTime::UNIX_EPOCH), None, "{body}");
        }
        assert_eq!(finds(&json!({"entry": [7]}))[0].what, What::Stray("ENTRY_UNREADABLE"));
        assert_eq!(finds(&json!({"entry": [{"changes": [7]}]}))[0].what, What::Stray("CHANGE_UNREADABLE"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>) {
            let _ = read(&body, OffsetDateTime::UNIX_EPOCH);
        }
    }
}
