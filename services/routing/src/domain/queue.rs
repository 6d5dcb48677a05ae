//! How an item gets into the queue of its class and out of it, and how capacity is saved for what is too heavy.

use super::agent::Standing;
use super::campaign::WaitKey;
use super::class::NOWHERE;
use super::engine::Engine;
use super::ids::{AgentId, CampaignId};
use super::item::State;
use super::need::Need;

impl Engine {
    /// Takes an item out of wherever it waits or rests. Costs nothing where it does neither.
    pub(super) fn unqueue(&mut self, slot: u32) {
        let Self { items, campaigns, .. } = self;
        let Some(item) = items.get_mut(slot) else { return };
        let (resting, place) =
            (std::mem::take(&mut item.resting), std::mem::replace(&mut item.place, NOWHERE));
        if !resting && place == NOWHERE {
            return;
        }
        let (id, heavy) = (item.campaign, item.weight() > 1);
        let preferred = item.demand.as_ref().and_then(|demand| demand.preferred);
        let Some(campaign) = campaigns.get_mut(id.0 as usize) else { return };
        if resting {
            campaign.resting.remove(&slot);
            return;
        }
        let Some(key) = item.wait_key(slot, campaign) else { return };
        if let Some(class) = campaign.classes.get_mut(place) {
            class.waiting.remove(&key);
            class.starving.remove(&key);
            if class.waiting.is_empty() {
                campaign.classes.emptied(place);
            }
        }
        if let Some(preferred) = preferred {
            self.preferring.remove(&(preferred.agent, slot));
        }
        if heavy {
            self.let_go(slot);
        }
    }

    /// Puts an item where it waits or rests, if it does.
    pub(super) fn enqueue(&mut self, slot: u32) {
        let Some(item) = self.items.get(slot) else { return };
        let (State::Waiting(wait), id) = (item.state, item.campaign) else { return };
        if item.rest_until.is_some() {
            let resting = item.rests_between_rounds();
            if let Some(item) = self.items.get_mut(slot) {
                item.resting = resting;
            }
            if resting {
                self.campaign_mut(id).resting.insert(slot);
            }
            return;
        }
        let Self { campaigns, items, agents, now, .. } = self;
        let (Some(campaign), Some(item)) = (campaigns.get_mut(id.0 as usize), items.get_mut(slot)) else {
            return;
        };
        let Some(key) = item.wait_key(slot, campaign) else { return };
        let need = Need::of(item, wait, campaign, agents, *now);
        let starving = item.saving_at(wait, campaign).is_some_and(|at| at <= *now);
        if let Some(preferred) = item.preferred_at(*now) {
            self.preferring.insert((preferred.agent, slot));
        }
        let class = campaign.classes.place(&need, &campaign.config, agents);
        item.place = class;
        if let Some(class) = campaign.classes.get_mut(class) {
            class.waiting.insert(key);
            if starving {
                class.starving.insert(key);
            }
        }
        self.list(id, class, key);
    }

    /// Looks again at what an item asks for.
    pub(super) fn requeue(&mut self, slot: u32) {
        self.unqueue(slot);
        self.enqueue(slot);
    }

    /// Puts a class on the list of those to be matched when it has something to do, and again when this item goes before
    /// all that were there.
    pub(super) fn list(&mut self, id: CampaignId, class: u32, key: WaitKey) {
        let Some(campaign) = self.campaigns.get_mut(id.0 as usize) else { return };
        let Some(head) = campaign.head(class) else { return };
        if let Some(class) = campaign.classes.get_mut(class)
            && std::mem::replace(&mut class.listed, true)
            && head != key
        {
            return;
        }
        self.listed.push((id, class));
    }

    /// Saves the capacity of the member nearest to what a heavy item needs.
    pub(super) fn save_for(&mut self, slot: u32, id: CampaignId, class: u32) {
        let Self { campaigns, items, agents, kept, .. } = self;
        let (Some(item), Some(campaign)) = (items.get(slot), campaigns.get_mut(id.0 as usize)) else {
            return;
        };
        let (key, channel) = (item.wait_key(slot, campaign), campaign.config.channel);
        let Some(found) = campaign.classes.get(class) else { return };
        let member = |(_, position): &(_, u32)| campaign.member(*position);
        let fresh = found.short.iter().filter_map(member).find(|agent| !item.has_passed(*agent));
        let Some(agent) = fresh.or_else(|| found.short.iter().find_map(member)) else { return };
        if let (Some(class), Some(key)) = (campaign.classes.get_mut(class), key) {
            class.starving.remove(&key);
        }
        agents.get_mut(agent).lane_mut(channel).saving_for = Some(slot);
        kept.insert(slot, agent);
        self.refresh(agent, channel);
    }

    /// Ends the saving of capacity for an item, if there is any.
    pub(super) fn let_go(&mut self, slot: u32) {
        let Some(agent) = self.kept.remove(&slot) else { return };
        let campaign = self.items.get(slot).and_then(|item| self.campaign(item.campaign));
        let Some(channel) = campaign.map(|campaign| campaign.config.channel) else { return };
        self.agents.get_mut(agent).lane_mut(channel).saving_for = None;
        self.refresh(agent, channel);
    }

    /// Heavy items whose agent is of no use any more look for another.
    pub(super) fn release_unsuited(&mut self) {
        while let Some(slot) = self.unsuited.pop() {
            self.requeue(slot);
        }
    }

    /// Looks at an agent whose capacity is saved: it may be enough now, or he may be of no use for it any more.
    pub(super) fn look_at_saved(&mut self, agent: AgentId, slot: u32, standing: Standing, free: u32) {
        let weight = self.items.get(slot).map_or(1, |item| item.weight());
        match standing {
            Standing::Saving if free >= weight => self.enough.push((slot, agent)),
            Standing::Saving | Standing::Full | Standing::Held => {}
            Standing::Inactive
            | Standing::Absent
            | Standing::Unknown
            | Standing::Paused
            | Standing::Eligible => self.unsuited.push(slot),
        }
    }
}
