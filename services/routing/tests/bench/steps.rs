//! What may happen in a course: campaigns, and steps of people, clock and wire.

use hilo_routing::domain::*;
use proptest::prelude::*;

use super::{AGENTS, CAMPAIGNS};

#[derive(Debug, Clone)]
pub enum Step {
    Queue(u32),
    Open(usize, u32),
    End(usize),
    Release(usize),
    Decline(usize),
    Pause(u32, bool),
    Presence(u32, u8),
    Active(u32, bool),
    Pass(i64),
    DeliverEvent,
    DeliverAnswer,
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..CAMPAIGNS).prop_map(Step::Queue),
        3 => (any::<usize>(), 0..AGENTS).prop_map(|(item, agent)| Step::Open(item, agent)),
        3 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Release),
        2 => any::<usize>().prop_map(Step::Decline),
        1 => (0..AGENTS, any::<bool>()).prop_map(|(agent, paused)| Step::Pause(agent, paused)),
        2 => (0..AGENTS, 0_u8..4).prop_map(|(agent, presence)| Step::Presence(agent, presence)),
        1 => (0..AGENTS, any::<bool>()).prop_map(|(agent, active)| Step::Active(agent, active)),
        3 => (0_i64..40_000).prop_map(Step::Pass),
        8 => Just(Step::DeliverEvent),
        8 => Just(Step::DeliverAnswer),
    ]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        1 => Just(Mode::Everyone),
        3 => Just(Mode::RoundRobin),
        1 => Just(Mode::LeastBusy),
        1 => Just(Mode::LongestIdle),
        1 => Just(Mode::Random)
    ]
}

prop_compose! {
    pub fn campaign(id: u32)(
        mode in mode(),
        channel in prop_oneof![Just(Channel::Email), Just(Channel::Whatsapp)],
        accept in prop::option::of(1_i64..30),
        overflow in prop::option::of((5_i64..100, any::<bool>())),
        members in Just((0..AGENTS).map(AgentId).collect::<Vec<_>>()).prop_shuffle(),
        size in 1_usize..=AGENTS as usize,
    ) -> CampaignConfig {
        let next = CampaignId((id + 1) % CAMPAIGNS);
        let action = |all| if all { OverflowAction::AssignToAll } else { OverflowAction::SendToCampaign(next) };
        CampaignConfig {
            campaign: CampaignId(id), version: 1, channel, active: true, mode,
            accept_timeout: accept.map(Span::seconds),
            overflow: overflow.map(|(after, all)| Overflow { after: Span::seconds(after), action: action(all) }),
            members: members.into_iter().take(size).collect(),
            pointer: None,
            selection: Selection::default(),
        }
    }
}

/// The directory refuses an overflow into a campaign of another channel.
pub fn one_channel_per_overflow(mut campaigns: Vec<CampaignConfig>) -> Vec<CampaignConfig> {
    let channels: Vec<Channel> = campaigns.iter().map(|config| config.channel).collect();
    campaigns.iter_mut().for_each(|config| {
        let elsewhere = |action| matches!(action, OverflowAction::SendToCampaign(to) if channels[to.0 as usize] != config.channel);
        config.overflow = config.overflow.filter(|overflow| !elsewhere(overflow.action));
    });
    campaigns
}
