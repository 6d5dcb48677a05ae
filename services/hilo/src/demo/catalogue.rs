//! Tags, quick replies, contact fields and hours as the format of `hilo apply` writes them.

use hilo_proto::directory::v1::{ContactField, OpeningHours, QuickReply, Tag, TimeSpan};
use serde_json::{Map, Value, json};

use super::overlay::compact;

/// A tag.
pub(super) fn tag(tag: &Tag, present: impl Fn(&str) -> bool) -> Value {
    let scope = scope(tag.all_campaigns, &tag.campaign_keys, present);
    let active = scope != Some(Vec::new());
    compact(json!({
        "key": tag.key, "name": tag.name, "color": tag.color, "active": active,
        "campaigns": scope.filter(|keys| !keys.is_empty()),
    }))
}

/// A quick reply.
pub(super) fn quick_reply(reply: &QuickReply, present: impl Fn(&str) -> bool) -> Value {
    let scope = scope(reply.all_campaigns, &reply.campaign_keys, present);
    let active = scope != Some(Vec::new());
    compact(json!({
        "key": reply.key, "title": reply.title, "text": reply.text, "html": reply.html, "active": active,
        "campaigns": scope.filter(|keys| !keys.is_empty()),
    }))
}

/// The campaigns of a scope that are in the document; `None` for all campaigns. One whose campaigns are all gone must not
/// come to mean all of them.
fn scope(all: bool, keys: &[String], present: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    (!all).then(|| keys.iter().filter(|key| present(key)).cloned().collect())
}

/// An extra field of contacts.
pub(super) fn contact_field(field: &ContactField) -> Value {
    let choices = (!field.choices.is_empty()).then_some(&field.choices);
    compact(json!({
        "key": field.key, "label": field.label, "type": field.r#type, "choices": choices,
        "minimum": field.minimum, "maximum": field.maximum,
    }))
}

/// Opening hours; the zone only where it is not the installation's, which they would else follow no longer.
pub(super) fn hours(hours: &OpeningHours, installation: &str) -> Value {
    let week: Map<String, Value> =
        hours.weekly.iter().map(|one| (one.day.clone(), spans(&one.open))).collect();
    let holidays: Vec<Value> = hours
        .holidays
        .iter()
        .map(|one| compact(json!({"date": one.date, "name": one.name, "open": spans(&one.open)})))
        .collect();
    let zone = Some(&hours.time_zone).filter(|zone| *zone != installation);
    compact(json!({
        "time_zone": zone, "weekly": week, "holidays": holidays, "automatic_reply": hours.automatic_reply,
    }))
}

fn spans(open: &[TimeSpan]) -> Value {
    open.iter().map(|span| Value::String(format!("{}-{}", span.from, span.to))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_limited_to_campaigns_that_are_gone_is_switched_off() {
        let tag = |keys: &[&str], all_campaigns| Tag {
            key: "t".into(),
            name: "T".into(),
            campaign_keys: keys.iter().map(|one| (*one).to_owned()).collect(),
            all_campaigns,
            active: true,
            ..Default::default()
        };
        let written = |one: &Tag| super::tag(one, |key| key == "ventas");
        assert_eq!(written(&tag(&["ventas", "x"], false))["campaigns"], json!(["ventas"]));
        assert_eq!(written(&tag(&[], true))["active"], json!(true));
        let gone = written(&tag(&["x"], false));
        assert_eq!((gone.get("campaigns"), &gone["active"]), (None, &json!(false)));
    }

    #[test]
    fn hours_are_written_as_they_are_read() {
        let span = TimeSpan { from: "09:00".into(), to: "18:00".into() };
        let day = hilo_proto::directory::v1::OpenDay { day: "monday".into(), open: vec![span] };
        let written = hours(
            &OpeningHours { time_zone: "UTC".into(), weekly: vec![day], ..Default::default() },
            "America/Lima",
        );
        assert_eq!(
            written,
            json!({"time_zone": "UTC", "weekly": {"monday": ["09:00-18:00"]}, "holidays": []})
        );
    }
}
