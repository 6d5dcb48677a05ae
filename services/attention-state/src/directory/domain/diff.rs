//! The difference of two directories as lines for people: `+` new, `~` changed, `-` switched off. Passwords never appear.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use super::entries::{Entry, Fields, positioned};
use super::model::Directory;

/// Which entries changed; the store writes only these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Keys of changed or new accounts.
    pub accounts: BTreeSet<String>,
    /// Keys of changed or new campaigns.
    pub campaigns: BTreeSet<String>,
    /// Keys of changed or new users.
    pub users: BTreeSet<String>,
    /// Keys of forms with a new version.
    pub forms: BTreeSet<String>,
    /// Keys of changed or new tags.
    pub tags: BTreeSet<String>,
    /// Keys of changed or new quick replies.
    pub quick_replies: BTreeSet<String>,
    /// Keys of changed or new extra fields of contacts.
    pub contact_fields: BTreeSet<String>,
    /// Every difference.
    pub changes: Vec<Change>,
}

/// What happened to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is new.
    Created,
    /// Some of its fields differ.
    Changed,
    /// It was switched off.
    Deactivated,
    /// An administrator set a user's password.
    PasswordSet,
    /// A user changed his own password.
    PasswordChanged,
    /// A user ended one of his tokens.
    SignedOut,
}

impl Action {
    /// The word of table and contract.
    pub fn word(self) -> &'static str {
        match self {
            Action::Created => "created",
            Action::Changed => "changed",
            Action::Deactivated => "deactivated",
            Action::PasswordSet => "password_set",
            Action::PasswordChanged => "password_changed",
            Action::SignedOut => "signed_out",
        }
    }
}

/// A change of one thing, with the fields that differ. Passwords are no fields, so they cannot appear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub action: Action,
    /// Kind of the thing: `account`, `quick_reply`.
    pub kind: &'static str,
    /// Its key.
    pub key: String,
    /// Differing fields before; none for a new thing.
    pub before: Fields,
    /// Differing fields after.
    pub after: Fields,
}

impl Change {
    /// Something that happened to a user's identity.
    pub fn of_identity(action: Action, user: &str) -> Self {
        Self { action, kind: "user", key: user.to_owned(), before: Vec::new(), after: Vec::new() }
    }
}

/// Compares the directory in force with the merged next one.
pub fn diff(current: &Directory, next: &Directory) -> Changed {
    let mut changes = Vec::new();
    if current.time_zone != next.time_zone {
        let zone = |name: &str| vec![("time_zone", name.to_owned())];
        let (before, after) = (zone(&current.time_zone), zone(&next.time_zone));
        let (action, key) = (Action::Changed, String::new());
        changes.push(Change { action, kind: "time_zone", key, before, after });
    }
    let accounts = compare("account", &current.accounts, &next.accounts, &mut changes);
    let forms = compare("form", &current.forms, &next.forms, &mut changes);
    let users = compare("user", &current.users, &next.users, &mut changes);
    let campaigns = compare("campaign", &current.campaigns, &next.campaigns, &mut changes);
    let tags = compare("tag", &current.tags, &next.tags, &mut changes);
    let quick_replies = compare("quick_reply", &current.quick_replies, &next.quick_replies, &mut changes);
    let (before, after) = (positioned(&current.contact_fields), positioned(&next.contact_fields));
    let contact_fields = compare("contact_field", &before, &after, &mut changes);
    Changed { accounts, campaigns, users, forms, tags, quick_replies, contact_fields, changes }
}

fn compare<T: Entry>(
    kind: &'static str,
    current: &[T],
    next: &[T],
    changes: &mut Vec<Change>,
) -> BTreeSet<String> {
    let known: HashMap<&str, &T> = current.iter().map(|one| (one.key(), one)).collect();
    let mut changed = BTreeSet::new();
    for entry in next {
        let key = entry.key().to_owned();
        let change = match known.get(entry.key()) {
            None => Change { action: Action::Created, kind, key, before: Vec::new(), after: entry.fields() },
            Some(old) => {
                let (before, after): (Fields, Fields) =
                    old.fields().into_iter().zip(entry.fields()).filter(|(old, new)| old != new).unzip();
                if before.is_empty() {
                    continue;
                }
                let off = old.active() && !entry.active();
                let action = if off { Action::Deactivated } else { Action::Changed };
                Change { action, kind, key, before, after }
            }
        };
        changed.insert(change.key.clone());
        changes.push(change);
    }
    changed
}

/// A change as a line for people.
pub fn line(change: &Change) -> String {
    let (kind, key) = (change.kind.replace('_', " "), &change.key);
    match change.action {
        Action::Created => format!("+ {kind} {key}"),
        Action::Deactivated => format!("- {kind} {key} (inactive)"),
        Action::Changed if change.kind == "time_zone" => format!("~ {}", details(change)),
        Action::Changed => format!("~ {kind} {key}: {}", details(change)),
        Action::PasswordSet | Action::PasswordChanged => format!("~ {kind} {key}: password"),
        Action::SignedOut => format!("~ {kind} {key}: signed out"),
    }
}

fn details(change: &Change) -> String {
    let mut text = String::new();
    for ((name, old), (_, new)) in change.before.iter().zip(&change.after) {
        let separator = if text.is_empty() { "" } else { "; " };
        let written = if old.len() + new.len() > 160 {
            write!(text, "{separator}{name} changed")
        } else {
            write!(text, "{separator}{name} {} -> {}", shown(old), shown(new))
        };
        written.expect("writing to a String cannot fail");
    }
    text
}

fn shown(text: &str) -> String {
    if text.is_empty() { "(none)".to_owned() } else { text.escape_debug().to_string() }
}
