//! Who has what: the items of each agent, and the load and idleness that follow from them.

use super::engine::Engine;
use super::ids::{AgentId, Channel};
use super::item::Item;

impl Engine {
    /// Counts what is committed, from which follows since when an agent is idle.
    pub(super) fn hand_over(&mut self, from: Option<AgentId>, to: Option<AgentId>, channel: Channel) {
        let now = self.now;
        if let Some(agent) = from {
            let lane = self.agents.get_mut(agent).lane_mut(channel);
            lane.held_items = lane.held_items.saturating_sub(1);
            if lane.held_items == 0 {
                lane.idle_since = now;
            }
        }
        if let Some(agent) = to {
            self.agents.get_mut(agent).lane_mut(channel).held_items += 1;
        }
    }

    pub(super) fn seat(&mut self, agent: AgentId, channel: Channel, slot: u32) {
        let weight = self.items.get(slot).map_or(1, Item::weight);
        let occupant = self.agents.get_mut(agent);
        occupant.items.push(slot);
        let seat = (occupant.items.len() - 1) as u32;
        let lane = occupant.lane_mut(channel);
        lane.load = lane.load.saturating_add(weight);
        if let Some(item) = self.items.get_mut(slot) {
            item.seat = seat;
        }
        self.refresh(agent, channel);
    }

    pub(super) fn unseat(&mut self, agent: AgentId, channel: Channel, slot: u32) {
        let Some((seat, weight)) = self.items.get(slot).map(|item| (item.seat as usize, item.weight()))
        else {
            return;
        };
        let occupant = self.agents.get_mut(agent);
        debug_assert_eq!(occupant.items.get(seat), Some(&slot));
        if seat < occupant.items.len() {
            occupant.items.swap_remove(seat);
        }
        let lane = occupant.lane_mut(channel);
        lane.load = lane.load.saturating_sub(weight);
        if let Some(moved) = occupant.items.get(seat).copied()
            && let Some(item) = self.items.get_mut(moved)
        {
            item.seat = seat as u32;
        }
        self.refresh(agent, channel);
    }
}
