//! Every thing of the directory as named, comparable, printable fields: what the difference and the trail are made of.

use super::catalogue::{ContactField, QuickReply, Tag};
use super::hours::{Hours, Span, WEEKDAYS};
use super::model::{Account, Campaign, Form, MailServer, User};
use super::selection;
use super::whatsapp::WhatsAppNumber;

/// Names and values, always all of them in the same order.
pub type Fields = Vec<(&'static str, String)>;

/// One thing of the directory.
pub(super) trait Entry {
    fn key(&self) -> &str;
    fn active(&self) -> bool;
    fn fields(&self) -> Fields;
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

    fn fields(&self) -> Fields {
        vec![
            ("channel", self.channel.as_str().to_owned()),
            ("address", self.address.clone()),
            ("display_name", self.display_name.clone()),
            ("accept_unauthenticated_replies", self.accept_unauthenticated_replies.to_string()),
            ("imap", server(self.imap.as_ref())),
            ("smtp", server(self.smtp.as_ref())),
            ("whatsapp", self.whatsapp.as_ref().map(WhatsAppNumber::line).unwrap_or_default()),
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

    fn fields(&self) -> Fields {
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
            ("required_skills", selection::shown(&self.selection.required_skills)),
            ("relaxation", selection::steps(&self.selection.relaxation)),
            ("ageing_seconds", self.selection.ageing_seconds.to_string()),
            ("vip_bonus", self.selection.vip_bonus.to_string()),
            ("item_weight", self.selection.item_weight.to_string()),
            ("preferred_agent_seconds", self.selection.preferred_agent_seconds.to_string()),
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

    fn fields(&self) -> Fields {
        vec![
            ("name", self.name.clone()),
            ("roles", joined(self.roles.iter().map(|one| one.as_str()))),
            ("campaigns", joined(&self.campaigns)),
            ("email_capacity", self.email_capacity.to_string()),
            ("whatsapp_capacity", self.whatsapp_capacity.to_string()),
            ("skills", selection::shown(&self.skills)),
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

    fn fields(&self) -> Fields {
        vec![
            ("version", self.version.to_string()),
            ("title", self.title.clone()),
            ("fields", serde_json::to_string(&self.fields).unwrap_or_default()),
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

    fn fields(&self) -> Fields {
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

    fn fields(&self) -> Fields {
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
pub(super) struct Positioned<'a>(usize, &'a ContactField);

pub(super) fn positioned(fields: &[ContactField]) -> Vec<Positioned<'_>> {
    fields.iter().enumerate().map(|(at, field)| Positioned(at, field)).collect()
}

impl Entry for Positioned<'_> {
    fn key(&self) -> &str {
        self.1.key()
    }

    fn active(&self) -> bool {
        self.1.active
    }

    fn fields(&self) -> Fields {
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
