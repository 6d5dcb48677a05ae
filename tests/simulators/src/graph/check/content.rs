//! Text, files, places, cards and reactions.

use serde_json::Value;

use super::{at_most, missing, optional, required, wrong};
use crate::errors::GraphError;

/// Longest text of a message.
const MAX_TEXT: usize = 4_096;
/// Longest caption of a file.
const MAX_CAPTION: usize = 1_024;
/// Longest file name.
const MAX_FILE_NAME: usize = 240;
/// Most cards in one message.
const MAX_CARDS: usize = 257;

pub(super) fn text(content: &Value) -> Result<(), GraphError> {
    at_most("text['body']", required(content, "/body")?, MAX_TEXT)?;
    if content.get("preview_url").is_some_and(|preview| !preview.is_boolean()) {
        return Err(wrong("text.preview_url", "must be true or false"));
    }
    Ok(())
}

pub(super) fn media(kind: &str, content: &Value) -> Result<(), GraphError> {
    match (optional(content, "/id")?, optional(content, "/link")?) {
        (None, None) => return Err(missing(&format!("{kind}.id or {kind}.link"))),
        (Some(_), Some(_)) => return Err(wrong(kind, "must have either id or link, not both")),
        (None, Some(link)) if !link.starts_with("https://") && !link.starts_with("http://") => {
            return Err(wrong(&format!("{kind}.link"), "must be a URL"));
        }
        (Some(_), None) | (None, Some(_)) => {}
    }
    if let Some(caption) = optional(content, "/caption")? {
        if !["image", "video", "document"].contains(&kind) {
            return Err(wrong(&format!("{kind}.caption"), "is not supported"));
        }
        at_most(&format!("{kind}['caption']"), caption, MAX_CAPTION)?;
    }
    if let Some(name) = optional(content, "/filename")? {
        if kind != "document" {
            return Err(wrong(&format!("{kind}.filename"), "is not supported"));
        }
        at_most("document['filename']", name, MAX_FILE_NAME)?;
    }
    Ok(())
}

pub(super) fn location(content: &Value) -> Result<(), GraphError> {
    for (name, bound) in [("latitude", 90.0), ("longitude", 180.0)] {
        let value = content.get(name).ok_or_else(|| missing(&format!("location.{name}")))?;
        let degrees = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        if !degrees.is_some_and(|degrees: f64| degrees.abs() <= bound) {
            return Err(wrong(&format!("location.{name}"), "must be degrees"));
        }
    }
    optional(content, "/name")?;
    optional(content, "/address")?;
    Ok(())
}

pub(super) fn contacts(content: &Value) -> Result<(), GraphError> {
    let cards = content.as_array().ok_or_else(|| wrong("contacts", "must be an array"))?;
    if cards.is_empty() {
        return Err(missing("contacts[0]"));
    }
    if cards.len() > MAX_CARDS {
        return Err(wrong("contacts", "has too many cards"));
    }
    for card in cards {
        required(card, "/name/formatted_name")?;
        let parts = ["first_name", "last_name", "middle_name", "suffix", "prefix"];
        let named = card.get("name").is_some_and(|name| parts.iter().any(|part| name.get(*part).is_some()));
        if !named {
            return Err(missing("contacts.name: at least one part beside formatted_name"));
        }
    }
    Ok(())
}

pub(super) fn reaction(content: &Value) -> Result<(), GraphError> {
    required(content, "/message_id")?;
    let emoji = optional(content, "/emoji")?.ok_or_else(|| missing("reaction.emoji"))?;
    // An emoji may be a sequence of several code points, none of them a letter or a space.
    if emoji.chars().any(|character| character.is_alphabetic() || character.is_whitespace())
        || emoji.len() > 64
    {
        return Err(wrong("reaction.emoji", "must be one emoji"));
    }
    Ok(())
}
