//! Campaigns and agents: configuration, status and presence.

use std::collections::HashSet;
use std::sync::Arc;

use hilo_proto::internal::v1::{GetRoutingConfigResponse, PresenceReport, RoutingAgent};

use super::{Effect, Partition};
use crate::attention::MAX_REPORTS;
use crate::convert;
use crate::domain::{Changed, Input, Instant, Presence, Span};

/// After a report that failed, or that attention-state ignored for a newer one.
const RECHECK: Span = Span::seconds(1);

impl Partition {
    /// Takes over a configuration; campaigns that are new here make the snapshot necessary.
    pub fn configure(&mut self, config: &GetRoutingConfigResponse, now: Instant) {
        self.config_version = self.config_version.max(config.config_version);
        let own = || config.campaigns.iter().filter(|campaign| campaign.partition == self.number);
        let keys: HashSet<String> = own().map(|campaign| campaign.campaign_key.clone()).collect();
        let members: HashSet<&str> =
            own().flat_map(|campaign| campaign.member_keys.iter()).map(String::as_str).collect();
        let views: Vec<_> = own().collect();
        if views.is_empty() && self.campaigns.is_empty() {
            return;
        }
        for gone in self.campaigns.difference(&keys).cloned().collect::<Vec<_>>() {
            let campaign = self.names.campaign(&gone);
            self.feed(Input::CampaignRemoved(campaign), now);
        }
        let grown = keys.difference(&self.campaigns).next().is_some();
        for campaign in views {
            let view = convert::campaign(campaign, config.config_version, &mut self.names);
            self.feed(Input::Campaign(view), now);
        }
        self.campaigns = keys;
        for agent in config.agents.iter().filter(|agent| members.contains(agent.agent_key.as_str())) {
            self.meet(agent, now);
        }
        self.agents.retain(|key, _| members.contains(&**key));
        if grown {
            self.start_sync();
        } else if self.sync.is_built() {
            self.look_at_everybody(now);
        }
    }

    /// Takes over an agent's state if he is a member here and the state is not older.
    pub fn agent(&mut self, agent: &RoutingAgent, now: Instant) {
        if self.agents.contains_key(agent.agent_key.as_str()) {
            self.meet(agent, now);
            self.look_at(&[agent.agent_key.as_str().into()], now);
        }
    }

    fn meet(&mut self, agent: &RoutingAgent, now: Instant) {
        let key: Arc<str> = agent.agent_key.as_str().into();
        if self.agents.get(&key).is_some_and(|known| known.version > agent.version) {
            return;
        }
        self.agents.insert(key, agent.clone());
        let view = convert::agent(agent, &mut self.names);
        self.feed(Input::Agent(view), now);
    }

    /// Somebody's presence may have changed.
    pub fn presence(&mut self, changed: &Changed, now: Instant) {
        match changed {
            Changed::All => self.look_at_everybody(now),
            Changed::Some(agents) => self.look_at(agents, now),
        }
    }

    /// The second look at those whose report was ignored or lost.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.insisting = true;
        self.look_at_everybody(now);
        self.insisting = false;
    }

    pub(super) fn look_at_everybody(&mut self, now: Instant) {
        let everybody: Vec<Arc<str>> = self.agents.keys().cloned().collect();
        self.look_at(&everybody, now);
    }

    /// Brings the engine's and attention-state's idea of these agents' presence in line with the board.
    ///
    /// Who comes back is present for attention-state first and for the engine then, since attention-state would refuse an
    /// offer to somebody it believes absent. Who goes is absent for the engine at once.
    fn look_at(&mut self, agents: &[Arc<str>], now: Instant) {
        if !self.sync.is_built() {
            return;
        }
        let (mut reports, mut changes) = (Vec::new(), Vec::new());
        for key in agents {
            let Some(agent) = self.agents.get(key) else { continue };
            let presence = self.around.board.presence(key);
            let agrees = match presence {
                Presence::Present => agent.absent_since.is_none(),
                Presence::Absent => agent.absent_since.is_some(),
                Presence::Unknown => true,
            };
            if !agrees && self.reporting.insert(key.clone()) {
                // attention-state ignores a report that is older than what it knows. Who is still gone at the second look
                // is gone as of now, whatever newer sign of life a re-created bucket has forgotten.
                let insists = self.insisting && presence == Presence::Absent;
                let seen = self.around.board.last_seen(key).filter(|_| !insists).unwrap_or(now);
                reports.push(PresenceReport {
                    agent_key: key.to_string(),
                    present: presence == Presence::Present,
                    last_seen_at: Some(convert::timestamp(seen)),
                });
            }
            if agrees || presence != Presence::Present {
                changes.push((self.names.agent(key), presence));
            }
        }
        self.feed(Input::Presences(changes), now);
        let chunks = reports.chunks(MAX_REPORTS).map(|chunk| Effect::Report(chunk.to_vec()));
        self.effects.extend(chunks);
    }

    /// Reports were answered with the agents after them, or failed.
    pub fn reported(&mut self, keys: &[String], answer: Option<&[RoutingAgent]>, now: Instant) {
        for key in keys {
            self.reporting.remove(key.as_str());
        }
        for agent in answer.unwrap_or_default() {
            if self.agents.contains_key(agent.agent_key.as_str()) {
                self.meet(agent, now);
            }
        }
        let agreed = |key: &&String| {
            let absent = self.agents.get(key.as_str()).is_some_and(|agent| agent.absent_since.is_some());
            match self.around.board.presence(key) {
                Presence::Present => !absent,
                Presence::Absent => absent,
                Presence::Unknown => true,
            }
        };
        let settled: Vec<Arc<str>> = keys.iter().filter(agreed).map(|key| key.as_str().into()).collect();
        if settled.len() < keys.len() {
            self.recheck_at = Some(now + RECHECK);
        }
        self.look_at(&settled, now);
    }
}
