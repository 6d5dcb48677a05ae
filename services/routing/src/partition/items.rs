//! States of items, from events, snapshot pages and answers alike: newer wins.

use hilo_kit::error::Error;
use hilo_proto::internal::v1::LiveInteraction;
use uuid::Uuid;

use super::attentions::Place;
use super::{Effect, Partition};
use crate::consumer::Arrived;
use crate::convert::{self, Item};
use crate::domain::{Input, Instant, ItemState, ItemView};

impl Partition {
    /// Takes over an event of one of this partition's campaigns.
    pub fn event(&mut self, arrived: &Arrived, now: Instant) {
        if let Err(error) = self.try_event(arrived, now) {
            // kit's alarm covers what is no event at all; this is one that contradicts itself.
            self.around.metrics.poison.add(1, &[]);
            error.log("applying an event; the attention is read again");
            self.effects.push(Effect::Fetch(arrived.event.attention_id.clone()));
        }
    }

    fn try_event(&mut self, arrived: &Arrived, now: Instant) -> Result<(), Error> {
        let event = &arrived.event;
        let attention = attention_id(&event.attention_id)?;
        match self.attentions.arrived(attention, event.sequence) {
            Place::Old => return Ok(()),
            Place::Next => {}
            Place::Gap => {
                self.around.metrics.gaps.add(1, &[]);
                self.effects.push(Effect::Fetch(event.attention_id.clone()));
            }
        }
        let Some(snapshot) = &event.interaction else { return Ok(()) };
        let item = convert::item(snapshot, &mut self.names)?;
        self.attentions.stated(attention, event.sequence);
        self.item(attention, item, arrived.traceparent.as_deref(), now);
        Ok(())
    }

    /// Takes over a state that was read from attention-state, unless events have overtaken it.
    pub fn live(&mut self, live: &LiveInteraction, now: Instant) -> Result<Option<ItemView>, Error> {
        let attention = attention_id(&live.attention_id)?;
        let Some(snapshot) = &live.interaction else { return Ok(None) };
        let item = convert::item(snapshot, &mut self.names)?;
        if self.attentions.is_superseded(attention, live.sequence) {
            return Ok(None);
        }
        self.attentions.contains(attention, live.sequence);
        self.attentions.stated(attention, live.sequence);
        let traceparent = Some(live.traceparent.as_str()).filter(|parent| !parent.is_empty());
        self.item(attention, item.clone(), traceparent, now);
        Ok(match item {
            Item::Live(view) => Some(view),
            Item::Ended { .. } => None,
        })
    }

    fn item(&mut self, attention: Uuid, item: Item, traceparent: Option<&str>, now: Instant) {
        match item {
            Item::Live(view) if self.is_here(&view) => {
                self.sync.saw(view.interaction);
                self.attentions.holds(attention, view.interaction);
                match (&view.state, traceparent) {
                    (ItemState::Queued(_), Some(parent)) => {
                        self.traces.insert(view.interaction, parent.to_owned());
                    }
                    (ItemState::Queued(_), None) => {}
                    (ItemState::Open(_), _) => {
                        self.traces.remove(&view.interaction);
                    }
                }
                self.feed(Input::Item(view), now);
            }
            Item::Live(ItemView { interaction, version, .. }) | Item::Ended { interaction, version } => {
                self.attentions.ended(attention);
                self.traces.remove(&interaction);
                self.feed(Input::Gone { interaction, version }, now);
            }
        }
    }

    fn is_here(&self, view: &ItemView) -> bool {
        self.campaigns.contains(&*self.names.campaign_key(view.campaign))
    }

    /// Takes over what attention-state answered about one attention; nothing means that it has no live item any more.
    pub fn fetched(&mut self, attention_id: &str, interactions: &[LiveInteraction], now: Instant) {
        for live in interactions {
            if let Err(error) = self.live(live, now) {
                error.log("reading an attention again");
            }
        }
        let Ok(attention) = Uuid::try_parse(attention_id) else { return };
        if interactions.is_empty()
            && let Some(interaction) = self.attentions.live_item(attention)
            && let Some(version) = self.engine.version_of(interaction)
        {
            self.attentions.ended(attention);
            self.traces.remove(&interaction);
            self.feed(Input::Gone { interaction, version }, now);
        }
    }

    /// Asks for an attention again, whose event could not be read.
    pub fn refetch(&mut self, attention_id: String) {
        if !self.campaigns.is_empty() {
            self.effects.push(Effect::Fetch(attention_id));
        }
    }
}

fn attention_id(text: &str) -> Result<Uuid, Error> {
    hilo_kit::ids::parse(text, "attention_id")
}
