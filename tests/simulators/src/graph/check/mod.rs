//! What Meta checks of a message before it takes it: required fields, lengths, counts. Plain functions of the body.
//!
//! Limits from <https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages> and the
//! page of each kind below it. Missing is 131008, wrong is 131009, too long is 100, a kind that does not exist 131051.

mod content;
mod interactive;
mod template;

use serde_json::Value;

use crate::errors::GraphError;

pub(crate) use template::template;

/// Types a business may send.
pub(crate) const KINDS: &[&str] = &[
    "text",
    "image",
    "audio",
    "video",
    "document",
    "sticker",
    "location",
    "contacts",
    "reaction",
    "interactive",
    "template",
];

/// Longest `biz_opaque_callback_data`.
const MAX_OPAQUE: usize = 512;

/// The type of the message; text where none is named.
pub(crate) fn kind(body: &Value) -> &str {
    body.get("type").and_then(Value::as_str).unwrap_or("text")
}

/// Everything that can be said of a message without knowing the world.
pub(crate) fn shape(body: &Value) -> Result<(), GraphError> {
    if body.get("recipient_type").is_some_and(|of| of != "individual") {
        return Err(GraphError::new(100, "Only recipient_type individual is simulated; groups are not."));
    }
    if let Some(opaque) = body.get("biz_opaque_callback_data") {
        let text = opaque.as_str().ok_or_else(|| wrong("biz_opaque_callback_data", "must be a string"))?;
        at_most("biz_opaque_callback_data", text, MAX_OPAQUE)?;
    }
    if body.get("context").is_some() {
        required(body, "/context/message_id")?;
    }
    let kind = kind(body);
    if !KINDS.contains(&kind) {
        return Err(GraphError::new(131_051, format!("Param type must be one of {KINDS:?}, not {kind}.")));
    }
    let Some(content) = body.get(kind) else {
        return Err(missing(&format!("{kind} (type is {kind})")));
    };
    match kind {
        "text" => content::text(content),
        "location" => content::location(content),
        "contacts" => content::contacts(content),
        "reaction" => content::reaction(content),
        "interactive" => interactive::interactive(content),
        "template" => template::shape(content),
        media => content::media(media, content),
    }
}

pub(crate) fn missing(param: &str) -> GraphError {
    GraphError::new(131_008, format!("Parameter {param} is required."))
}

pub(crate) fn wrong(param: &str, why: &str) -> GraphError {
    GraphError::new(131_009, format!("Parameter {param} {why}."))
}

/// The text at `pointer`, which must be there and not be empty.
pub(crate) fn required<'a>(value: &'a Value, pointer: &str) -> Result<&'a str, GraphError> {
    let name = pointer.trim_start_matches('/').replace('/', ".");
    match value.pointer(pointer) {
        None | Some(Value::Null) => Err(missing(&name)),
        Some(Value::String(text)) if text.trim().is_empty() => Err(missing(&name)),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(wrong(&name, "must be a string")),
    }
}

/// The text at `pointer`, if it is there.
pub(crate) fn optional<'a>(value: &'a Value, pointer: &str) -> Result<Option<&'a str>, GraphError> {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong(&pointer.trim_start_matches('/').replace('/', "."), "must be a string")),
    }
}

