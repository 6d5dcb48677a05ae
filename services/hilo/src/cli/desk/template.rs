//! Templates as a person at a terminal fills them in: values in the order of the variables, or by name.

use hilo_proto::attention::v1::{Template, TemplatePart};
use hilo_proto::outbound::v1::template_parameter::Value;
use hilo_proto::outbound::v1::{SendTemplate, TemplateComponent, TemplateParameter};

use crate::cli::terminal::{clean, clean_lines, counted};
use crate::cli::{Exit, Failure};

/// A template and the values of its text, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Name.
    pub name: String,
    /// Language and locale; empty where there is only one.
    pub language: String,
    /// Values of its variables, in order or as `name=value`.
    pub values: Vec<String>,
}

/// A template that starts an attention in WhatsApp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstChat {
    /// Key of the campaign.
    pub campaign: String,
    /// Number, with `+`.
    pub phone: String,
    /// What is sent.
    pub template: Filled,
}

/// A name, then `--lang CODE` and values anywhere; a value in double quotes may hold spaces.
///
/// # Errors
/// One line that says what would be right.
pub fn filled(rest: &str) -> Result<Filled, String> {
    let mut words = Vec::new();
    let mut rest = rest.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a value has no closing quote")?,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    let mut filled = Filled::default();
    let mut words = words.into_iter();
    filled.name = words.next().ok_or("template needs a name, for instance: template seguimos_en_contacto")?;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--lang" => {
                filled.language = words.next().ok_or("--lang needs a language, for instance es_PE")?
            }
            _ => filled.values.push(word),
        }
    }
    Ok(filled)
}

/// A template as a list shows it: name, language, category, then its words.
pub fn shown(template: &Template) -> Vec<String> {
    let head = format!("{} [{}] {}", template.name, template.language, template.category.to_lowercase());
    let words = template.parts.iter().flat_map(|part| clean_lines(&part.text));
    let buttons =
        template.parts.iter().flat_map(|part| &part.buttons).map(|one| format!("[{}]", clean(&one.text)));
    let below = words.chain(buttons).map(|line| format!("    {line}"));
    std::iter::once(clean(&head).trim_end().to_owned()).chain(below).collect()
}

/// The template that is meant, with the values where its variables stand.
///
/// # Errors
/// `NO_SUCH_TEMPLATE`, `LANGUAGE_MISSING`, `TEMPLATE_NEEDS_A_FILE`, `VARIABLES` when values are missing or too many.
pub fn send_template(filled: &Filled, known: &[Template]) -> Result<SendTemplate, Failure> {
    let mut named: Vec<&Template> = known.iter().filter(|one| one.name == filled.name).collect();
    if !filled.language.is_empty() {
        named.retain(|one| one.language == filled.language);
    }
    let template = match named.as_slice() {
        [] => {
            let text =
                format!("there is no template {} that may be sent; type templates", clean(&filled.name));
            return Err(Failure::new(Exit::Missing, "NO_SUCH_TEMPLATE", text));
        }
        [one] => one,
        several => {
            let languages: Vec<&str> = several.iter().map(|one| one.language.as_str()).collect();
            let text = format!("it is there in {}: --lang", clean(&languages.join(", ")));
            return Err(Failure::invalid("LANGUAGE_MISSING", text));
        }
    };
    let mut values = filled.values.clone();
    let mut components = Vec::new();
    for part in &template.parts {
        components.extend(component(part, &mut values)?);
        components.extend(buttons(part, &mut values)?);
    }
    if !values.is_empty() {
        let text = format!("{} too many: {}", counted(values.len(), "value"), clean(&values.join(", ")));
        return Err(Failure::invalid("VARIABLES", text));
    }
    Ok(SendTemplate { name: template.name.clone(), language: template.language.clone(), components })
}

