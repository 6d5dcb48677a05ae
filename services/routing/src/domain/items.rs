//! All live items: slots that are used again, and an index by interaction.

use super::ids::InteractionId;
use super::index::Index;
use super::item::Item;

/// The items.
#[derive(Debug, Default)]
pub(super) struct Items {
    slots: Vec<Option<Item>>,
    free: Vec<u32>,
    index: Index,
}

impl Items {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, interaction: InteractionId) -> Option<u32> {
        self.index.find(interaction.mixed(), |slot| {
            self.get(slot).is_some_and(|item| item.interaction == interaction)
        })
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Item> {
        self.slots.get(slot as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Item> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// Stores a new item and answers its slot.
    pub(super) fn insert(&mut self, item: Item) -> u32 {
        let Self { slots, free, index } = self;
        let slot = free.pop().unwrap_or_else(|| {
            slots.push(None);
            (slots.len() - 1) as u32
        });
        index.insert(item.interaction.mixed(), slot);
        if let Some(place) = slots.get_mut(slot as usize) {
            *place = Some(item);
        }
        slot
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Item> {
        let Self { slots, free, index } = self;
        let hash = slots.get(slot as usize)?.as_ref()?.interaction.mixed();
        index.remove(hash, slot);
        free.push(slot);
        slots.get_mut(slot as usize)?.take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Item)> {
        self.slots.iter().enumerate().filter_map(|(slot, place)| Some((slot as u32, place.as_ref()?)))
    }
}
