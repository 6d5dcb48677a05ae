//! The directory as every service sees it: roles, campaigns and accounts, never from a token, at most seconds old.

mod cache;

use std::collections::{HashMap, HashSet};

use hilo_proto::directory::v1 as proto;
pub use hilo_proto::directory::v1::{
    Account, Campaign, ContactField, FormDefinition, QuickReply, Role, Tag, User,
};

pub use cache::DirectoryCache;

/// One version of the directory with look-ups.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    version: i64,
    users: HashMap<String, User>,
    campaigns: HashMap<String, Campaign>,
    accounts: HashMap<String, Account>,
    addresses: HashMap<String, String>,
    forms: HashMap<String, FormDefinition>,
    campaigns_of: HashMap<String, HashSet<String>>,
    revoked: HashSet<String>,
    time_zone: String,
    tags: HashMap<String, Tag>,
    quick_replies: HashMap<String, QuickReply>,
    contact_fields: Vec<ContactField>,
}

impl Directory {
    /// From the contract's form; also the test constructor: `Directory::new(1, proto, [])`.
    pub fn new(version: i64, directory: proto::Directory, revoked: impl IntoIterator<Item = String>) -> Self {
        let mut campaigns_of: HashMap<String, HashSet<String>> = HashMap::new();
        for user in &directory.users {
            campaigns_of.entry(user.key.clone()).or_default().extend(user.campaign_keys.iter().cloned());
        }
        for campaign in &directory.campaigns {
            for member in &campaign.member_keys {
                campaigns_of.entry(member.clone()).or_default().insert(campaign.key.clone());
            }
        }
        // An address may also stand in an account that was switched off; the active one comes last and wins.
        let mut addressed: Vec<&Account> =
            directory.accounts.iter().filter(|one| !one.address.is_empty()).collect();
        addressed.sort_by_key(|one| one.active);
        let addresses =
            addressed.into_iter().map(|one| (one.address.to_lowercase(), one.key.clone())).collect();
        Self {
            version,
            addresses,
            campaigns_of,
            users: directory.users.into_iter().map(|one| (one.key.clone(), one)).collect(),
            campaigns: directory.campaigns.into_iter().map(|one| (one.key.clone(), one)).collect(),
            accounts: directory.accounts.into_iter().map(|one| (one.key.clone(), one)).collect(),
            forms: directory.forms.into_iter().map(|one| (one.key.clone(), one)).collect(),
            revoked: revoked.into_iter().collect(),
            time_zone: directory.time_zone,
            tags: directory.tags.into_iter().map(|one| (one.key.clone(), one)).collect(),
            quick_replies: directory.quick_replies.into_iter().map(|one| (one.key.clone(), one)).collect(),
            contact_fields: directory.contact_fields,
        }
    }

    /// The same directory with another list of revoked tokens; `None` when it is the list known already.
    #[must_use]
    pub fn with_revoked(&self, revoked: impl IntoIterator<Item = String>) -> Option<Self> {
        let revoked: HashSet<String> = revoked.into_iter().collect();
        (revoked != self.revoked).then(|| Self { revoked, ..self.clone() })
    }

    /// Version; 0 before the first one was read.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// True once a directory was read.
    pub fn is_loaded(&self) -> bool {
        self.version > 0
    }

    /// An active user.
    pub fn user(&self, key: &str) -> Option<&User> {
        self.users.get(key).filter(|user| user.active)
    }

    /// Every user, also inactive ones.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// Keys of the campaigns an active user serves as a member, without those he was given to watch or to report on.
    pub fn member_of(&self, user: &str) -> HashSet<String> {
        if self.user(user).is_none() {
            return HashSet::new();
        }
        let member = |campaign: &&Campaign| campaign.member_keys.iter().any(|key| key == user);
        self.campaigns.values().filter(member).map(|campaign| campaign.key.clone()).collect()
    }

    /// Keys of the campaigns an active user is a member of or was given.
    pub fn campaigns_of(&self, user: &str) -> HashSet<String> {
        match self.user(user) {
            Some(_) => self.campaigns_of.get(user).cloned().unwrap_or_default(),
            None => HashSet::new(),
        }
    }

