//! Whether the values of a send fit a template, and what the customer reads of both. Plain: no database, no clock.
//!
//! Rules: <https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/components>.

use std::collections::BTreeMap;

use hilo_kit::error::Error;
use hilo_proto::attention::v1::{Template, TemplateButton, TemplatePart};
use hilo_proto::inbound::v1::MediaKind;
use hilo_proto::outbound::v1::template_parameter::Value;
use hilo_proto::outbound::v1::{SendTemplate, TemplateComponent, TemplateParameter};

/// Longest value of a variable, in characters; Meta bounds the filled-in part at 1,024 and more.
pub(crate) const MAX_VALUE: usize = 1_024;
/// Longest payload of a button, in characters.
const MAX_PAYLOAD: usize = 256;

/// What a part of a template takes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Takes {
    /// Values for these variables, in this order or by these names.
    Texts(Vec<String>),
    /// One file of this kind.
    File(MediaKind),
    /// One text: the end of an address, a code.
    Text,
    /// One payload, or nothing.
    Payload,
    /// Values that cannot be given here.
    NotCarried(String),
}

/// A place of a template where values go.
#[derive(Clone, Debug)]
struct Place {
    /// `header`, `body` or `button`, as components name it.
    component: &'static str,
    /// Place of a button.
    index: i32,
    takes: Takes,
}

impl Place {
    fn is_of(&self, component: &TemplateComponent) -> bool {
        let same = self.component == component.r#type.to_ascii_lowercase();
        same && (self.component != "button" || self.index == component.index)
    }

    fn name(&self) -> String {
        match self.component {
            "button" => format!("button {}", self.index),
            other => other.to_owned(),
        }
    }
}

fn places(template: &Template) -> Vec<Place> {
    let mut places = Vec::new();
    for part in &template.parts {
        let texts = || Takes::Texts(part.variables.clone());
        let place = |component, takes| Place { component, index: 0, takes };
        match part.r#type.to_ascii_uppercase().as_str() {
            "HEADER" => match header(part) {
                Some(takes) => places.push(place("header", takes)),
                None if part.variables.is_empty() => {}
                None => places.push(place("header", texts())),
            },
            "BODY" if part.variables.is_empty() => {}
            "BODY" => places.push(place("body", texts())),
            "BUTTONS" => places.extend((0..).zip(&part.buttons).filter_map(button)),
            _ if part.variables.is_empty() => {}
            other => places.push(place("header", Takes::NotCarried(other.to_owned()))),
        }
    }
    places
}

/// What a header takes that is no text.
fn header(part: &TemplatePart) -> Option<Takes> {
    match part.format.to_ascii_uppercase().as_str() {
        "" | "TEXT" => None,
        "IMAGE" => Some(Takes::File(MediaKind::Image)),
        "VIDEO" => Some(Takes::File(MediaKind::Video)),
        "DOCUMENT" => Some(Takes::File(MediaKind::Document)),
        other => Some(Takes::NotCarried(other.to_owned())),
    }
}

fn button((index, button): (i32, &TemplateButton)) -> Option<Place> {
    let takes = match (button.r#type.to_ascii_uppercase().as_str(), button.has_variable) {
        ("QUICK_REPLY", _) => Takes::Payload,
        ("URL" | "COPY_CODE" | "OTP", true) => Takes::Text,
        (_, false) => return None,
        (other, true) => Takes::NotCarried(other.to_owned()),
    };
    Some(Place { component: "button", index, takes })
}

/// The kind of the file that the header of a template needs; `None` when it needs none.
pub(crate) fn header_media(template: &Template) -> Option<MediaKind> {
    places(template).into_iter().find_map(|place| match place.takes {
        Takes::File(kind) => Some(kind),
        Takes::Texts(_) | Takes::Text | Takes::Payload | Takes::NotCarried(_) => None,
    })
}

/// Whether the values fit: every variable has one that Meta takes, and nothing is given that has no place. `field` is the path of the
/// template in the request. A file of the header is looked at by its kind only.
///
/// # Errors
/// `TEMPLATE_VARIABLES` with a violation per place.
pub(crate) fn check(template: &Template, sent: &SendTemplate, field: &str) -> Result<(), Error> {
    let mut bad = Error::invalid("TEMPLATE_VARIABLES", "the values do not fit the template");
    let places = places(template);
    let mut filled = vec![false; places.len()];
    for (at, component) in sent.components.iter().enumerate() {
        let path = format!("{field}.components[{at}]");
        let found = places.iter().zip(filled.iter_mut()).find(|(place, _)| place.is_of(component));
        match found {
            None => bad = bad.field(path, "the template has no variable there"),
            Some((_, filled)) if *filled => bad = bad.field(path, "given twice"),
            Some((place, filled)) => {
                *filled = true;
                if let Err(why) = fits(&place.takes, &component.parameters) {
                    bad = bad.field(format!("{path}.parameters"), why);
                }
            }
        }
    }
    for (place, _) in places.iter().zip(&filled).filter(|(_, filled)| !**filled) {
        if let Some(why) = lacks(&place.takes) {
            bad = bad.field(format!("{field}.components"), format!("{} {why}", place.name()));
        }
    }
    if bad.violations().is_empty() { Ok(()) } else { Err(bad) }
}

