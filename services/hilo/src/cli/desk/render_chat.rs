//! What items and messages of WhatsApp have beside those of mail: what is left of the 24 hours, ticks, kinds.

use hilo_proto::attention::v1::DeskItem;
use hilo_proto::history::v1::ThreadMessage;
use hilo_proto::history::v1::whats_app_item::Detail;
use time::{Duration, OffsetDateTime};

use super::watch;
use crate::cli::terminal::{clean, instant};

/// True for an item of WhatsApp.
pub(super) fn is_chat(item: &DeskItem) -> bool {
    item.channel == watch::WHATSAPP
}

/// What is left; nothing before the customer has written, `None` inside once it is over.
fn left(item: &DeskItem, now: OffsetDateTime) -> Option<Option<Duration>> {
    let end = item.window_ends_at.as_ref()?;
    let end = OffsetDateTime::from_unix_timestamp(end.seconds).ok()?;
    Some(Some(end - now).filter(|left| left.is_positive()))
}

/// `WhatsApp 23:59`, hours and minutes that are left; nothing for a mail.
pub(super) fn window_in_list(item: &DeskItem, now: OffsetDateTime) -> Option<String> {
    let words = match left(item, now) {
        _ if !is_chat(item) => return None,
        None => "WhatsApp".to_owned(),
        Some(None) => "WhatsApp window closed".to_owned(),
        Some(Some(left)) => format!("WhatsApp {:02}:{:02}", left.whole_hours(), left.whole_minutes() % 60),
    };
    Some(words)
}

/// The countdown of an opened item; nothing for a mail.
pub(super) fn window_of_item(item: &DeskItem, now: OffsetDateTime) -> Option<String> {
    let until = instant(item.window_ends_at.as_ref());
    match left(item, now) {
        _ if !is_chat(item) => None,
        None => Some("24 h: the customer has not written; only a template can be sent".to_owned()),
        Some(None) => Some(format!("24 h: over since {until}; only a template can be sent")),
        Some(Some(left)) => {
            let (hours, minutes) = (left.whole_hours(), left.whole_minutes() % 60);
            let seconds = left.whole_seconds() % 60;
            Some(format!("24 h: {hours:02}:{minutes:02}:{seconds:02} left, until {until}"))
        }
    }
}

/// The state of an outbound message, in WhatsApp with the ticks that everybody knows and with the reason of a failure.
pub(super) fn state(message: &ThreadMessage) -> String {
    let word = clean(&message.delivery_state);
    if message.whatsapp.is_none() {
        return word;
    }
    let tick = match message.delivery_state.as_str() {
        "queued" => "🕓 ",
        "sent" => "✓ ",
        "delivered" | "read" | "played" => "✓✓ ",
        "failed" => "✗ ",
        "unknown" => "? may have been sent: ",
        _ => "",
    };
    let why: Vec<String> = [&message.delivery_reason, &message.delivery_detail]
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|text| clean(text))
        .collect();
    let why = if why.is_empty() { String::new() } else { format!(": {}", why.join(", ")) };
    format!("{tick}{word}{why}")
}

/// What is not in the text: the kind, a file that is not here, an edit, a withdrawal, a reaction; nothing of a mail.
pub(super) fn marks(message: &ThreadMessage) -> String {
    let Some(item) = &message.whatsapp else { return String::new() };
    let mut marks = String::new();
    if !matches!(item.kind.as_str(), "" | "text") {
        marks.push_str(&format!("  [{}]", clean(&item.kind)));
    }
    if let Some(Detail::Media(media)) = item.detail.as_ref().filter(|_| message.attachments.is_empty()) {
        match media.failure.as_str() {
            "" => marks.push_str("  [file is being fetched]"),
            why => marks.push_str(&format!("  [no file: {}]", clean(why))),
        }
    }
    if item.revoked_at.is_some() {
        marks.push_str("  [taken back]");
    } else if item.edited_at.is_some() {
        marks.push_str("  [edited]");
    }
    if let Some(reaction) = item.reaction.as_ref().filter(|reaction| !reaction.emoji.is_empty()) {
        marks.push_str(&format!("  {}", clean(&reaction.emoji)));
    }
    marks
}

#[cfg(test)]
mod tests {
    use hilo_proto::history::v1::{WhatsAppItem, WhatsAppReactionMark};
    use hilo_proto::inbound::v1::WhatsAppMedia;
    use prost_types::Timestamp;

    use super::*;

    fn chat(ends: Option<i64>) -> DeskItem {
        let window_ends_at = ends.map(|seconds| Timestamp { seconds, nanos: 0 });
        DeskItem { channel: "whatsapp".to_owned(), window_ends_at, ..DeskItem::default() }
    }

    #[test]
    fn the_countdown_runs_down_to_closed() {
        let now = OffsetDateTime::UNIX_EPOCH;
        for (ends, list, item) in [
            (None, "WhatsApp", "24 h: the customer has not written; only a template can be sent"),
            (Some(86_400), "WhatsApp 24:00", "24 h: 24:00:00 left, until 1970-01-02T00:00:00Z"),
            (Some(3_725), "WhatsApp 01:02", "24 h: 01:02:05 left, until 1970-01-01T01:02:05Z"),
            (
                Some(0),
                "WhatsApp window closed",
                "24 h: over since 1970-01-01T00:00:00Z; only a template can be sent",
            ),
        ] {
            assert_eq!(window_in_list(&chat(ends), now).as_deref(), Some(list));
            assert_eq!(window_of_item(&chat(ends), now).as_deref(), Some(item));
        }
        let mail = DeskItem { channel: "email".to_owned(), ..chat(Some(9)) };
        assert_eq!((window_in_list(&mail, now), window_of_item(&mail, now)), (None, None));
    }

    #[test]
    fn ticks_and_marks_are_those_of_a_phone() {
        let message = |state: &str, reason: &str| ThreadMessage {
            delivery_state: state.to_owned(),
            delivery_reason: reason.to_owned(),
            whatsapp: Some(WhatsAppItem::default()),
            ..ThreadMessage::default()
        };
        for (state, reason, shown) in [
            ("queued", "", "🕓 queued"),
            ("sent", "", "✓ sent"),
            ("delivered", "", "✓✓ delivered"),
            ("read", "", "✓✓ read"),
            ("failed", "WINDOW_CLOSED", "✗ failed: WINDOW_CLOSED"),
            ("unknown", "", "? may have been sent: unknown"),
        ] {
            assert_eq!(super::state(&message(state, reason)), shown);
        }
        let mail = ThreadMessage { whatsapp: None, ..message("sent", "") };
        assert_eq!(super::state(&mail), "sent");
        let at = Some(Timestamp::default());
        let reaction = Some(WhatsAppReactionMark { emoji: "👍".to_owned(), at, ..Default::default() });
        let item =
            WhatsAppItem { kind: "image".to_owned(), edited_at: at, reaction, ..WhatsAppItem::default() };
        let of =
            |item: WhatsAppItem| marks(&ThreadMessage { whatsapp: Some(item), ..ThreadMessage::default() });
        assert_eq!(of(item), "  [image]  [edited]  👍");
        for (failure, shown) in [("", "file is being fetched"), ("MEDIA_EXPIRED", "no file: MEDIA_EXPIRED")] {
            let media = WhatsAppMedia { failure: failure.to_owned(), ..WhatsAppMedia::default() };
            let item = WhatsAppItem { detail: Some(Detail::Media(media)), ..WhatsAppItem::default() };
            assert_eq!(of(item), format!("  [{shown}]"));
        }
        assert_eq!(marks(&mail), "");
    }
}
