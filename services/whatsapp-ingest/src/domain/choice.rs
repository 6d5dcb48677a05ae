//! Choices that a customer made: buttons of templates, buttons and rows of interactive messages, flows.

use hilo_proto::inbound::v1::WhatsAppChoice;
use serde_json::Value;

use super::json::{object, text};

/// A button of a template.
pub fn of_button(message: &Value) -> Option<WhatsAppChoice> {
    let button = message.get("button").filter(|button| button.is_object())?;
    Some(WhatsAppChoice {
        r#type: "button".to_owned(),
        title: text(button, "text"),
        description: String::new(),
        payload: text(button, "payload"),
    })
}

/// An answer to an interactive message.
pub fn of_interactive(message: &Value) -> Option<WhatsAppChoice> {
    let interactive = object(message, "interactive");
    let kind = text(interactive, "type");
    let answer = interactive.get(&kind).filter(|answer| answer.is_object())?;
    match kind.as_str() {
        "button_reply" | "list_reply" => Some(WhatsAppChoice {
            title: text(answer, "title"),
            description: text(answer, "description"),
            payload: text(answer, "id"),
            r#type: kind,
        }),
        "nfm_reply" => Some(WhatsAppChoice {
            title: text(answer, "body"),
            description: text(answer, "name"),
            payload: text(answer, "response_json"),
            r#type: kind,
        }),
        _ => None,
    }
}
