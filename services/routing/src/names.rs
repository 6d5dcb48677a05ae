//! Keys of agents, campaigns and skills and the small numbers the engine uses for them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{AgentId, CampaignId, SkillId};

/// One kind of key, numbered in the order of first use. It only grows; a directory has thousands of keys, not millions.
#[derive(Debug, Default)]
struct Numbers {
    by_key: HashMap<Arc<str>, u32>,
    keys: Vec<Arc<str>>,
}

impl Numbers {
    fn number(&mut self, key: &str) -> u32 {
        if let Some(number) = self.by_key.get(key) {
            return *number;
        }
        let number = self.keys.len() as u32;
        let key: Arc<str> = key.into();
        self.keys.push(key.clone());
        self.by_key.insert(key, number);
        number
    }

    fn key(&self, number: u32) -> Arc<str> {
        self.keys.get(number as usize).cloned().unwrap_or_default()
    }
}

/// The keys of one engine.
#[derive(Debug, Default)]
pub struct Names {
    agents: Numbers,
    campaigns: Numbers,
    skills: Numbers,
}

impl Names {
    /// The agent's number.
    pub fn agent(&mut self, key: &str) -> AgentId {
        AgentId(self.agents.number(key))
    }

    /// The campaign's number.
    pub fn campaign(&mut self, key: &str) -> CampaignId {
        CampaignId(self.campaigns.number(key))
    }

    /// The skill's number.
    pub fn skill(&mut self, key: &str) -> SkillId {
        SkillId(self.skills.number(key))
    }

    /// The agent's key; empty for a number this table did not give.
    pub fn agent_key(&self, agent: AgentId) -> Arc<str> {
        self.agents.key(agent.0)
    }

    /// The campaign's key; empty for a number this table did not give.
    pub fn campaign_key(&self, campaign: CampaignId) -> Arc<str> {
        self.campaigns.key(campaign.0)
    }

    /// The skill's key; empty for a number this table did not give.
    pub fn skill_key(&self, skill: SkillId) -> Arc<str> {
        self.skills.key(skill.0)
    }
}
