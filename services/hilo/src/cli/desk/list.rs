//! The agent's list, kept from a snapshot per channel and the changes after it: newer versions win, whatever order they come in.

use std::collections::{BTreeMap, BTreeSet};

use hilo_proto::attention::v1::watch_desk_response::Update;
use hilo_proto::attention::v1::{DeskCounters, DeskItem, DeskSnapshot};
use hilo_proto::event::v1::InteractionState;

use super::command::ItemName;

/// Removals remembered, so that a late older version does not bring an item back.
const MAX_REMOVED: usize = 10_000;

/// Something a person wants to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It rings at the agent (or at everyone).
    Ringing(u32),
    /// It came into the queue and rings at nobody here.
    Queued(u32),
    /// The customer wrote in an open item of the agent.
    Message(u32),
    /// A queued item left: another agent took it, or it moved on.
    Left(u32),
    /// An item that the agent offered to another is open here again: nobody took it.
    CameBack(u32),
}

/// The list.
#[derive(Debug, Default)]
pub struct DeskList {
    items: BTreeMap<String, DeskItem>,
    removed: BTreeMap<String, i64>,
    numbers: BTreeMap<String, u32>,
    /// Own replies whose item has not come back yet, by interaction.
    own_replies: BTreeMap<String, i32>,
    /// Items the agent offered to another.
    offered_on: BTreeSet<String>,
    /// By channel, from its first snapshot on.
    counters: BTreeMap<String, DeskCounters>,
    /// How many channels are followed; 0 is one.
    channels: usize,
}

impl DeskList {
    /// A list of so many channels.
    pub fn of(channels: usize) -> Self {
        Self { channels, ..Self::default() }
    }

    /// True once the snapshot of each channel has come.
    pub fn is_complete(&self) -> bool {
        self.counters.len() >= self.channels.max(1)
    }

    /// Abiertas and En cola, of all channels.
    pub fn counters(&self) -> DeskCounters {
        self.counters.values().fold(DeskCounters::default(), |sum, one| DeskCounters {
            open: sum.open.saturating_add(one.open),
            queued: sum.queued.saturating_add(one.queued),
        })
    }

    /// Takes a change of a channel; answers what a person wants to hear of.
    pub fn apply(&mut self, channel: &str, update: Update) -> Vec<Notice> {
        match update {
            Update::Snapshot(snapshot) => self.replace(channel, snapshot),
            Update::Item(item) => self.put(item).into_iter().collect(),
            Update::Removal(removal) => {
                let known = self.items.get(&removal.interaction_id).map(|item| item.version);
                if known.is_some_and(|version| version > removal.version) {
                    return Vec::new();
                }
                self.forget_oldest();
                self.removed.insert(removal.interaction_id.clone(), removal.version);
                let gone = self.items.remove(&removal.interaction_id);
                gone.filter(is_queued)
                    .map(|item| Notice::Left(self.number(&item.interaction_id)))
                    .into_iter()
                    .collect()
            }
            Update::Counters(counters) => {
                // Before the snapshot they say nothing yet.
                if let Some(known) = self.counters.get_mut(channel) {
                    *known = counters;
                }
                Vec::new()
            }
            Update::Alive(_) => Vec::new(),
        }
    }

    fn forget_oldest(&mut self) {
        if self.removed.len() >= MAX_REMOVED {
            // Ids are time-ordered (UUID version 7), so the first one is the oldest.
            self.removed.pop_first();
        }
    }

