//! The envelope: object, entries, changes, values; one event or a batch of them.

use serde_json::{Value, json};

use super::{Event, Item};
use crate::config::Shape;

/// A change under construction.
struct Change {
    account: String,
    time: Option<i64>,
    field: String,
    metadata: Value,
    contacts: Vec<Value>,
    messages: Vec<Value>,
    statuses: Vec<Value>,
    whole: Option<Value>,
}

impl Change {
    fn of(event: &Event) -> Self {
        let mut change = Self {
            account: event.account.clone(),
            time: event.time,
            field: event.field.clone(),
            metadata: event.metadata.clone(),
            contacts: Vec::new(),
            messages: Vec::new(),
            statuses: Vec::new(),
            whole: None,
        };
        change.add(event);
        change
    }

    /// Whether `event` may share the arrays: messages with messages, statuses with statuses, of one number.
    fn takes(&self, event: &Event) -> bool {
        let same = match &event.item {
            Item::Message(_) => !self.messages.is_empty(),
            Item::Status(_) => !self.statuses.is_empty(),
            Item::Whole(_) => false,
        };
        same && self.account == event.account && self.field == event.field && self.metadata == event.metadata
    }

    fn add(&mut self, event: &Event) {
        if let Some(contact) = &event.contact
            && !self.contacts.contains(contact)
        {
            self.contacts.push(contact.clone());
        }
        match &event.item {
            Item::Message(message) => self.messages.push(message.clone()),
            Item::Status(status) => self.statuses.push(status.clone()),
            Item::Whole(value) => self.whole = Some(value.clone()),
        }
    }

    fn value(self) -> Value {
        let value = self.whole.unwrap_or_else(|| {
            let mut value = json!({ "messaging_product": "whatsapp", "metadata": self.metadata });
            if let Some(map) = value.as_object_mut() {
                for (name, rows) in
                    [("contacts", self.contacts), ("messages", self.messages), ("statuses", self.statuses)]
                {
                    if !rows.is_empty() {
                        map.insert(name.to_owned(), Value::Array(rows));
                    }
                }
            }
            value
        });
        json!({ "value": value, "field": self.field })
    }
}

/// What makes an entry: the account, and the time where it has one.
type EntryKey = (String, Option<i64>);

/// The whole body for `events`, laid out as `shape` says.
pub(super) fn body(events: &[Event], shape: Shape) -> Value {
    let mut changes: Vec<Change> = Vec::new();
    for event in events {
        match changes.iter_mut().find(|change| shape == Shape::Arrays && change.takes(event)) {
            Some(change) => change.add(event),
            None => changes.push(Change::of(event)),
        }
    }
    let mut entries: Vec<(EntryKey, Vec<Value>)> = Vec::new();
    for change in changes {
        let key = (change.account.clone(), change.time);
        let value = change.value();
        match entries.iter_mut().find(|(of, _)| shape != Shape::Entries && *of == key) {
            Some((_, changes)) => changes.push(value),
            None => entries.push((key, vec![value])),
        }
    }
    let entries: Vec<Value> =
        entries.into_iter().map(|((id, time), changes)| entry(&id, time, &changes)).collect();
    json!({ "object": "whatsapp_business_account", "entry": entries })
}

fn entry(id: &str, time: Option<i64>, changes: &[Value]) -> Value {
    match time {
        Some(time) => json!({ "id": id, "time": time, "changes": changes }),
        None => json!({ "id": id, "changes": changes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(account: &str, item: Item) -> Event {
        Event {
            app: "a".to_owned(),
            account: account.to_owned(),
            metadata: json!({"phone_number_id": "1"}),
            field: "messages".to_owned(),
            contact: Some(json!({"wa_id": "49"})),
            item,
            time: None,
            label: String::new(),
        }
    }

    fn count(body: &Value, pointer: &str) -> usize {
        body.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len)
    }

    #[test]
    fn a_batch_is_laid_out_in_each_of_the_three_ways() {
        let events = [
            event("A", Item::Message(json!({"id": "1"}))),
            event("A", Item::Message(json!({"id": "2"}))),
            event("A", Item::Status(json!({"id": "3"}))),
            event("B", Item::Message(json!({"id": "4"}))),
        ];
        let arrays = body(&events, Shape::Arrays);
        assert_eq!((count(&arrays, "/entry"), count(&arrays, "/entry/0/changes")), (2, 2));
        assert_eq!(count(&arrays, "/entry/0/changes/0/value/messages"), 2);
        assert_eq!(count(&arrays, "/entry/0/changes/0/value/contacts"), 1);
        assert_eq!(count(&arrays, "/entry/0/changes/1/value/statuses"), 1);
        let changes = body(&events, Shape::Changes);
        assert_eq!((count(&changes, "/entry"), count(&changes, "/entry/0/changes")), (2, 3));
        let entries = body(&events, Shape::Entries);
        assert_eq!((count(&entries, "/entry"), count(&entries, "/entry/0/changes")), (4, 1));
    }

    #[test]
    fn a_value_of_its_own_stays_as_it_is() {
        let whole = json!({"event": "ACCOUNT_RESTRICTION"});
        let body = body(&[event("A", Item::Whole(whole.clone()))], Shape::Arrays);
        assert_eq!(body.pointer("/entry/0/changes/0/value"), Some(&whole));
    }
}
