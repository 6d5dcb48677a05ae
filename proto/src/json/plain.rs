//! How single values stand in canonical proto3 JSON, for messages whose JSON is derived and not reflected (`build.rs`).

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serializer};

/// Default values are left out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// 64-bit numbers are text; a number is read too.
pub(crate) mod int64 {
    use super::{Cow, Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<'a> {
        Text(#[serde(borrow)] Cow<'a, str>),
        Number(i64),
    }

    pub(crate) fn serialize<S: Serializer>(value: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        match Either::deserialize(deserializer)? {
            Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
            Either::Number(number) => Ok(number),
        }
    }
}

/// Instants as RFC 3339 has them, ending in `Z`.
pub(crate) mod instant {
    use prost_types::Timestamp;

    use super::{Cow, Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.collect_str(at),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<Cow<'de, str>>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }
}

/// Words of enums, a module for each; a number that has no word is written, and read, as a number.
#[expect(non_snake_case, reason = "named after the enums, which the build puts in")]
pub(crate) mod words {
    use super::{Cow, Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<'a> {
        Word(#[serde(borrow)] Cow<'a, str>),
        Number(i32),
    }

    macro_rules! words {
        ($($name:ident),*) => {$(
            pub(crate) mod $name {
                use super::{Deserialize, Deserializer, Either, Serializer};
                use crate::event::v1::$name as Words;

                pub(crate) fn serialize<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
                    match Words::try_from(*value) {
                        Ok(known) => serializer.serialize_str(known.as_str_name()),
                        Err(_) => serializer.serialize_i32(*value),
                    }
                }

                pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
                    Ok(match Either::deserialize(deserializer)? {
                        Either::Word(word) => Words::from_str_name(&word).unwrap_or_default().into(),
                        Either::Number(number) => number,
                    })
                }
            }
        )*};
    }

    words!(EventType, AttentionState, InteractionState, Direction);
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::event::v1::{
        AttentionEvent, Direction, EventType, InteractionSnapshot, InteractionState, MessageSummary,
        OfferSnapshot,
    };
    use crate::json::{EVENT, event, from_json, read_event, to_json};
    use prost_types::Timestamp;

    fn agrees(one: &AttentionEvent) {
        let plain = event(one).unwrap();
        let text = String::from_utf8_lossy(&plain).into_owned();
        assert_eq!(plain, to_json(EVENT, one).unwrap(), "{text}");
        let read = read_event(&plain).unwrap();
        assert_eq!(read, *one, "{text}");
        assert_eq!(read, from_json(EVENT, &plain).unwrap(), "{text}");
    }

    #[test]
    fn every_frozen_example_is_read_and_written_as_by_reflection() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let json = std::fs::read(entry.unwrap().path()).unwrap();
            agrees(&from_json(EVENT, &json).unwrap());
            seen += 1;
        }
        assert!(seen >= 24, "{seen} examples");
    }

    #[test]
    fn every_field_is_read_and_written_as_by_reflection() {
        let at = |nanos| Some(Timestamp { seconds: 1_795_428_000, nanos });
        let text = || "\"ñ\u{1f980}\n\\".to_owned();
        let offer = OfferSnapshot {
            offer_id: text(),
            agent_key: "ana".into(),
            offered_at: at(1),
            deadline_at: Some(Timestamp { seconds: -1, nanos: 999_999_999 }),
            sender_key: "eva".into(),
        };
        let interaction = InteractionSnapshot {
            interaction_id: "i".into(),
            version: i64::MAX,
            state: InteractionState::Ended.into(),
            ordinal: i32::MIN,
            direction: Direction::Outbound.into(),
            campaign_key: "c".into(),
            agent_key: "a".into(),
            waiting_since: at(0),
            queued_at: at(120_000_000),
            opened_at: at(123_456_000),
            ended_at: at(123_456_789),
            offer: Some(offer),
            overflowed: true,
            passed_by: vec![text(), String::new()],
            priority: -3,
            message_count: 7,
            overflowed_from: vec!["x".into()],
            weight: 4,
            vip: true,
            preferred_agent_key: "p".into(),
            preferred_until: at(5),
        };
        let message = MessageSummary {
            message_id: "m".into(),
            direction: Direction::Inbound.into(),
            delivery_state: "sent".into(),
            occurred_at: at(10),
            attachment_count: 2,
            mail_class: "human".into(),
            sender_verified: true,
            internal: true,
        };
        let whole = AttentionEvent {
            r#type: EventType::MessageChanged.into(),
            attention_id: text(),
            attention_number: -1,
            sequence: i64::MIN,
            occurred_at: at(0),
            attention_state: 77,
            channel: "email".into(),
            account_key: "k".into(),
            campaign_key: "c".into(),
            linked_attention_id: "l".into(),
            contact_id: "d".into(),
            interaction: Some(interaction),
            message: Some(message),
            actor_key: "ana".into(),
            reason: "because".into(),
            out_of_hours: true,
            tags: vec!["t".into()],
            window_ends_at: at(0),
        };
        agrees(&whole);
        agrees(&AttentionEvent::default());
        let empty = Some(InteractionSnapshot { offer: Some(OfferSnapshot::default()), ..Default::default() });
        agrees(&AttentionEvent {
            interaction: empty,
            message: Some(MessageSummary::default()),
            ..Default::default()
        });
    }

    #[test]
    fn what_a_later_release_adds_is_ignored() {
        let json = br#"{"type":"EVENT_TYPE_OF_LATER","sequence":7,"new":{"x":[1]},"interaction":{"state":"INTERACTION_STATE_OF_LATER","more":1}}"#;
        let read = read_event(json).unwrap();
        assert_eq!(read, from_json(EVENT, json).unwrap());
        assert_eq!((read.r#type, read.sequence, read.interaction.unwrap().state), (0, 7, 0));
        assert!(read_event(b"{\"sequence\":\"seven\"}").is_err());
    }
}