    fn replace(&mut self, channel: &str, snapshot: DeskSnapshot) -> Vec<Notice> {
        let (before, others) = std::mem::take(&mut self.items)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, item)| item.channel == channel);
        self.items = others;
        // What the snapshot holds is there, whatever was removed earlier.
        for item in &snapshot.items {
            self.removed.remove(&item.interaction_id);
        }
        self.counters.insert(channel.to_owned(), snapshot.counters.unwrap_or_default());
        let mut notices = Vec::new();
        for item in snapshot.items {
            let notice = self.notice(before.get(&item.interaction_id), &item);
            notices.extend(notice);
            self.items.insert(item.interaction_id.clone(), item);
        }
        notices
    }

    fn put(&mut self, item: DeskItem) -> Option<Notice> {
        let known = self.items.get(&item.interaction_id).map(|known| known.version);
        let removed = self.removed.get(&item.interaction_id).copied();
        if known.is_some_and(|version| version > item.version)
            || removed.is_some_and(|version| version >= item.version)
        {
            return None;
        }
        let before = self.items.insert(item.interaction_id.clone(), item.clone());
        self.notice(before.as_ref(), &item)
    }

    fn notice(&mut self, before: Option<&DeskItem>, item: &DeskItem) -> Option<Notice> {
        let number = self.number(&item.interaction_id);
        let rang = before.is_some_and(|before| before.ringing && before.offer_id == item.offer_id);
        if item.ringing && !rang {
            return Some(Notice::Ringing(number));
        }
        if !is_queued(item) && before.is_none_or(is_queued) && self.offered_on.remove(&item.interaction_id) {
            return Some(Notice::CameBack(number));
        }
        let Some(before) = before else {
            return is_queued(item).then_some(Notice::Queued(number));
        };
        let more = item.message_count.saturating_sub(before.message_count).max(0);
        let own = self.own_replies.remove(&item.interaction_id).unwrap_or_default();
        if own > more {
            self.own_replies.insert(item.interaction_id.clone(), own - more);
        }
        (!is_queued(item) && more > own).then_some(Notice::Message(number))
    }

    /// The agent has replied: one message more in this item is no news.
    pub fn replied(&mut self, interaction_id: &str) {
        *self.own_replies.entry(interaction_id.to_owned()).or_default() += 1;
    }

    /// The agent has offered the item to another: when it is open here again, that is news.
    pub fn offered_on(&mut self, interaction_id: &str) {
        self.offered_on.insert(interaction_id.to_owned());
    }

    /// The agent has opened the item: that it is open here is no news.
    pub fn opened(&mut self, interaction_id: &str) {
        self.offered_on.remove(interaction_id);
    }

    /// The number of an item in this session; it never changes and is never used again.
    pub fn number(&mut self, interaction_id: &str) -> u32 {
        if let Some(number) = self.numbers.get(interaction_id) {
            return *number;
        }
        let number = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.numbers.insert(interaction_id.to_owned(), number);
        number
    }

    /// The id behind a name, also of an item that has left.
    pub fn find(&self, name: &ItemName) -> Option<String> {
        match name {
            ItemName::Next => self.next(),
            ItemName::Number(number) => {
                self.numbers.iter().find(|(_, known)| *known == number).map(|(id, _)| id.clone())
            }
            ItemName::Attention(number) => self
                .items
                .values()
                .find(|item| item.attention_number == *number)
                .map(|item| item.interaction_id.clone()),
            ItemName::Id(id) => Some(id.clone()),
        }
    }

    fn next(&self) -> Option<String> {
        let queued = self.items.values().filter(|item| is_queued(item));
        let first = queued.min_by_key(|item| {
            let since = item.waiting_since.unwrap_or_default();
            (!item.ringing, since.seconds, since.nanos, item.interaction_id.clone())
        });
        first.map(|item| item.interaction_id.clone())
    }

    /// The item, while it is in the list.
    pub fn get(&self, interaction_id: &str) -> Option<&DeskItem> {
        self.items.get(interaction_id)
    }

    /// Every item, in no particular order.
    pub fn items(&self) -> impl Iterator<Item = &DeskItem> {
        self.items.values()
    }

    /// True when something waits to be opened.
    pub fn has_queued(&self) -> bool {
        self.items.values().any(is_queued)
    }

    /// Queued ones first, then open ones, newest first in each, with their numbers.
    pub fn in_order(&mut self) -> Vec<(u32, DeskItem)> {
        let mut items: Vec<DeskItem> = self.items.values().cloned().collect();
        items.sort_by_key(|item| {
            let at = item.last_message_at.unwrap_or_default();
            (!is_queued(item), std::cmp::Reverse((at.seconds, at.nanos)), item.interaction_id.clone())
        });
        items.into_iter().map(|item| (self.number(&item.interaction_id), item)).collect()
    }
}

/// True while nobody has opened it.
pub fn is_queued(item: &DeskItem) -> bool {
    item.state == InteractionState::Queued as i32
}

#[cfg(test)]
mod tests {
    use hilo_proto::attention::v1::DeskRemoval;
    use prost_types::Timestamp;

    use super::*;

    fn item(id: &str, version: i64, state: InteractionState, ringing: bool) -> DeskItem {
        DeskItem {
            interaction_id: id.to_owned(),
            version,
            state: state as i32,
            ringing,
            attention_number: version + 100,
            offer_id: if ringing { "offer".to_owned() } else { String::new() },
            last_message_at: Some(Timestamp { seconds: version, nanos: 0 }),
            ..DeskItem::default()
        }
    }

    fn removal(id: &str, version: i64) -> Update {
        Update::Removal(DeskRemoval { interaction_id: id.to_owned(), version })
    }

    use InteractionState::{Open, Queued};

    #[test]
    fn newer_wins_in_any_order() {
        let mut list = DeskList::default();
        list.apply("", Update::Item(item("a", 3, Open, false)));
        assert_eq!(list.apply("", Update::Item(item("a", 2, Queued, true))), vec![]);
        assert_eq!(list.get("a").map(|item| item.version), Some(3));
        list.apply("", removal("a", 2));
        assert!(list.get("a").is_some());
        list.apply("", removal("a", 4));
        list.apply("", Update::Item(item("a", 4, Open, false)));
        assert!(list.get("a").is_none());
        list.apply("", Update::Item(item("a", 5, Queued, false)));
        assert!(list.get("a").is_some());
    }

