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
    /// The campaigns as a query argument; `None` does not restrict.
    pub fn campaigns(&self) -> Option<Vec<String>> {
        match self {
            Scope::All => None,
            Scope::Campaigns(keys) => Some(keys.iter().cloned().collect()),
        }
    }
}
