//! Routing groups: campaigns that compete for the same people are decided in one place, so that order and fairness hold
//! among all of them. A group is a connected component of campaigns that share a member or overflow into each other.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::model::{Campaign, Directory};
use super::selection;

/// Number of partitions groups hash to; fixed for the life of an installation, far above any number of replicas.
pub const PARTITIONS: i32 = 64;

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Smallest campaign key of the group; its name.
    pub key: String,
    /// Partition it hashes to.
    pub partition: i32,
    /// Campaign keys in order.
    pub campaigns: Vec<String>,
    /// Digest of all that routing decides by; a different one means a new configuration version.
    pub fingerprint: Vec<u8>,
}

/// The groups of a directory, by key. Inactive campaigns and members count: their items are still alive.
pub fn groups(directory: &Directory) -> Vec<Group> {
    let position: HashMap<&str, usize> =
        directory.campaigns.iter().enumerate().map(|(at, one)| (one.key.as_str(), at)).collect();
    let mut parents: Vec<usize> = (0..directory.campaigns.len()).collect();
    let mut first_of: HashMap<&str, usize> = HashMap::new();
    for (at, campaign) in directory.campaigns.iter().enumerate() {
        for member in &campaign.members {
            let other = *first_of.entry(member.as_str()).or_insert(at);
            join(&mut parents, at, other);
        }
        if let Some(target) = campaign.overflow_campaign.as_ref().and_then(|key| position.get(key.as_str())) {
            join(&mut parents, at, *target);
        }
    }
    let mut members: BTreeMap<usize, Vec<&Campaign>> = BTreeMap::new();
    for (at, campaign) in directory.campaigns.iter().enumerate() {
        members.entry(root(&mut parents, at)).or_default().push(campaign);
    }
    let mut groups: Vec<Group> =
        members.into_values().filter_map(|campaigns| group(directory, campaigns)).collect();
    groups.sort_by(|a, b| a.key.cmp(&b.key));
    groups
}

/// The leader of a campaign's group. Chains are halved on the way, so that long ones cost little.
fn root(parents: &mut [usize], mut at: usize) -> usize {
    loop {
        let parent = parents.get(at).copied().unwrap_or(at);
        if parent == at {
            return at;
        }
        let above = parents.get(parent).copied().unwrap_or(parent);
        if let Some(slot) = parents.get_mut(at) {
            *slot = above;
        }
        at = parent;
    }
}

fn join(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    // The smaller index leads, so that the result does not depend on the order of joining.
    if let Some(parent) = parents.get_mut(a.max(b)) {
        *parent = a.min(b);
    }
}

fn group(directory: &Directory, mut campaigns: Vec<&Campaign>) -> Option<Group> {
    campaigns.sort_by(|a, b| a.key.cmp(&b.key));
    let key = campaigns.first()?.key.to_string();
    let fingerprint = fingerprint(directory, &campaigns);
    Some(Group {
        partition: partition_of(&key),
        key,
        campaigns: campaigns.iter().map(|one| one.key.to_string()).collect(),
        fingerprint,
    })
}

/// Partition of a group's key. The hash must never change: live groups would move without a hand-over.
pub fn partition_of(key: &str) -> i32 {
    let digest = Sha256::digest(key.as_bytes());
    let number = digest.iter().take(4).fold(0u32, |sum, byte| (sum << 8) | u32::from(*byte));
    i32::try_from(number % PARTITIONS.unsigned_abs()).expect("a remainder of 64 fits")
}

/// Everything of a group that a routing decision depends on, and nothing else: a new name must not stop the routers.
fn fingerprint(directory: &Directory, campaigns: &[&Campaign]) -> Vec<u8> {
    let users: HashMap<&str, _> = directory.users.iter().map(|one| (one.key.as_str(), one)).collect();
    let mut hash = Sha256::new();
    for campaign in campaigns {
        hash.update(
            format!(
                "{}|{}|{}|{}|{}|{}|{:?}|{}|{}|{}|{}|{}\n",
                campaign.key,
                campaign.channel.as_str(),
                campaign.assignment_mode.as_str(),
                campaign.accept_timeout_seconds,
                campaign.overflow_seconds,
                campaign.overflow_mode.as_str(),
                campaign.overflow_campaign.as_ref().map(super::key::CampaignKey::as_str),
                campaign.active,
                selection::shown(&campaign.selection.required_skills),
                selection::steps(&campaign.selection.relaxation),
                campaign.selection.ageing_seconds,
                campaign.selection.vip_bonus,
            )
            .as_bytes(),
        );
        for member in &campaign.members {
            let state = users.get(member.as_str()).map(|one| {
                (one.active, one.email_capacity, one.whatsapp_capacity, selection::shown(&one.skills))
            });
            hash.update(format!("{member}|{state:?}\n").as_bytes());
        }
    }
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::domain::key::{CampaignKey, UserKey};
    use crate::directory::domain::model::{AssignmentMode, Channel, OverflowMode};
    use crate::directory::domain::selection::Selection;

    fn campaign(key: &str, members: &[&str], overflow: Option<&str>) -> Campaign {
        Campaign {
            key: CampaignKey::unchecked(key),
            name: key.to_owned(),
            description: String::new(),
            channel: Channel::Email,
            members: members.iter().map(|one| UserKey::unchecked(*one)).collect(),
            assignment_mode: AssignmentMode::RoundRobin,
            accept_timeout_seconds: 0,
            overflow_seconds: 0,
            overflow_mode: if overflow.is_some() { OverflowMode::SendToCampaign } else { OverflowMode::None },
            overflow_campaign: overflow.map(CampaignKey::unchecked),
            inbound_form: None,
            outbound_form: None,
            signature: String::new(),
            orphan_timeout_seconds: 0,
            service_level_seconds: 0,
            hours: None,
            selection: Selection::default(),
            active: true,
        }
    }

    fn directory(campaigns: Vec<Campaign>) -> Directory {
        Directory { campaigns, ..Directory::default() }
    }

    #[test]
    fn shared_members_and_overflow_join_campaigns() {
        let found = groups(&directory(vec![
            campaign("a", &["ana"], None),
            campaign("b", &["luis"], Some("d")),
            campaign("c", &["ana", "rosa"], None),
            campaign("d", &[], None),
            campaign("e", &["rosa"], None),
            campaign("f", &["solo"], None),
        ]));
        let shown: Vec<(&str, String)> =
            found.iter().map(|one| (one.key.as_str(), one.campaigns.join(" "))).collect();
        assert_eq!(shown, [("a", "a c e".to_owned()), ("b", "b d".to_owned()), ("f", "f".to_owned())]);
        assert!(found.iter().all(|one| (0..PARTITIONS).contains(&one.partition)));
    }

    #[test]
    fn the_fingerprint_follows_what_routing_decides_by_and_nothing_else() {
        let base = groups(&directory(vec![campaign("a", &["ana"], None)]));
        let mut renamed = campaign("a", &["ana"], None);
        renamed.name = "Otro nombre".to_owned();
        assert_eq!(groups(&directory(vec![renamed])), base);
        let mut slower = campaign("a", &["ana"], None);
        slower.accept_timeout_seconds = 9;
        assert_ne!(groups(&directory(vec![slower])), base);
    }

    #[test]
    fn the_partition_of_a_key_never_changes() {
        assert_eq!(partition_of("soporte"), partition_of("soporte"));
        assert_eq!([partition_of("a"), partition_of("b"), partition_of("ventas")], [18, 22, 56]);
    }
}