    #[test]
    fn a_person_hears_once_of_a_ring_and_of_each_message() {
        let mut list = DeskList::default();
        assert_eq!(list.apply("", Update::Item(item("a", 1, Queued, false))), vec![Notice::Queued(1)]);
        assert_eq!(list.apply("", Update::Item(item("a", 2, Queued, true))), vec![Notice::Ringing(1)]);
        assert_eq!(list.apply("", Update::Item(item("a", 3, Queued, true))), vec![]);
        assert_eq!(list.apply("", Update::Item(item("a", 4, Open, false))), vec![]);
        let wrote = DeskItem { message_count: 2, ..item("a", 5, Open, false) };
        assert_eq!(list.apply("", Update::Item(wrote)), vec![Notice::Message(1)]);
        list.replied("a");
        let status_only = DeskItem { message_count: 2, ..item("a", 6, Open, false) };
        assert_eq!(list.apply("", Update::Item(status_only)), vec![]);
        let own = DeskItem { message_count: 3, ..item("a", 7, Open, false) };
        assert_eq!(list.apply("", Update::Item(own)), vec![]);
        let hers = DeskItem { message_count: 4, ..item("a", 8, Open, false) };
        assert_eq!(list.apply("", Update::Item(hers)), vec![Notice::Message(1)]);
        assert_eq!(list.apply("", Update::Item(item("b", 1, Queued, true))), vec![Notice::Ringing(2)]);
        assert_eq!(list.apply("", removal("b", 2)), vec![Notice::Left(2)]);
    }

    #[test]
    fn what_nobody_took_comes_back_with_a_word() {
        let mut list = DeskList::default();
        list.apply("", Update::Item(item("a", 1, Open, false)));
        list.offered_on("a");
        assert_eq!(list.apply("", Update::Item(item("a", 2, Open, false))), vec![], "it has not left yet");
        list.apply("", removal("a", 3));
        assert_eq!(list.apply("", Update::Item(item("a", 4, Open, false))), vec![Notice::CameBack(1)]);
        assert_eq!(list.apply("", Update::Item(item("a", 5, Open, false))), vec![], "said once");
        // Offered on again and taken by the agent himself out of the queue: he knows.
        list.offered_on("a");
        list.apply("", Update::Item(item("a", 6, Queued, true)));
        list.opened("a");
        assert_eq!(list.apply("", Update::Item(item("a", 7, Open, false))), vec![]);
    }

    #[test]
    fn a_new_snapshot_drops_what_was_and_keeps_the_numbers() {
        let mut list = DeskList::default();
        list.apply("", Update::Item(item("a", 1, Queued, false)));
        list.apply("", Update::Item(item("b", 9, Open, false)));
        let items = vec![item("c", 2, Queued, true), item("b", 9, Open, false)];
        let counters = Some(DeskCounters { open: 1, queued: 1 });
        assert_eq!(
            list.apply("", Update::Snapshot(DeskSnapshot { items, counters })),
            vec![Notice::Ringing(3)]
        );
        let order: Vec<u32> = list.in_order().into_iter().map(|(number, _)| number).collect();
        assert_eq!(order, vec![3, 2]);
        assert_eq!((list.counters().open, list.is_complete()), (1, true));
        assert_eq!(list.find(&ItemName::Attention(109)).as_deref(), Some("b"));
        assert_eq!(list.find(&ItemName::Number(3)).as_deref(), Some("c"));
    }

    #[test]
    fn queued_come_first_newest_first() {
        let mut list = DeskList::default();
        for (id, version, state) in [("a", 1, Open), ("b", 2, Queued), ("c", 3, Open), ("d", 4, Queued)] {
            list.apply("", Update::Item(item(id, version, state, false)));
        }
        let order: Vec<String> = list.in_order().into_iter().map(|(_, item)| item.interaction_id).collect();
        assert_eq!(order, vec!["d", "b", "c", "a"]);
        assert_eq!(list.find(&ItemName::Next).as_deref(), Some("b"));
        list.apply("", Update::Item(item("d", 5, Queued, true)));
        assert_eq!(list.find(&ItemName::Next).as_deref(), Some("d"));
    }

    #[test]
    fn two_channels_are_one_list_and_a_snapshot_replaces_its_own() {
        let of = |channel: &str, items: Vec<DeskItem>| {
            let items =
                items.into_iter().map(|item| DeskItem { channel: channel.to_owned(), ..item }).collect();
            Update::Snapshot(DeskSnapshot { items, counters: Some(DeskCounters { open: 1, queued: 2 }) })
        };
        let mut list = DeskList::of(2);
        list.apply("email", of("email", vec![item("a", 1, Open, false)]));
        assert!(!list.is_complete());
        list.apply("whatsapp", Update::Counters(DeskCounters { open: 9, queued: 9 }));
        assert!(!list.is_complete(), "counters are no list");
        list.apply("whatsapp", of("whatsapp", vec![item("b", 2, Queued, true)]));
        assert_eq!((list.is_complete(), list.counters().open, list.counters().queued), (true, 2, 4));
        list.apply("whatsapp", of("whatsapp", Vec::new()));
        assert!(list.get("a").is_some() && list.get("b").is_none());
    }
}
