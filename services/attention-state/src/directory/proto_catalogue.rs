//! Tags, quick replies, contact fields and hours in the words of the contracts.

use std::collections::BTreeSet;

use hilo_proto::directory::v1 as proto;

use super::domain::catalogue::{ContactField, QuickReply, Tag};
use super::domain::hours::{Holiday, Hours, Span, WEEKDAYS, clock};
use super::domain::key::CampaignKey;
use super::domain::model::{Campaign, Directory};

/// A tag.
pub fn tag(tag: &Tag) -> proto::Tag {
    proto::Tag {
        key: tag.key.to_string(),
        name: tag.name.clone(),
        color: tag.color.clone(),
        campaign_keys: tag.campaigns.iter().map(CampaignKey::to_string).collect(),
        all_campaigns: tag.campaigns.is_empty(),
        active: tag.active,
    }
}

/// A quick reply.
pub fn quick_reply(reply: &QuickReply) -> proto::QuickReply {
    proto::QuickReply {
        key: reply.key.to_string(),
        title: reply.title.clone(),
        text: reply.text.clone(),
        html: reply.html.clone(),
        campaign_keys: reply.campaigns.iter().map(CampaignKey::to_string).collect(),
        all_campaigns: reply.campaigns.is_empty(),
        active: reply.active,
    }
}

/// An extra field of contacts.
pub fn contact_field(one: &ContactField) -> proto::ContactField {
    proto::ContactField {
        key: one.field.key.clone(),
        label: one.field.label.clone(),
        r#type: one.field.kind.clone(),
        choices: one.field.choices.clone(),
        minimum: one.field.minimum,
        maximum: one.field.maximum,
        active: one.active,
    }
}

/// Hours; those without a zone of their own get the installation's.
pub fn hours(hours: &Hours, installation: &str) -> proto::OpeningHours {
    let zone = if hours.time_zone.is_empty() { installation } else { &hours.time_zone };
    let week = WEEKDAYS.iter().zip(&hours.weekly).filter(|(_, open)| !open.is_empty());
    proto::OpeningHours {
        time_zone: zone.to_owned(),
        weekly: week
            .map(|(day, open)| proto::OpenDay { day: (*day).to_owned(), open: spans(open) })
            .collect(),
        holidays: hours.holidays.iter().map(holiday).collect(),
        automatic_reply: hours.automatic_reply.clone(),
    }
}

fn holiday(holiday: &Holiday) -> proto::Holiday {
    proto::Holiday { date: holiday.date.clone(), name: holiday.name.clone(), open: spans(&holiday.open) }
}

fn spans(open: &[Span]) -> Vec<proto::TimeSpan> {
    open.iter().map(|span| proto::TimeSpan { from: clock(span.from), to: clock(span.to) }).collect()
}

/// Tags that may be used in any of the campaigns, and of the campaigns they are limited to only these.
pub fn tags_of(all: &Directory, seen: &[Campaign]) -> Vec<Tag> {
    let tags = all.tags.iter();
    tags.filter_map(|one| Some(Tag { campaigns: within(&one.campaigns, seen)?, ..one.clone() })).collect()
}

/// Quick replies that may be used in any of the campaigns, and of the campaigns they are limited to only these.
pub fn quick_replies_of(all: &Directory, seen: &[Campaign]) -> Vec<QuickReply> {
    let replies = all.quick_replies.iter();
    replies
        .filter_map(|one| Some(QuickReply { campaigns: within(&one.campaigns, seen)?, ..one.clone() }))
        .collect()
}

/// The part of a scope the caller may see; `None` when it is limited to campaigns he may not see.
fn within(scope: &BTreeSet<CampaignKey>, seen: &[Campaign]) -> Option<BTreeSet<CampaignKey>> {
    let known: BTreeSet<CampaignKey> =
        scope.iter().filter(|key| seen.iter().any(|one| one.key == **key)).cloned().collect();
    (scope.is_empty() || !known.is_empty()).then_some(known)
}
