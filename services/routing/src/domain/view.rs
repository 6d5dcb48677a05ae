//! The engine's state in a canonical, comparable form, for tests and diagnosis.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::Engine;
use super::ids::{AgentId, CampaignId, InteractionId};

/// One item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemLine {
    /// Version.
    pub version: i64,
    /// Campaign.
    pub campaign: CampaignId,
    /// State, as its `Debug` text.
    pub state: String,
    /// Who let it pass in this round.
    pub passed_by: Vec<AgentId>,
}

/// The whole state. Two engines with equal views decide alike (but for the mode random and pauses that are running).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineView {
    /// Items.
    pub items: BTreeMap<InteractionId, ItemLine>,
    /// Per campaign, the members who could take an item that asks for nothing now, in their fixed order.
    pub eligible: BTreeMap<CampaignId, Vec<AgentId>>,
    /// Per campaign, what waits without an offer, in the order of service.
    pub waiting: BTreeMap<CampaignId, Vec<InteractionId>>,
    /// Per agent, the weight of his items in email and WhatsApp.
    pub loads: BTreeMap<AgentId, [u32; 2]>,
    /// Per campaign, the member offered last.
    pub pointers: BTreeMap<CampaignId, Option<AgentId>>,
}

impl EngineView {
    pub(super) fn of(engine: &Engine) -> Self {
        let mut view = Self::default();
        for (_, item) in engine.items.iter() {
            let line = ItemLine {
                version: item.version,
                campaign: item.campaign,
                state: format!("{:?}", item.state),
                passed_by: item.passes.as_ref().map(|passes| passes.by.clone()).unwrap_or_default(),
            };
            view.items.insert(item.interaction, line);
        }
        for campaign in &engine.campaigns {
            let id = campaign.config.campaign;
            let positions = campaign.free().map(|class| class.pool.positions()).unwrap_or_default();
            let members = positions.iter().filter_map(|position| campaign.member(*position));
            view.eligible.insert(id, members.collect());
            let waiting: BTreeSet<_> = campaign.classes.iter().flat_map(|class| &class.waiting).collect();
            view.waiting.insert(id, waiting.into_iter().map(|key| key.interaction).collect());
            view.pointers.insert(id, campaign.pointer.and_then(|position| campaign.member(position)));
        }
        for (id, agent) in engine.agents.iter() {
            let [email, whatsapp] = &agent.lanes;
            view.loads.insert(id, [email.load, whatsapp.load]);
        }
        view
    }
}
