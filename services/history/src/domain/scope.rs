//! Whose threads a caller may read: the one value that every query of the store takes.

use std::collections::BTreeSet;

/// What a caller may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every campaign: coordinators and services.
    All,
    /// Only threads that ended in these campaigns; possibly none.
    Campaigns(BTreeSet<String>),
}

impl Scope {
    /// True when it covers the campaign.
    pub fn covers(&self, campaign: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Campaigns(keys) => keys.contains(campaign),
        }
    }
}
