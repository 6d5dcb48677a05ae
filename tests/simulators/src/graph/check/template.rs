//! Templates: known, approved, and filled in as they ask for.

use serde_json::Value;

use super::{required, wrong};
use crate::config::Template;
use crate::errors::GraphError;

/// Longest body after the variables are filled in.
const MAX_BODY: usize = 1_024;

pub(super) fn shape(content: &Value) -> Result<(), GraphError> {
    required(content, "/name")?;
    required(content, "/language/code")?;
    if content.get("components").is_some_and(|components| !components.is_array()) {
        return Err(wrong("template.components", "must be an array"));
    }
    Ok(())
}

/// The template that `content` names among those of the account, if it may be sent and is filled in rightly.
pub(crate) fn template<'a>(
    known: &'a [Template],
    account: &str,
    content: &Value,
) -> Result<&'a Template, GraphError> {
    let (name, language) = (required(content, "/name")?, required(content, "/language/code")?);
    let found = known
        .iter()
        .find(|of| of.business_account_id == account && of.name == name && of.language == language)
        .ok_or_else(|| {
            GraphError::new(132_001, format!("template name ({name}) does not exist in {language}"))
        })?;
    match found.status.as_str() {
        "APPROVED" => {}
        "PAUSED" => return Err(GraphError::plain(132_015)),
        "DISABLED" => return Err(GraphError::plain(132_016)),
        _ => {
            return Err(GraphError::new(
                132_001,
                format!("template name ({name}) in {language} is not approved"),
            ));
        }
    }
    for component in &found.components {
        filled(found, component, content)?;
    }
    Ok(found)
}

fn filled(template: &Template, component: &Value, content: &Value) -> Result<(), GraphError> {
    let of = component.get("type").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let given = parameters(content, &of);
    match of.as_str() {
        "body" => text(template, "body", component, &given),
        "header" => match component.get("format").and_then(Value::as_str).unwrap_or("TEXT") {
            "TEXT" => text(template, "header", component, &given),
            format => {
                let wanted = format.to_ascii_lowercase();
                let fits =
                    given.iter().any(|parameter| parameter.get("type").is_some_and(|of| *of == *wanted));
                if fits {
                    Ok(())
                } else {
                    Err(mismatch(&format!("header: Format mismatch, expected {format}")))
                }
            }
        },
        _ => Ok(()),
    }
}

fn parameters<'a>(content: &'a Value, of: &str) -> Vec<&'a Value> {
    let components = content.get("components").and_then(Value::as_array).into_iter().flatten();
    components
        .filter(|component| {
            component.get("type").and_then(Value::as_str).is_some_and(|given| given.eq_ignore_ascii_case(of))
        })
        .flat_map(|component| component.get("parameters").and_then(Value::as_array).into_iter().flatten())
        .collect()
}

fn text(template: &Template, name: &str, component: &Value, given: &[&Value]) -> Result<(), GraphError> {
    let pattern = component.get("text").and_then(Value::as_str).unwrap_or_default();
    let variables = variables(pattern);
    if variables.len() != given.len() {
        let details = format!(
            "{name}: number of localizable_params ({}) does not match the expected number of params ({})",
            given.len(),
            variables.len()
        );
        return Err(GraphError::new(132_000, details));
    }
    let mut length = pattern.chars().count();
    for parameter in given {
        let of = parameter.get("type").and_then(Value::as_str).unwrap_or_default();
        if !["text", "currency", "date_time"].contains(&of) {
            return Err(mismatch(&format!("{name}: parameter of type {of}")));
        }
        if of == "text" {
            let value = required(parameter, "/text")?;
            if value.contains(['\n', '\t']) || value.contains("     ") {
                return Err(mismatch(
                    "Param text cannot have new-line/tab characters or more than 4 consecutive spaces",
                ));
            }
            length += value.chars().count();
        }
        if template.parameter_format == "NAMED" {
            let wanted = parameter.get("parameter_name").and_then(Value::as_str).unwrap_or_default();
            if !variables.contains(&wanted) {
                return Err(mismatch(&format!("{name}: parameter_name {wanted} is not known")));
            }
        }
    }
    if name == "body" && length > MAX_BODY {
        return Err(GraphError::plain(132_005));
    }
    Ok(())
}

fn mismatch(details: &str) -> GraphError {
    GraphError::new(132_012, details)
}

/// The names between double braces, each once.
fn variables(pattern: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for piece in pattern.split("{{").skip(1) {
        if let Some((name, _)) = piece.split_once("}}")
            && !names.contains(&name.trim())
        {
            names.push(name.trim());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Config;

    const ACCOUNT: &str = "102290129340398";

    fn code(content: &Value) -> Option<u32> {
        template(&Config::default().templates, ACCOUNT, content).err().map(|error| error.code)
    }

    fn order(parameters: &[Value]) -> Value {
        json!({"name": "order_update", "language": {"code": "en_US"},
            "components": [{"type": "body", "parameters": parameters}]})
    }

    #[test]
    fn only_known_approved_and_filled_templates_pass() {
        let text = |value: &str| json!({"type": "text", "text": value});
        assert_eq!(code(&json!({"name": "hello_world", "language": {"code": "en_US"}})), None);
        assert_eq!(code(&order(&[text("Ana"), text("42")])), None);
        assert_eq!(code(&order(&[text("Ana")])), Some(132_000));
        assert_eq!(code(&order(&[text("Ana"), json!({"type": "image"})])), Some(132_012));
        assert_eq!(code(&order(&[text("Ana"), text("4\n2")])), Some(132_012));
        assert_eq!(code(&order(&[text("Ana"), text(&"x".repeat(1_024))])), Some(132_005));
        assert_eq!(code(&json!({"name": "hello_world", "language": {"code": "de"}})), Some(132_001));
        assert_eq!(code(&json!({"name": "nothing", "language": {"code": "en_US"}})), Some(132_001));
        assert_eq!(code(&json!({"name": "not_yet", "language": {"code": "en_US"}})), Some(132_001));
    }

    #[test]
    fn paused_disabled_and_foreign_templates_are_refused() {
        let mut known = Config::default().templates;
        let content = json!({"name": "hello_world", "language": {"code": "en_US"}});
        for (status, expected) in [("PAUSED", 132_015), ("DISABLED", 132_016), ("REJECTED", 132_001)] {
            status.clone_into(&mut known.first_mut().expect("one").status);
            assert_eq!(template(&known, ACCOUNT, &content).err().map(|error| error.code), Some(expected));
        }
        assert_eq!(
            template(&Config::default().templates, "other", &content).err().map(|e| e.code),
            Some(132_001)
        );
    }

    #[test]
    fn named_variables_go_by_their_name() {
        let mut known = Config::default().templates;
        let first = known.first_mut().expect("one");
        "NAMED".clone_into(&mut first.parameter_format);
        first.components = vec![json!({"type": "BODY", "text": "Hello {{first_name}}"})];
        let content = |name: &str| {
            json!({"name": "hello_world", "language": {"code": "en_US"}, "components": [{"type": "body",
                "parameters": [{"type": "text", "parameter_name": name, "text": "Ana"}]}]})
        };
        assert!(template(&known, ACCOUNT, &content("first_name")).is_ok());
        assert_eq!(template(&known, ACCOUNT, &content("last_name")).err().map(|e| e.code), Some(132_012));
    }
}
