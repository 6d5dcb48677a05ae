//! Templates as Meta lists them, in the form in which they are reported.
//!
//! Source: Meta, "Message templates" of the WhatsApp Business Management API and the pages of their components (2026).

use std::collections::BTreeSet;

use hilo_proto::attention::v1::{Template, TemplateButton, TemplatePart};
use hilo_proto::internal::v1::ReportedTemplate;
use serde_json::Value;

use super::json::{array, short, text};

/// Most templates of a report; Meta allows a business account no more.
pub const MOST: usize = 6_000;
/// Longest name, language and word.
const NAME_CHARS: usize = 512;
const LANGUAGE_CHARS: usize = 20;
const WORD_CHARS: usize = 60;

/// Notices after which a list is old.
pub const CHANGES: [&str; 4] = [
    "message_template_status_update",
    "message_template_quality_update",
    "message_template_components_update",
    "template_category_update",
];

/// The templates of these rows, each name and language once; what has none of them is left out.
pub fn reported(rows: &[Value]) -> Vec<ReportedTemplate> {
    let mut seen = BTreeSet::new();
    let read = rows.iter().filter_map(of_row);
    read.filter(|one| {
        let template = one.template.clone().unwrap_or_default();
        seen.insert((template.name, template.language))
    })
    .collect()
}

fn of_row(row: &Value) -> Option<ReportedTemplate> {
    let (name, language) = (short(row, "name", NAME_CHARS), short(row, "language", LANGUAGE_CHARS));
    let status = short(row, "status", WORD_CHARS).to_ascii_uppercase();
    let plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    if ![&name, &language, &status].into_iter().all(|text| plain(text)) {
        return None;
    }
    let template = Template {
        account_key: String::new(),
        name,
        language,
        category: short(row, "category", WORD_CHARS),
        parts: array(row, "components").iter().map(part).collect(),
        synchronised_at: None,
    };
    Some(ReportedTemplate { template: Some(template), status })
}

fn part(component: &Value) -> TemplatePart {
    let of = short(component, "type", WORD_CHARS).to_ascii_uppercase();
    let words = text(component, "text");
    let variables = if of == "HEADER" || of == "BODY" { variables(&words) } else { Vec::new() };
    TemplatePart {
        format: short(component, "format", WORD_CHARS).to_ascii_uppercase(),
        buttons: array(component, "buttons").iter().map(button).collect(),
        r#type: of,
        text: words,
        variables,
    }
}

fn button(button: &Value) -> TemplateButton {
    let of = short(button, "type", WORD_CHARS).to_ascii_uppercase();
    let has_variable = match of.as_str() {
        "URL" => !variables(&text(button, "url")).is_empty(),
        // The code is given with every send.
        "COPY_CODE" => true,
        // One-time codes of authentication templates stand in the address that Meta makes of the button.
        "OTP" => true,
        _ => false,
    };
    TemplateButton { text: text(button, "text"), has_variable, r#type: of }
}

/// What stands between double braces, each once, in the order of its first place; numbers in theirs.
fn variables(pattern: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for piece in pattern.split("{{").skip(1) {
        if let Some((name, _)) = piece.split_once("}}") {
            let name = name.trim();
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    // Values are given by position: {{2}} may stand before {{1}} in a text.
    if names.iter().all(|name| name.parse::<u32>().is_ok()) {
        names.sort_by_key(|name| name.parse::<u32>().unwrap_or(0));
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_read_with_its_variables_and_buttons() {
        let row = json!({"name": "pedido", "language": "es", "status": "approved", "category": "UTILITY", "id": "1",
            "components": [
                {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["x"]}},
                {"type": "BODY", "text": "Hola {{2}}, {{1}} y otra vez {{2}}"},
                {"type": "FOOTER", "text": "sin {{variables}}"},
                {"type": "BUTTONS", "buttons": [
                    {"type": "QUICK_REPLY", "text": "Sí"},
                    {"type": "URL", "text": "Ver", "url": "https://x.example/{{1}}"},
                    {"type": "URL", "text": "Web", "url": "https://x.example/"},
                    {"type": "COPY_CODE", "example": "A1"}]}]});
        let all = reported(&[row]);
        let one = all.first().unwrap();
        let template = one.template.clone().unwrap();
        assert_eq!((one.status.as_str(), template.category.as_str()), ("APPROVED", "UTILITY"));
        let [header, body, footer, buttons] = template.parts.as_slice() else { panic!("{template:?}") };
        assert_eq!((header.r#type.as_str(), header.format.as_str()), ("HEADER", "IMAGE"));
        assert_eq!(body.variables, ["1", "2"]);
        assert!(footer.variables.is_empty());
        let vary: Vec<bool> = buttons.buttons.iter().map(|one| one.has_variable).collect();
        assert_eq!(vary, [false, true, false, true]);
    }

    #[test]
    fn named_variables_keep_their_order_and_what_is_no_template_is_left_out() {
        let named = json!({"name": "a", "language": "es", "status": "PENDING",
            "components": [{"type": "BODY", "text": "{{nombre}} {{ apellido }}"}]});
        let rows = [
            named.clone(),
            json!({"name": "b"}),
            json!(7),
            json!({"name": "c\n", "language": "es", "status": "X"}),
            named,
        ];
        let all = reported(&rows);
        assert_eq!(all.len(), 1, "a name and language stands there once");
        let template = all[0].template.clone().unwrap();
        assert_eq!(template.parts[0].variables, ["nombre", "apellido"]);
    }
}
