//! Which columns the variables of a template make, and what a row's values make of the template.
//!
//! Variables of the body are columns of their own name (`1`, `nombre`); those of a header stand behind `header.`, that of a button
//! behind `button.` by its place from 0.

use hilo_kit::error::Error;
use hilo_proto::attention::v1::{Template, TemplatePart};
use hilo_proto::outbound::v1::template_parameter::Value;
use hilo_proto::outbound::v1::{SendTemplate, TemplateComponent, TemplateParameter};

/// Most columns; no template has so many variables.
const MAX_COLUMNS: usize = 100;
/// The column of the numbers.
pub(crate) const NUMBER: &str = "number";

/// Columns of a template in the order of its parts.
///
/// # Errors
/// `TEMPLATE_NOT_DIALLED` for one that needs more than texts, such as a file.
pub(crate) fn columns(template: &Template) -> Result<Vec<String>, Error> {
    let refused = |why: String| {
        Error::rejected("TEMPLATE_NOT_DIALLED", why).field("template_name", "needs more than texts")
    };
    let mut columns = Vec::new();
    for part in &template.parts {
        let format = part.format.to_ascii_uppercase();
        if kind(part) == "HEADER" && !matches!(format.as_str(), "" | "TEXT") {
            return Err(refused(format!(
                "a dialer sends only texts, the header of this template needs {format}"
            )));
        }
        let prefix = if kind(part) == "HEADER" { "header." } else { "" };
        columns.extend(part.variables.iter().map(|name| format!("{prefix}{name}")));
        for (at, button) in part.buttons.iter().enumerate().filter(|(_, one)| one.has_variable) {
            if !button.r#type.eq_ignore_ascii_case("URL") {
                return Err(refused(format!("a dialer cannot fill a button of the kind {}", button.r#type)));
            }
            columns.push(format!("button.{at}"));
        }
    }
    if columns.len() > MAX_COLUMNS || columns.iter().any(|one| one == NUMBER) {
        return Err(refused(format!("at most {MAX_COLUMNS} variables, none of them named `{NUMBER}`")));
    }
    Ok(columns)
}

fn kind(part: &TemplatePart) -> String {
    part.r#type.to_ascii_uppercase()
}

/// The template with a row's values, which are in the order of [`columns`].
pub(crate) fn filled(template: &Template, values: &[String]) -> SendTemplate {
    let mut values = values.iter().cloned();
    let mut text = |name: String| TemplateParameter {
        name,
        value: Some(Value::Text(values.next().unwrap_or_default())),
    };
    let mut components = Vec::new();
    for part in &template.parts {
        if !part.variables.is_empty() {
            let numbered = part.variables.iter().all(|name| name.bytes().all(|one| one.is_ascii_digit()));
            components.push(TemplateComponent {
                r#type: kind(part).to_ascii_lowercase(),
                parameters: part
                    .variables
                    .iter()
                    .map(|name| text(if numbered { String::new() } else { name.clone() }))
                    .collect(),
                ..TemplateComponent::default()
            });
        }
        for (at, button) in (0..).zip(&part.buttons).filter(|(_, one)| one.has_variable) {
            components.push(TemplateComponent {
                r#type: "button".to_owned(),
                sub_type: button.r#type.to_ascii_lowercase(),
                index: at,
                parameters: vec![text(String::new())],
            });
        }
    }
    SendTemplate { name: template.name.clone(), language: template.language.clone(), components }
}

#[cfg(test)]
mod tests {
    use hilo_proto::attention::v1::TemplateButton;

    use super::*;

    fn part(kind: &str, format: &str, variables: &[&str]) -> TemplatePart {
        TemplatePart {
            r#type: kind.into(),
            format: format.into(),
            variables: variables.iter().map(|one| (*one).to_owned()).collect(),
            ..TemplatePart::default()
        }
    }

    fn buttons(all: &[(&str, bool)]) -> TemplatePart {
        let one = |(kind, has_variable): &(&str, bool)| TemplateButton {
            r#type: (*kind).into(),
            has_variable: *has_variable,
            ..TemplateButton::default()
        };
        TemplatePart { buttons: all.iter().map(one).collect(), ..part("BUTTONS", "", &[]) }
    }

    fn of(parts: Vec<TemplatePart>) -> Template {
        Template { name: "aviso".into(), language: "es".into(), parts, ..Template::default() }
    }

    #[test]
    fn variables_become_columns_or_the_template_is_refused() {
        let link = || buttons(&[("QUICK_REPLY", false), ("URL", true)]);
        for (parts, expected) in [
            (vec![part("BODY", "", &[])], Some(vec![])),
            (vec![part("BODY", "", &["1", "2"])], Some(vec!["1", "2"])),
            (
                vec![
                    part("HEADER", "TEXT", &["1"]),
                    part("BODY", "", &["nombre"]),
                    part("FOOTER", "", &[]),
                    link(),
                ],
                Some(vec!["header.1", "nombre", "button.1"]),
            ),
            (vec![part("HEADER", "IMAGE", &[])], None),
            (vec![part("header", "location", &[])], None),
            (vec![buttons(&[("FLOW", true)])], None),
            (vec![part("BODY", "", &["number"])], None),
        ] {
            let told = columns(&of(parts.clone()));
            match expected {
                Some(expected) => assert_eq!(told.unwrap(), expected, "{parts:?}"),
                None => assert_eq!(told.unwrap_err().reason(), "TEMPLATE_NOT_DIALLED", "{parts:?}"),
            }
        }
    }

    #[test]
    fn values_stand_where_their_columns_say() {
        let template = of(vec![
            part("HEADER", "TEXT", &["1"]),
            part("BODY", "", &["nombre", "pedido"]),
            buttons(&[("QUICK_REPLY", false), ("URL", true)]),
        ]);
        let values: Vec<String> = ["17", "Eva", "A-9", "x/9"].map(str::to_owned).into();
        assert_eq!(columns(&template).unwrap().len(), values.len());
        let sent = filled(&template, &values);
        let told: Vec<String> = sent
            .components
            .iter()
            .map(|one| {
                let values = one.parameters.iter().map(|value| match &value.value {
                    Some(Value::Text(text)) => format!(" {}={text}", value.name),
                    Some(Value::Media(_) | Value::Payload(_)) | None => panic!("{value:?}"),
                });
                format!("{} {}:{}", one.r#type, one.index, values.collect::<String>())
            })
            .collect();
        assert_eq!(told, ["header 0: =17", "body 0: nombre=Eva pedido=A-9", "button 1: =x/9"]);
        assert_eq!((sent.name.as_str(), sent.language.as_str()), ("aviso", "es"));
    }
}