    /// Roles of an active user; none for anybody else.
    pub fn roles(&self, user: &str) -> Vec<Role> {
        self.user(user).map(|user| user.roles().collect()).unwrap_or_default()
    }

    /// True when the active user has the role.
    pub fn has_role(&self, user: &str, role: Role) -> bool {
        self.roles(user).contains(&role)
    }

    /// A campaign.
    pub fn campaign(&self, key: &str) -> Option<&Campaign> {
        self.campaigns.get(key)
    }

    /// Every campaign.
    pub fn campaigns(&self) -> impl Iterator<Item = &Campaign> {
        self.campaigns.values()
    }

    /// An account by its key.
    pub fn account(&self, key: &str) -> Option<&Account> {
        self.accounts.get(key)
    }

    /// An account by its address or number, in any case.
    pub fn account_by_address(&self, address: &str) -> Option<&Account> {
        self.addresses.get(&address.to_lowercase()).and_then(|key| self.accounts.get(key))
    }

    /// Every account.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// A form.
    pub fn form(&self, key: &str) -> Option<&FormDefinition> {
        self.forms.get(key)
    }

    /// A tag, also one that was switched off.
    pub fn tag(&self, key: &str) -> Option<&Tag> {
        self.tags.get(key)
    }

    /// Every tag, also those switched off.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.tags.values()
    }

    /// A quick reply, also one that was switched off.
    pub fn quick_reply(&self, key: &str) -> Option<&QuickReply> {
        self.quick_replies.get(key)
    }

    /// Every quick reply, also those switched off.
    pub fn quick_replies(&self) -> impl Iterator<Item = &QuickReply> {
        self.quick_replies.values()
    }

    /// The extra fields of contacts in the order of the desk, those switched off last.
    pub fn contact_fields(&self) -> &[ContactField] {
        &self.contact_fields
    }

    /// IANA time zone of the installation.
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }

    /// True when the user may see what happens in the campaign: a member, or a coordinator (who sees all). Supervisors,
    /// reporters and monitors see the campaigns they are members of: that is their scope.
    pub fn may_see_campaign(&self, user: &str, campaign: &str) -> bool {
        self.has_role(user, Role::Coordinator) || self.campaigns_of(user).contains(campaign)
    }

    /// True when the token was revoked or its user is not active any more.
    pub fn is_revoked(&self, user: &str, token_id: &str) -> bool {
        self.revoked.contains(token_id) || (self.is_loaded() && self.user(user).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let user = |key: &str, role: Role, active| User {
            key: key.into(),
            roles: vec![role.into()],
            active,
            ..User::default()
        };
        let campaign = Campaign {
            key: "ventas".into(),
            member_keys: vec!["ana".into(), "gone".into()],
            ..Campaign::default()
        };
        let account =
            Account { key: "ventas-mail".into(), address: "Ventas@Example.org".into(), ..Account::default() };
        let literal = proto::Directory {
            users: vec![
                user("ana", Role::Agent, true),
                user("gone", Role::Agent, false),
                user("coco", Role::Coordinator, true),
            ],
            campaigns: vec![campaign],
            accounts: vec![account],
            ..proto::Directory::default()
        };
        Directory::new(3, literal, ["t1".to_owned()])
    }

    #[test]
    fn members_and_coordinators_see_a_campaign_and_nobody_else() {
        let directory = directory();
        assert!(directory.may_see_campaign("ana", "ventas"));
        assert!(directory.may_see_campaign("coco", "ventas"));
        assert!(!directory.may_see_campaign("ana", "soporte"));
        assert!(!directory.may_see_campaign("gone", "ventas"), "inactive");
        assert!(!directory.may_see_campaign("nobody", "ventas"));
    }

    #[test]
    fn accounts_are_found_by_address_in_any_case_and_tokens_revoked() {
        let directory = directory();
        let found = directory.account_by_address("ventas@example.ORG").map(|account| account.key.as_str());
        assert_eq!(found, Some("ventas-mail"));
        assert!(directory.is_revoked("ana", "t1"));
        assert!(directory.is_revoked("gone", "t2"));
        assert!(!directory.is_revoked("ana", "t2"));
    }
}
