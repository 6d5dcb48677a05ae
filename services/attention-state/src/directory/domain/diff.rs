//! The difference of two directories as lines for people: `+` new, `~` changed, `-` switched off. Passwords never appear.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use super::model::{Account, Campaign, Directory, Form, MailServer, User};

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
    /// True when the time zone changed.
    pub time_zone: bool,
    /// One line per difference.
    pub lines: Vec<String>,
}

/// Compares the directory in force with the merged next one.
pub fn diff(current: &Directory, next: &Directory) -> Changed {
    let mut changed = Changed { time_zone: current.time_zone != next.time_zone, ..Changed::default() };
    if changed.time_zone {
        changed.lines.push(format!("~ time_zone: {} -> {}", current.time_zone, next.time_zone));
    }
    let mut lines = Vec::new();
    changed.accounts = compare("account", &current.accounts, &next.accounts, &mut lines);
    changed.forms = compare("form", &current.forms, &next.forms, &mut lines);
    changed.users = compare("user", &current.users, &next.users, &mut lines);
    changed.campaigns = compare("campaign", &current.campaigns, &next.campaigns, &mut lines);
    changed.lines.append(&mut lines);
    changed
}

/// One entry as comparable, printable fields.
trait Entry {
    fn key(&self) -> &str;
    fn active(&self) -> bool;
    fn fields(&self) -> Vec<(&'static str, String)>;
}

fn compare<T: Entry>(what: &str, current: &[T], next: &[T], lines: &mut Vec<String>) -> BTreeSet<String> {
    let before: HashMap<&str, &T> = current.iter().map(|one| (one.key(), one)).collect();
    let mut changed = BTreeSet::new();
    for entry in next {
        let line = match before.get(entry.key()) {
            None => Some(format!("+ {what} {}", entry.key())),
            Some(old) if old.active() && !entry.active() => {
                Some(format!("- {what} {} (inactive)", entry.key()))
            }
            Some(old) => details(&old.fields(), &entry.fields())
                .map(|text| format!("~ {what} {}: {text}", entry.key())),
        };
        if let Some(line) = line {
            changed.insert(entry.key().to_owned());
            lines.push(line);
        }
    }
    changed
}

fn details(before: &[(&'static str, String)], after: &[(&'static str, String)]) -> Option<String> {
    let mut text = String::new();
    for ((name, old), (_, new)) in before.iter().zip(after) {
        if old != new {
            let separator = if text.is_empty() { "" } else { "; " };
            let written = if old.len() + new.len() > 160 {
                write!(text, "{separator}{name} changed")
            } else {
                write!(text, "{separator}{name} {} -> {}", shown(old), shown(new))
            };
            written.expect("writing to a String cannot fail");
        }
    }
    (!text.is_empty()).then_some(text)
}

fn shown(text: &str) -> String {
    if text.is_empty() { "(none)".to_owned() } else { text.escape_debug().to_string() }
}

fn joined<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(",")
}

fn server(server: Option<&MailServer>) -> String {
    server.map_or_else(String::new, |one| {
        format!(
            "{}@{}:{} {} {} {}",
            one.user, one.host, one.port, one.security, one.password_secret, one.mailbox
        )
    })
}

impl Entry for Account {
    fn key(&self) -> &str {
        self.key.as_str()
    }

    fn active(&self) -> bool {
        self.active
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("channel", self.channel.as_str().to_owned()),
            ("address", self.address.clone()),
            ("display_name", self.display_name.clone()),
            ("accept_unauthenticated_replies", self.accept_unauthenticated_replies.to_string()),
            ("imap", server(self.imap.as_ref())),
            ("smtp", server(self.smtp.as_ref())),
            ("campaign", joined(&self.campaign)),
            ("active", self.active.to_string()),
        ]
    }
}

impl Entry for Campaign {
    fn key(&self) -> &str {
        self.key.as_str()
    }

    fn active(&self) -> bool {
        self.active
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.clone()),
            ("description", self.description.clone()),
            ("channel", self.channel.as_str().to_owned()),
            ("members", joined(&self.members)),
            ("assignment_mode", self.assignment_mode.as_str().to_owned()),
            ("accept_timeout_seconds", self.accept_timeout_seconds.to_string()),
            ("overflow_seconds", self.overflow_seconds.to_string()),
            ("overflow_mode", self.overflow_mode.as_str().to_owned()),
            ("overflow_campaign", joined(&self.overflow_campaign)),
            ("inbound_form", joined(&self.inbound_form)),
            ("outbound_form", joined(&self.outbound_form)),
            ("signature", self.signature.clone()),
            ("active", self.active.to_string()),
        ]
    }
}

impl Entry for User {
    fn key(&self) -> &str {
        self.key.as_str()
    }

    fn active(&self) -> bool {
        self.active
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.clone()),
            ("roles", joined(self.roles.iter().map(|one| one.as_str()))),
            ("campaigns", joined(&self.campaigns)),
            ("email_capacity", self.email_capacity.to_string()),
            ("whatsapp_capacity", self.whatsapp_capacity.to_string()),
            ("active", self.active.to_string()),
        ]
    }
}

impl Entry for Form {
    fn key(&self) -> &str {
        self.key.as_str()
    }

    fn active(&self) -> bool {
        true
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("version", self.version.to_string()),
            ("title", self.title.clone()),
            ("fields", joined(self.fields.iter().map(|one| format!("{one:?}")))),
        ]
    }
}