/// Characters, not bytes, as Meta counts them.
pub(crate) fn at_most(param: &str, text: &str, most: usize) -> Result<(), GraphError> {
    if text.chars().count() > most {
        return Err(GraphError::new(100, format!("Param {param} must be at most {most} characters long.")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code(body: &Value) -> Option<u32> {
        shape(body).err().map(|error| error.code)
    }

    fn buttons(count: usize) -> Value {
        (0..count)
            .map(|i| json!({"type": "reply", "reply": {"id": format!("b{i}"), "title": format!("B{i}")}}))
            .collect()
    }

    #[test]
    fn every_kind_passes_in_its_documented_form() {
        let rows = json!([{"id": "r1", "title": "Row", "description": "More"}]);
        let table = [
            json!({"text": {"body": "hello"}}),
            json!({"type": "text", "text": {"body": "x".repeat(4096), "preview_url": true}}),
            json!({"type": "image", "image": {"id": "1", "caption": "c"}}),
            json!({"type": "audio", "audio": {"id": "1", "voice": true}}),
            json!({"type": "video", "video": {"link": "https://example.org/a.mp4"}}),
            json!({"type": "document", "document": {"id": "1", "filename": "a.pdf"}}),
            json!({"type": "sticker", "sticker": {"id": "1"}}),
            json!({"type": "location", "location": {"latitude": 47.5, "longitude": "7.6", "name": "Here"}}),
            json!({"type": "contacts", "contacts": [{"name": {"formatted_name": "A B", "first_name": "A"}}]}),
            json!({"type": "reaction", "reaction": {"message_id": "wamid.x", "emoji": "👍"}}),
            json!({"type": "reaction", "reaction": {"message_id": "wamid.x", "emoji": ""}}),
            json!({"type": "template", "template": {"name": "hello_world", "language": {"code": "en_US"}}}),
            json!({"type": "interactive", "interactive": {"type": "button", "body": {"text": "?"}, "action": {"buttons": buttons(3)}}}),
            json!({"type": "interactive", "interactive": {"type": "list", "body": {"text": "?"},
                "action": {"button": "Open", "sections": [{"rows": rows}]}}}),
            json!({"type": "interactive", "interactive": {"type": "cta_url", "body": {"text": "?"},
                "action": {"name": "cta_url", "parameters": {"display_text": "Go", "url": "https://example.org"}}}}),
            json!({"type": "interactive", "interactive": {"type": "location_request_message", "body": {"text": "Where?"},
                "action": {"name": "send_location"}}}),
        ];
        for body in table {
            assert_eq!(shape(&body), Ok(()), "{body}");
        }
    }

    #[test]
    fn what_is_missing_wrong_or_too_long_has_its_code() {
        let long_title = json!([{"type": "reply", "reply": {"id": "1", "title": "x".repeat(21)}}]);
        let table = [
            (131_008, json!({"type": "text"})),
            (131_008, json!({"type": "text", "text": {"body": " "}})),
            (100, json!({"type": "text", "text": {"body": "ä".repeat(4097)}})),
            (131_009, json!({"type": "text", "text": {"body": 5}})),
            (131_051, json!({"type": "hologram", "hologram": {}})),
            (131_008, json!({"type": "image", "image": {"caption": "no id"}})),
            (131_009, json!({"type": "image", "image": {"id": "1", "link": "https://example.org/a.jpg"}})),
            (131_009, json!({"type": "image", "image": {"link": "ftp://example.org"}})),
            (100, json!({"type": "image", "image": {"id": "1", "caption": "x".repeat(1025)}})),
            (131_009, json!({"type": "sticker", "sticker": {"id": "1", "caption": "no"}})),
            (131_009, json!({"type": "location", "location": {"latitude": 91, "longitude": 0}})),
            (131_008, json!({"type": "location", "location": {"latitude": 9}})),
            (131_008, json!({"type": "contacts", "contacts": []})),
            (131_008, json!({"type": "contacts", "contacts": [{"name": {"first_name": "A"}}]})),
            (131_008, json!({"type": "reaction", "reaction": {"emoji": "👍"}})),
            (131_009, json!({"type": "reaction", "reaction": {"message_id": "w", "emoji": "no emoji"}})),
            (131_008, json!({"type": "template", "template": {"name": "x"}})),
            (
                131_009,
                json!({"type": "interactive", "interactive": {"type": "button", "body": {"text": "?"}, "action": {"buttons": buttons(4)}}}),
            ),
            (
                131_009,
                json!({"type": "interactive", "interactive": {"type": "button", "body": {"text": "?"}, "action": {"buttons": long_title}}}),
            ),
            (
                131_008,
                json!({"type": "interactive", "interactive": {"type": "button", "action": {"buttons": buttons(1)}}}),
            ),
            (
                131_009,
                json!({"type": "interactive", "interactive": {"type": "wheel", "body": {"text": "?"}, "action": {}}}),
            ),
            (100, json!({"text": {"body": "x"}, "biz_opaque_callback_data": "x".repeat(513)})),
            (131_008, json!({"text": {"body": "x"}, "context": {}})),
            (100, json!({"text": {"body": "x"}, "recipient_type": "group"})),
        ];
        for (expected, body) in table {
            assert_eq!(code(&body), Some(expected), "{body}");
        }
    }
}