/// What is missing where nothing was given.
fn lacks(takes: &Takes) -> Option<String> {
    match takes {
        Takes::Texts(names) => Some(format!("needs values for {}", names.join(", "))),
        Takes::File(kind) => Some(format!("needs a file ({})", kind.as_str_name())),
        Takes::Text => Some("needs a value".to_owned()),
        Takes::Payload => None,
        Takes::NotCarried(what) => Some(format!("needs what cannot be sent yet: {what}")),
    }
}

fn fits(takes: &Takes, given: &[TemplateParameter]) -> Result<(), String> {
    match (takes, given) {
        (Takes::Texts(names), given) => texts(names, given).map(drop),
        (Takes::NotCarried(what), _) => Err(format!("cannot be sent yet: {what}")),
        (Takes::File(kind), [TemplateParameter { value: Some(Value::Media(media)), .. }]) => {
            let same = media.kind() == *kind && media.caption.is_empty();
            if same { Ok(()) } else { Err(format!("a file ({}) without words below it", kind.as_str_name())) }
        }
        (Takes::File(kind), _) => Err(format!("exactly one file ({})", kind.as_str_name())),
        (Takes::Text, [TemplateParameter { value: Some(Value::Text(text)), .. }]) => plain(text),
        (Takes::Text, _) => Err("exactly one text".to_owned()),
        (Takes::Payload, [TemplateParameter { value: Some(Value::Payload(payload)), .. }]) => {
            let length = payload.chars().count();
            if (1..=MAX_PAYLOAD).contains(&length) {
                Ok(())
            } else {
                Err(format!("1 to {MAX_PAYLOAD} characters"))
            }
        }
        (Takes::Payload, _) => Err("exactly one payload".to_owned()),
    }
}

/// Values by variable: in order where the template numbers them, else by name.
fn texts<'a>(names: &[String], given: &'a [TemplateParameter]) -> Result<BTreeMap<String, &'a str>, String> {
    let expected = || format!("exactly one value for each of {}", names.join(", "));
    if given.len() != names.len() {
        return Err(expected());
    }
    let numbered = names.iter().all(|name| name.bytes().all(|one| one.is_ascii_digit()));
    let mut values = BTreeMap::new();
    for (name, one) in names.iter().zip(given) {
        let Some(Value::Text(text)) = &one.value else { return Err("only texts".to_owned()) };
        let key = if numbered { name } else { &one.name };
        let fits = if numbered { one.name.is_empty() || one.name == *name } else { names.contains(key) };
        if !fits || values.insert(key.clone(), text.as_str()).is_some() {
            return Err(expected());
        }
        plain(text)?;
    }
    Ok(values)
}

fn plain(text: &str) -> Result<(), String> {
    problem(text).map_or(Ok(()), |(_, why)| Err(why))
}

/// Why Meta would refuse a value, as a stable reason and in words: it takes no line breaks, no tabs and no more than four spaces in a row.
pub(crate) fn problem(value: &str) -> Option<(&'static str, String)> {
    if value.trim().is_empty() {
        return Some(("VALUE_MISSING", "every variable of the template needs a value".to_owned()));
    }
    if value.chars().count() > MAX_VALUE {
        return Some(("VALUE_TOO_LONG", format!("at most {MAX_VALUE} characters")));
    }
    let odd = value.contains(char::is_control) || value.contains("     ");
    odd.then(|| ("VALUE_MALFORMED", "one line without tabs, at most four spaces in a row".to_owned()))
}

/// What the customer reads: header, body and footer with the values filled in, and the words of the buttons. Values that do not fit
/// ([`check`]) leave their variables.
pub(crate) fn rendered(template: &Template, sent: &SendTemplate) -> String {
    let given = |name: &str| {
        let mut components = sent.components.iter();
        components.find(|one| one.r#type.eq_ignore_ascii_case(name)).map_or(&[][..], |one| &one.parameters)
    };
    let mut blocks = Vec::new();
    for part in &template.parts {
        let words: Vec<String> = part.buttons.iter().map(|one| format!("[{}]", one.text)).collect();
        blocks.push(if words.is_empty() { fill(part, given(&part.r#type)) } else { words.join(" ") });
    }
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n")
}

/// Fills variables in, in one pass: a value that looks like a variable stays what it is.
fn fill(part: &TemplatePart, given: &[TemplateParameter]) -> String {
    let values = texts(&part.variables, given).unwrap_or_default();
    let (mut filled, mut rest) = (String::new(), part.text.as_str());
    while let Some((before, tail)) = rest.split_once("{{") {
        let Some((name, after)) = tail.split_once("}}") else { break };
        filled.push_str(before);
        match values.get(name.trim()) {
            Some(value) => filled.push_str(value),
            None => filled.push_str(&format!("{{{{{name}}}}}")),
        }
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
