//! What agents choose from: tags, quick replies, and the extra fields of contacts.

use std::collections::BTreeSet;

use super::key::{CampaignKey, QuickReplyKey, TagKey};
use super::model::FormField;

/// A label that supervisors make and agents put on attentions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Key.
    pub key: TagKey,
    /// What is shown.
    pub name: String,
    /// `#rrggbb` in lower case; may be empty.
    pub color: String,
    /// Campaigns it may be used in; empty means all.
    pub campaigns: BTreeSet<CampaignKey>,
    /// False may not be put on anything any more; where it stands it stays.
    pub active: bool,
}

/// A prepared answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuickReply {
    /// Key.
    pub key: QuickReplyKey,
    /// What is shown in the list.
    pub title: String,
    /// Text.
    pub text: String,
    /// HTML, sanitised; empty when the text is all.
    pub html: String,
    /// Campaigns it may be used in; empty means all.
    pub campaigns: BTreeSet<CampaignKey>,
    /// False is not offered any more.
    pub active: bool,
}

/// An extra field of every contact. Never required: a contact comes into being by its first message.
#[derive(Clone, Debug, PartialEq)]
pub struct ContactField {
    /// Key, label, type, choices and bounds, as in a form.
    pub field: FormField,
    /// False takes no new values; stored ones stay.
    pub active: bool,
}

impl ContactField {
    /// The key.
    pub fn key(&self) -> &str {
        &self.field.key
    }
}

/// True when something limited to `scope` may be used in a campaign.
pub fn in_scope(scope: &BTreeSet<CampaignKey>, campaign: &CampaignKey) -> bool {
    scope.is_empty() || scope.contains(campaign)
}
