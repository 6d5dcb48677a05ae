//! Buttons, lists and the other interactive kinds.

use serde_json::Value;

use super::{at_most, missing, optional, required, wrong};
use crate::errors::GraphError;

/// Kinds whose body may be absent.
const BODILESS: &[&str] = &["product"];
/// Kinds that are checked no further than header, body, footer and the name of their action.
const NAMED_ACTIONS: &[(&str, &str)] = &[
    ("catalog_message", "catalog_message"),
    ("location_request_message", "send_location"),
    ("address_message", "address_message"),
    ("request_contact_info", "request_contact_info"),
    ("call_permission_request", "call_permission_request"),
];
/// Reply buttons of one message.
const MAX_BUTTONS: usize = 3;
/// Sections, and rows of all sections together.
const MAX_ROWS: usize = 10;

pub(super) fn interactive(content: &Value) -> Result<(), GraphError> {
    let kind = required(content, "/type")?;
    let longest = if kind == "list" { 4_096 } else { 1_024 };
    match optional(content, "/body/text")? {
        Some(text) if !text.trim().is_empty() => at_most("interactive['body']['text']", text, longest)?,
        _ if BODILESS.contains(&kind) => {}
        _ => return Err(missing("interactive.body.text")),
    }
    if let Some(footer) = optional(content, "/footer/text")? {
        at_most("interactive['footer']['text']", footer, 60)?;
    }
    header(content)?;
    let action = content.get("action").ok_or_else(|| missing("interactive.action"))?;
    match kind {
        "button" => buttons(action),
        "list" => list(action),
        "cta_url" => url(action),
        "flow" => flow(action),
        "product" => product(action),
        "product_list" => sections(action).map(drop),
        other => match NAMED_ACTIONS.iter().find(|(name, _)| *name == other) {
            Some((_, name)) if required(action, "/name")? == *name => Ok(()),
            Some(_) => Err(wrong("interactive.action.name", "does not fit the type")),
            None => Err(wrong("interactive.type", "is not known")),
        },
    }
}

fn header(content: &Value) -> Result<(), GraphError> {
    let Some(header) = content.get("header") else { return Ok(()) };
    match required(header, "/type")? {
        "text" => at_most("interactive['header']['text']", required(header, "/text")?, 60),
        kind @ ("image" | "video" | "document") => {
            if header
                .pointer(&format!("/{kind}/id"))
                .or_else(|| header.pointer(&format!("/{kind}/link")))
                .is_none()
            {
                return Err(missing(&format!("interactive.header.{kind}.id or link")));
            }
            Ok(())
        }
        _ => Err(wrong("interactive.header.type", "is not known")),
    }
}

fn between(param: &str, text: &str, most: usize) -> Result<(), GraphError> {
    if text.chars().count() > most {
        return Err(wrong(param, &format!("length invalid. Min length: 1, Max length: {most}")));
    }
    Ok(())
}

fn unique<'a>(param: &str, names: impl Iterator<Item = &'a str>) -> Result<(), GraphError> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(wrong(param, "must be unique"));
        }
    }
    Ok(())
}

fn buttons(action: &Value) -> Result<(), GraphError> {
    let buttons = action
        .get("buttons")
        .and_then(Value::as_array)
        .ok_or_else(|| missing("interactive.action.buttons"))?;
    if buttons.is_empty() || buttons.len() > MAX_BUTTONS {
        return Err(wrong(
            "interactive.action.buttons",
            "Invalid buttons count. Min allowed: 1, Max allowed: 3",
        ));
    }
    let (mut ids, mut titles) = (Vec::new(), Vec::new());
    for button in buttons {
        if button.get("type").is_none_or(|of| of != "reply") {
            return Err(wrong("interactive.action.buttons.type", "must be reply"));
        }
        let (id, title) = (required(button, "/reply/id")?, required(button, "/reply/title")?);
        between("Button id", id, 256)?;
        between("Button title", title, 20)?;
        ids.push(id);
        titles.push(title);
    }
    unique("Button id", ids.into_iter())?;
    unique("Button title", titles.into_iter())
}

fn list(action: &Value) -> Result<(), GraphError> {
    between("interactive.action.button", required(action, "/button")?, 20)?;
    let sections = sections(action)?;
    let mut ids = Vec::new();
    for section in sections {
        match optional(section, "/title")? {
            Some(title) => between("Section title", title, 24)?,
            None if sections.len() > 1 => return Err(missing("interactive.action.sections.title")),
            None => {}
        }
        let rows = section.get("rows").and_then(Value::as_array).ok_or_else(|| missing("sections.rows"))?;
        for row in rows {
            let id = required(row, "/id")?;
            between("Row id", id, 200)?;
            between("Row title", required(row, "/title")?, 24)?;
            if let Some(description) = optional(row, "/description")? {
                between("Row description", description, 72)?;
            }
            ids.push(id);
        }
    }
    if ids.is_empty() || ids.len() > MAX_ROWS {
        return Err(wrong("Total row count", "must be between 1 and 10"));
    }
    unique("Row id", ids.into_iter())
}

fn sections(action: &Value) -> Result<&Vec<Value>, GraphError> {
    let sections = action
        .get("sections")
        .and_then(Value::as_array)
        .ok_or_else(|| missing("interactive.action.sections"))?;
    if sections.is_empty() || sections.len() > MAX_ROWS {
        return Err(wrong("interactive.action.sections", "must be between 1 and 10"));
    }
    Ok(sections)
}

fn url(action: &Value) -> Result<(), GraphError> {
    between("display_text", required(action, "/parameters/display_text")?, 20)?;
    let url = required(action, "/parameters/url")?;
    if !url.starts_with("https://") && !url.starts_with("http://") {
        return Err(wrong("interactive.action.parameters.url", "must be a URL"));
    }
    Ok(())
}

fn flow(action: &Value) -> Result<(), GraphError> {
    required(action, "/parameters/flow_message_version")?;
    between("flow_cta", required(action, "/parameters/flow_cta")?, 20)?;
    let named =
        ["flow_id", "flow_name"].iter().any(|name| action.pointer(&format!("/parameters/{name}")).is_some());
    if named { Ok(()) } else { Err(missing("interactive.action.parameters.flow_id or flow_name")) }
}

fn product(action: &Value) -> Result<(), GraphError> {
    required(action, "/catalog_id")?;
    required(action, "/product_retailer_id").map(drop)
}
