//! The difference of two directories as lines for people: `+` new, `~` changed, `-` switched off. Passwords never appear.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use super::catalogue::{ContactField, QuickReply, Tag};
use super::hours::{Hours, Span, WEEKDAYS};
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
    /// Keys of changed or new tags.
    pub tags: BTreeSet<String>,
    /// Keys of changed or new quick replies.
    pub quick_replies: BTreeSet<String>,
    /// Keys of changed or new extra fields of contacts.
    pub contact_fields: BTreeSet<String>,
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
    changed.tags = compare("tag", &current.tags, &next.tags, &mut lines);
    changed.quick_replies = compare("quick reply", &current.quick_replies, &next.quick_replies, &mut lines);
    changed.contact_fields = compare(
        "contact field",
        &positioned(&current.contact_fields),
        &positioned(&next.contact_fields),
        &mut lines,
    );
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
            ("orphan_timeout_seconds", self.orphan_timeout_seconds.to_string()),
            ("service_level_seconds", self.service_level_seconds.to_string()),
            ("hours", self.hours.as_ref().map(opening).unwrap_or_default()),
            (
                "automatic_reply",
                self.hours.as_ref().map(|one| one.automatic_reply.clone()).unwrap_or_default(),
            ),
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

impl Entry for Tag {
    fn key(&self) -> &str {
        self.key.as_str()
    }

    fn active(&self) -> bool {
        self.active
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.name.clone()),
            ("color", self.color.clone()),
            ("campaigns", joined(&self.campaigns)),
            ("active", self.active.to_string()),
        ]
    }
}

impl Entry for QuickReply {
    fn key(&self) -> &str {
        self.key.as_str()
    }

    fn active(&self) -> bool {
        self.active
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("title", self.title.clone()),
            ("text", self.text.clone()),
            ("html", self.html.clone()),
            ("campaigns", joined(&self.campaigns)),
            ("active", self.active.to_string()),
        ]
    }
}

/// An extra field with its place, which is part of it.
struct Positioned<'a>(usize, &'a ContactField);

fn positioned(fields: &[ContactField]) -> Vec<Positioned<'_>> {
    fields.iter().enumerate().map(|(at, field)| Positioned(at, field)).collect()
}

impl Entry for Positioned<'_> {
    fn key(&self) -> &str {
        self.1.key()
    }

    fn active(&self) -> bool {
        self.1.active
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let field = &self.1.field;
        let bound = |bound: Option<f64>| bound.map(|one| one.to_string()).unwrap_or_default();
        vec![
            ("position", (self.0 + 1).to_string()),
            ("label", field.label.clone()),
            ("type", field.kind.clone()),
            ("choices", joined(&field.choices)),
            ("minimum", bound(field.minimum)),
            ("maximum", bound(field.maximum)),
            ("active", self.1.active.to_string()),
        ]
    }
}

/// Hours in one line, without their automatic reply.
fn opening(hours: &Hours) -> String {
    let spans = |spans: &[Span]| joined(spans);
    let week = WEEKDAYS.iter().zip(&hours.weekly).filter(|(_, open)| !open.is_empty());
    let week = week.map(|(day, open)| format!("{day} {}", spans(open)));
    let holidays = hours.holidays.iter().map(|one| {
        let open = if one.open.is_empty() { "closed".to_owned() } else { spans(&one.open) };
        format!("{} {} {open}", one.date, one.name)
    });
    let zone = (!hours.time_zone.is_empty()).then(|| hours.time_zone.clone());
    zone.into_iter().chain(week).chain(holidays).collect::<Vec<_>>().join("; ")
}
