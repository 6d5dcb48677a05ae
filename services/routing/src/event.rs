//! Events decoded by a plain path: only what routing uses, straight from the canonical proto3 JSON.
//!
//! The reflecting decoder of the contracts builds every field by its descriptor, which costs routing more than deciding
//! does. A test holds that both read the same out of every frozen example. As the contract asks, unknown fields are ignored
//! and unknown words of an enum are "not set".

use hilo_kit::clock;
use hilo_proto::event::v1 as event;
use prost_types::Timestamp;
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Reads an event; only what routing uses of it is filled in.
///
/// # Errors
/// What is wrong with the text.
pub fn decode(payload: &[u8]) -> Result<event::AttentionEvent, serde_json::Error> {
    serde_json::from_slice::<Event<'_>>(payload).map(Event::read)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    // An attention without id and sequence is no event at all.
    attention_id: String,
    #[serde(deserialize_with = "int64")]
    sequence: i64,
    campaign_key: String,
    #[serde(borrow)]
    interaction: Option<Interaction<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Interaction<'a> {
    interaction_id: String,
    #[serde(deserialize_with = "int64")]
    version: i64,
    state: &'a str,
    campaign_key: String,
    agent_key: String,
    #[serde(deserialize_with = "instant")]
    waiting_since: Option<Timestamp>,
    #[serde(deserialize_with = "instant")]
    queued_at: Option<Timestamp>,
    offer: Option<Offer>,
    overflowed: bool,
    passed_by: Vec<String>,
    overflowed_from: Vec<String>,
    priority: i32,
    weight: i32,
    vip: bool,
    preferred_agent_key: String,
    #[serde(deserialize_with = "instant")]
    preferred_until: Option<Timestamp>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Offer {
    offer_id: String,
    agent_key: String,
    sender_key: String,
    #[serde(deserialize_with = "instant")]
    deadline_at: Option<Timestamp>,
}

/// 64-bit numbers are text in canonical JSON; a number is accepted too.
fn int64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<'a> {
        Text(&'a str),
        Number(i64),
    }
    match Either::deserialize(deserializer)? {
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
        Either::Number(number) => Ok(number),
    }
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let Some(text) = Option::<&str>::deserialize(deserializer)? else { return Ok(None) };
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(serde::de::Error::custom)?;
    Ok(Some(clock::to_proto(at)))
}

impl Event<'_> {
    fn read(self) -> event::AttentionEvent {
        event::AttentionEvent {
            attention_id: self.attention_id,
            sequence: self.sequence,
            campaign_key: self.campaign_key,
            interaction: self.interaction.map(Interaction::read),
            ..event::AttentionEvent::default()
        }
    }
}

impl Interaction<'_> {
    fn read(self) -> event::InteractionSnapshot {
        let state = event::InteractionState::from_str_name(self.state).unwrap_or_default();
        event::InteractionSnapshot {
            interaction_id: self.interaction_id,
            version: self.version,
            state: state.into(),
            campaign_key: self.campaign_key,
            agent_key: self.agent_key,
            waiting_since: self.waiting_since,
            queued_at: self.queued_at,
            offer: self.offer.map(|offer| event::OfferSnapshot {
                offer_id: offer.offer_id,
                agent_key: offer.agent_key,
                sender_key: offer.sender_key,
                deadline_at: offer.deadline_at,
                ..event::OfferSnapshot::default()
            }),
            overflowed: self.overflowed,
            passed_by: self.passed_by,
            overflowed_from: self.overflowed_from,
            priority: self.priority,
            weight: self.weight,
            vip: self.vip,
            preferred_agent_key: self.preferred_agent_key,
            preferred_until: self.preferred_until,
            ..event::InteractionSnapshot::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::convert;
    use crate::names::Names;

    /// What routing takes out of an event.
    fn taken(event: &event::AttentionEvent) -> (String, i64, String, Option<convert::Item>) {
        let names = &mut Names::default();
        let item = event.interaction.as_ref().map(|snapshot| convert::item(snapshot, names).unwrap());
        (event.attention_id.clone(), event.sequence, event.campaign_key.clone(), item)
    }

    #[test]
    fn every_frozen_example_reads_as_by_reflection() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/examples");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let json = std::fs::read(&path).unwrap();
            let reflected = hilo_proto::json::from_json("hilo.event.v1.AttentionEvent", &json).unwrap();
            assert_eq!(taken(&decode(&json).unwrap()), taken(&reflected), "{}", path.display());
            seen += 1;
        }
        assert!(seen >= 16, "{seen} examples");
    }

    #[test]
    fn everything_routing_uses_survives_and_unknown_things_are_ignored() {
        let at = |nanos| Some(Timestamp { seconds: 1_795_428_000, nanos });
        let snapshot = event::InteractionSnapshot {
            interaction_id: uuid::Uuid::from_u128(7).to_string(),
            version: i64::MAX,
            state: event::InteractionState::Queued.into(),
            campaign_key: "ventas".to_owned(),
            waiting_since: at(123_456_000),
            queued_at: at(0),
            offer: Some(event::OfferSnapshot {
                offer_id: uuid::Uuid::from_u128(8).to_string(),
                agent_key: "ana".to_owned(),
                sender_key: "luis".to_owned(),
                deadline_at: at(999_999_999),
                ..event::OfferSnapshot::default()
            }),
            overflowed: true,
            passed_by: vec!["luis".to_owned(), "eva".to_owned()],
            overflowed_from: vec!["soporte".to_owned()],
            priority: -3,
            weight: 4,
            vip: true,
            preferred_agent_key: "eva".to_owned(),
            preferred_until: at(500),
            ..event::InteractionSnapshot::default()
        };
        let whole = event::AttentionEvent {
            attention_id: "a".to_owned(),
            sequence: 12,
            campaign_key: "ventas".to_owned(),
            interaction: Some(snapshot),
            ..event::AttentionEvent::default()
        };
        let json = hilo_proto::json::to_json("hilo.event.v1.AttentionEvent", &whole).unwrap();
        let reflected = hilo_proto::json::from_json("hilo.event.v1.AttentionEvent", &json).unwrap();
        let read = decode(&json).unwrap();
        assert_eq!(taken(&read), taken(&reflected));
        // Half a microsecond is below what the engine counts in, and all the same the same text.
        assert_eq!(read.interaction.as_ref().unwrap().preferred_until, at(500));
        assert_eq!(read.interaction.as_ref().unwrap().version, i64::MAX);
        let text = String::from_utf8(json).unwrap();
        let newer = text.replacen('{', r#"{"futureField":{"a":[1,"}"]},"#, 1);
        assert_eq!(decode(newer.as_bytes()).unwrap(), read);
        let word = text.replace("INTERACTION_STATE_QUEUED", "INTERACTION_STATE_DREAMING");
        let unknown = decode(word.as_bytes()).unwrap().interaction.unwrap();
        assert_eq!(unknown.state(), event::InteractionState::Unspecified);
        for rubbish in ["{", "[]", "{}", r#"{"attentionId":"a","sequence":"x","campaignKey":"c"}"#] {
            assert!(decode(rubbish.as_bytes()).is_err(), "{rubbish}");
        }
    }
}
