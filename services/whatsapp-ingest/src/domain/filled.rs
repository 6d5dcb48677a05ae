//! A template with its values, in the form of a request.
//!
//! Source: Meta, "Templates" and the pages of their components (2026).

use hilo_proto::inbound::v1::MediaKind;
use hilo_proto::outbound::v1::template_parameter::Value as Filled;
use hilo_proto::outbound::v1::{SendMedia, SendTemplate, TemplateComponent, TemplateParameter};
use serde_json::{Map, Value, json};

use super::compose::invalid;
use super::outgoing::{self, FileNeeded};
use super::unfit::Unsendable;

/// Whether it is approved is Meta's answer (132001, 132015 and so on).
pub(super) fn template(
    template: &SendTemplate,
    files: &mut Vec<FileNeeded>,
) -> Result<(&'static str, Value), Unsendable> {
    if template.name.is_empty() || template.language.is_empty() {
        return Err(invalid("a template has a name and a language"));
    }
    let mut components = Vec::with_capacity(template.components.len());
    for (number, one) in template.components.iter().enumerate() {
        components.push(component(one, &format!("/template/components/{number}"), files)?);
    }
    Ok((
        "template",
        json!({ "name": template.name, "language": { "code": template.language },
        "components": components }),
    ))
}

fn component(
    component: &TemplateComponent,
    at: &str,
    files: &mut Vec<FileNeeded>,
) -> Result<Value, Unsendable> {
    let mut parameters = Vec::with_capacity(component.parameters.len());
    for (number, one) in component.parameters.iter().enumerate() {
        parameters.push(parameter(one, &format!("{at}/parameters/{number}"), files)?);
    }
    if component.sub_type.eq_ignore_ascii_case("copy_code") {
        parameters.iter_mut().for_each(coupon);
    }
    let mut written = json!({ "type": component.r#type, "parameters": parameters });
    if component.r#type == "button"
        && let Some(written) = written.as_object_mut()
    {
        written.insert("sub_type".to_owned(), json!(component.sub_type));
        written.insert("index".to_owned(), json!(component.index.to_string()));
    }
    Ok(written)
}

/// The code of a button that copies one has a type of its own.
fn coupon(parameter: &mut Value) {
    if let Some(text) = parameter.get("text").cloned() {
        *parameter = json!({ "type": "coupon_code", "coupon_code": text });
    }
}

fn parameter(
    parameter: &TemplateParameter,
    at: &str,
    files: &mut Vec<FileNeeded>,
) -> Result<Value, Unsendable> {
    let mut written = match &parameter.value {
        Some(Filled::Text(text)) => json!({ "type": "text", "text": text }),
        Some(Filled::Payload(payload)) => json!({ "type": "payload", "payload": payload }),
        Some(Filled::Media(media)) => header_file(media, at, files)?,
        None => return Err(invalid("a variable of the template has no value")),
    };
    if !parameter.name.is_empty()
        && let Some(written) = written.as_object_mut()
    {
        written.insert("parameter_name".to_owned(), json!(parameter.name));
    }
    Ok(written)
}

/// A header shows an image, a video or a document, without words of its own.
fn header_file(media: &SendMedia, at: &str, files: &mut Vec<FileNeeded>) -> Result<Value, Unsendable> {
    let shown = matches!(media.kind(), MediaKind::Image | MediaKind::Video | MediaKind::Document);
    if !shown || !media.caption.is_empty() {
        return Err(invalid("a header of a template is an image, a video or a document"));
    }
    let (name, content, needed) = outgoing::media(media, at)?;
    files.push(needed);
    let mut written = Map::new();
    written.insert("type".to_owned(), json!(name));
    written.insert(name.to_owned(), content);
    Ok(Value::Object(written))
}
