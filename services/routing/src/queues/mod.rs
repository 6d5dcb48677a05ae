//! The live panel: queues and agents within the rights of who asks.
//!
//! Any replica answers rightly: what is counted comes from attention-state in one reading, sessions from the bucket that
//! every replica watches. A replica that holds no partition at all answers the same.

mod feed;
mod watch;

use std::collections::{BTreeSet, HashMap};

use hilo_kit::directory::{Directory, Role};
use hilo_kit::error::Error;
use hilo_proto::internal::v1::{CampaignQueue, ReadQueuesResponse, RoutingAgent};
use hilo_proto::routing::v1::{AgentCounts, AgentLoad, AgentPresence, AgentStatus, Queue, ServiceLevel};

use crate::domain::Presence;

pub use feed::Feed;
pub use watch::{Answers, Watcher, Watching, start};

/// Window of the service level: long enough to be steady, short enough to show a bad hour.
pub const WINDOW_SECONDS: i32 = 3_600;
/// Most campaigns asked for by key, by contract.
const MAX_CAMPAIGNS: usize = 200;
/// Who may look at the live panel.
const VIEWERS: [Role; 3] = [Role::Supervisor, Role::Coordinator, Role::Monitor];

/// Campaigns the user may watch, of those wanted (none wanted means all).
///
/// # Errors
/// `ROLE_REQUIRED`, `INVALID_REQUEST`, `CAMPAIGN_NOT_FOUND` alike for a foreign and an unknown one.
pub fn scope(directory: &Directory, user: &str, wanted: &[String]) -> Result<BTreeSet<String>, Error> {
    if !VIEWERS.iter().any(|role| directory.has_role(user, *role)) {
        let needed = "only a supervisor, a coordinator or a monitor may watch queues";
        return Err(Error::denied("ROLE_REQUIRED", needed));
    }
    if wanted.len() > MAX_CAMPAIGNS {
        let bad = Error::invalid("INVALID_REQUEST", "too many campaigns");
        return Err(bad.field("campaign_keys", format!("at most {MAX_CAMPAIGNS}")));
    }
    let visible: BTreeSet<String> = directory
        .campaigns()
        .map(|campaign| campaign.key.clone())
        .filter(|key| directory.may_see_campaign(user, key))
        .collect();
    if wanted.is_empty() {
        return Ok(visible);
    }
    let wanted: BTreeSet<String> = wanted.iter().cloned().collect();
    if wanted.is_subset(&visible) {
        Ok(wanted)
    } else {
        Err(Error::missing("CAMPAIGN_NOT_FOUND", "there is no such campaign"))
    }
}

/// What the board of this replica and the stored absence say together: a board that knows nothing yet (the process has
/// just begun) does not make an absent agent unknown.
pub fn presence(board: Presence, agent: &RoutingAgent) -> Presence {
    match board {
        Presence::Unknown if agent.absent_since.is_some() => Presence::Absent,
        Presence::Present | Presence::Unknown | Presence::Absent => board,
    }
}

/// Queues and agents as shown to somebody.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Panel {
    /// By campaign key.
    pub queues: Vec<Queue>,
    /// By user key.
    pub agents: Vec<AgentStatus>,
}

/// Builds the panel of a scope from one reading.
pub fn panel(
    reading: &ReadQueuesResponse,
    directory: &Directory,
    scope: &BTreeSet<String>,
    board: impl Fn(&str) -> Presence,
) -> Panel {
    let agents: HashMap<&str, (&RoutingAgent, Presence)> = reading
        .agents
        .iter()
        .map(|agent| (agent.agent_key.as_str(), (agent, presence(board(&agent.agent_key), agent))))
        .collect();
    let mut panel = Panel::default();
    let mut campaigns_of: HashMap<&str, Vec<String>> = HashMap::new();
    for queue in reading.queues.iter().filter(|queue| scope.contains(&queue.campaign_key)) {
        let Some(campaign) = directory.campaign(&queue.campaign_key) else { continue };
        let mut counts = AgentCounts::default();
        for member in &campaign.member_keys {
            if let Some((agent, presence)) = agents.get(member.as_str()) {
                count(&mut counts, agent, *presence, &campaign.channel);
                campaigns_of.entry(agent.agent_key.as_str()).or_default().push(campaign.key.clone());
            }
        }
        panel.queues.push(shown(queue, counts));
    }
    let members = reading.agents.iter().filter_map(|agent| {
        let campaigns = campaigns_of.remove(agent.agent_key.as_str())?;
        let (_, presence) = agents.get(agent.agent_key.as_str())?;
        Some(status(agent, *presence, campaigns))
    });
    panel.agents.extend(members);
    panel
}

fn count(counts: &mut AgentCounts, agent: &RoutingAgent, presence: Presence, channel: &str) {
    let place = match (agent.active, presence, agent.paused) {
        (false, _, _) => &mut counts.inactive,
        (true, Presence::Absent, _) => &mut counts.absent,
        (true, Presence::Unknown, _) => &mut counts.unknown,
        (true, Presence::Present, true) => &mut counts.paused,
        (true, Presence::Present, false) => {
            if let Some(lane) = agent.loads.iter().find(|lane| lane.channel == channel) {
                counts.load += lane.load;
                counts.capacity += lane.capacity;
            }
            &mut counts.present
        }
    };
    *place += 1;
}

fn shown(queue: &CampaignQueue, agents: AgentCounts) -> Queue {
    let counted = queue.target_seconds > 0 && queue.taken > 0;
    let service_level = ServiceLevel {
        target_seconds: queue.target_seconds,
        window_seconds: WINDOW_SECONDS,
        taken: queue.taken,
        taken_in_time: queue.taken_in_time,
        share: counted.then(|| f64::from(queue.taken_in_time) / f64::from(queue.taken)),
        overdue: queue.overdue,
    };
    Queue {
        campaign_key: queue.campaign_key.clone(),
        waiting: queue.waiting,
        oldest_waiting_since: queue.oldest_waiting_since,
        offered: queue.offered,
        open: queue.open,
        service_level: Some(service_level),
        agents: Some(agents),
    }
}

fn status(agent: &RoutingAgent, presence: Presence, campaign_keys: Vec<String>) -> AgentStatus {
    let shown = match presence {
        Presence::Present => AgentPresence::Present,
        Presence::Absent => AgentPresence::Absent,
        Presence::Unknown => AgentPresence::Unknown,
    };
    let loads = agent.loads.iter().map(|lane| AgentLoad {
        channel: lane.channel.clone(),
        load: lane.load,
        capacity: lane.capacity,
    });
    AgentStatus {
        agent_key: agent.agent_key.clone(),
        presence: shown.into(),
        paused: agent.paused,
        active: agent.active,
        absent_since: agent.absent_since.filter(|_| presence == Presence::Absent),
        loads: loads.collect(),
        campaign_keys,
    }
}

#[cfg(test)]
mod tests;