fn component(part: &TemplatePart, values: &mut Vec<String>) -> Result<Option<TemplateComponent>, Failure> {
    if !matches!(part.format.as_str(), "" | "TEXT") {
        let text = "a file stands above its words; hilo desk cannot send that one";
        return Err(Failure::new(Exit::Rejected, "TEMPLATE_NEEDS_A_FILE", text));
    }
    let mut parameters = Vec::new();
    for variable in &part.variables {
        let text = take(variable, values)?;
        // Numbered ones have no name.
        let name = if variable.parse::<u32>().is_ok() { String::new() } else { variable.clone() };
        parameters.push(TemplateParameter { name, value: Some(Value::Text(text)) });
    }
    let r#type = part.r#type.to_lowercase();
    Ok((!parameters.is_empty()).then(|| TemplateComponent { r#type, parameters, ..Default::default() }))
}

fn buttons(part: &TemplatePart, values: &mut Vec<String>) -> Result<Vec<TemplateComponent>, Failure> {
    let mut components = Vec::new();
    for (index, button) in part.buttons.iter().enumerate().filter(|(_, one)| one.has_variable) {
        let text = take(&format!("button{}", index + 1), values)?;
        components.push(TemplateComponent {
            r#type: "button".to_owned(),
            sub_type: button.r#type.to_lowercase(),
            index: i32::try_from(index).unwrap_or_default(),
            parameters: vec![TemplateParameter { name: String::new(), value: Some(Value::Text(text)) }],
        });
    }
    Ok(components)
}

/// `variable=value` wherever it stands, else the next one.
fn take(variable: &str, values: &mut Vec<String>) -> Result<String, Failure> {
    let named = format!("{variable}=");
    if let Some(at) = values.iter().position(|value| value.starts_with(&named)) {
        return Ok(values.remove(at).split_off(named.len()));
    }
    if values.is_empty() {
        let text = format!("a value for {{{{{}}}}} is missing", clean(variable));
        return Err(Failure::invalid("VARIABLES", text));
    }
    Ok(values.remove(0))
}

#[cfg(test)]
mod tests {
    use hilo_proto::attention::v1::TemplateButton;

    use super::*;

    fn known() -> Vec<Template> {
        let part = |of: &str, variables: &[&str]| TemplatePart {
            r#type: of.to_owned(),
            variables: variables.iter().map(|one| (*one).to_owned()).collect(),
            ..Default::default()
        };
        let link = TemplateButton { r#type: "URL".to_owned(), has_variable: true, ..Default::default() };
        let template = |name: &str, language: &str, parts: Vec<TemplatePart>| Template {
            name: name.to_owned(),
            language: language.to_owned(),
            parts,
            ..Default::default()
        };
        let buttons = TemplatePart { buttons: vec![TemplateButton::default(), link], ..part("BUTTONS", &[]) };
        let picture = TemplatePart { format: "IMAGE".to_owned(), ..part("HEADER", &[]) };
        vec![
            template("aviso", "es", vec![part("HEADER", &["1"]), part("BODY", &["1", "2"]), buttons]),
            template("saludo", "es", vec![part("BODY", &["nombre"])]),
            template("saludo", "es_PE", vec![part("BODY", &["nombre"])]),
            template("foto", "es", vec![picture]),
        ]
    }

    fn filled(name: &str, language: &str, values: &[&str]) -> Filled {
        let values = values.iter().map(|one| (*one).to_owned()).collect();
        Filled { name: name.to_owned(), language: language.to_owned(), values }
    }

    #[test]
    fn values_go_where_the_variables_stand() {
        let sent =
            send_template(&filled("aviso", "", &["uno", "dos", "tres", "cuatro"]), &known()).expect("sent");
        let places: Vec<(String, i32, usize)> =
            sent.components.iter().map(|one| (one.r#type.clone(), one.index, one.parameters.len())).collect();
        let expected = [("header", 0, 1), ("body", 0, 2), ("button", 1, 1)];
        assert_eq!(places, expected.map(|(of, index, count)| (of.to_owned(), index, count)));
        let sent = send_template(&filled("saludo", "es_PE", &["nombre=Rosa"]), &known()).expect("sent");
        let parameter = sent.components.first().and_then(|one| one.parameters.first()).expect("one");
        assert_eq!(
            (parameter.name.as_str(), &parameter.value),
            ("nombre", &Some(Value::Text("Rosa".to_owned())))
        );
    }

    #[test]
    fn what_does_not_fit_is_said() {
        for (name, language, values, reason) in [
            ("nada", "", &[][..], "NO_SUCH_TEMPLATE"),
            ("aviso", "en", &[], "NO_SUCH_TEMPLATE"),
            ("saludo", "", &["Rosa"], "LANGUAGE_MISSING"),
            ("foto", "", &[], "TEMPLATE_NEEDS_A_FILE"),
            ("aviso", "", &["uno"], "VARIABLES"),
            ("saludo", "es", &["Rosa", "de más"], "VARIABLES"),
        ] {
            let refused = send_template(&filled(name, language, values), &known()).expect_err(reason);
            assert_eq!(refused.reason, reason);
        }
    }
}
