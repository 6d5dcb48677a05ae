//! Forms of the YAML.

use super::key::FormKey;
use super::model::{FieldType, Form, FormField};
use super::problems::Problems;
use super::section::Section;
use super::tree::Node;

/// Most fields of a form; product.md's desks show them in one column.
const MAX_FIELDS: usize = 100;
/// Most choices of a field.
const MAX_CHOICES: usize = 500;

/// Reads one form.
pub(super) fn form(node: &Node, path: &str, problems: &mut Problems) -> Form {
    let section = Section::open(node, path, &["key", "title", "fields"], problems);
    let mut fields: Vec<FormField> = Vec::new();
    for (at, node) in section.items("fields", MAX_FIELDS, problems).iter().enumerate() {
        let inner = format!("{}[{at}]", section.path("fields"));
        let field = field(node, &inner, problems);
        if fields.iter().any(|before| before.key == field.key) {
            problems.add(
                &format!("{inner}.key"),
                "DUPLICATE",
                format!("the form has two fields `{}`", field.key),
            );
        }
        fields.push(field);
    }
    if fields.is_empty() {
        problems.add(&section.path("fields"), "MISSING", "a form has at least one field");
    }
    Form {
        key: FormKey::unchecked(section.own_key(problems)),
        version: 0,
        title: section.required_line("title", 100, problems),
        fields,
        created_at: time::OffsetDateTime::UNIX_EPOCH,
    }
}

fn field(node: &Node, path: &str, problems: &mut Problems) -> FormField {
    let known = ["key", "label", "type", "required", "choices", "minimum", "maximum"];
    let section = Section::open(node, path, &known, problems);
    FormField { required: section.boolean("required", false, problems), ..described(&section, problems) }
}

/// Key, label, type, choices and bounds of a field, of a form or of contacts; not required.
pub(super) fn described(section: &Section<'_>, problems: &mut Problems) -> FormField {
    let kind = section.choice("type", FieldType::WORDS, None, problems);
    let field = FormField {
        key: section.own_key(problems),
        label: section.required_line("label", 100, problems),
        kind: kind.unwrap_or(FieldType::Text).as_str().to_owned(),
        required: false,
        choices: section.list("choices", MAX_CHOICES, false, problems),
        minimum: section.number("minimum", problems),
        maximum: section.number("maximum", problems),
    };
    if let Some(kind) = kind {
        choices(kind, &field, section, problems);
        bounds(kind, &field, section, problems);
    }
    field
}

fn choices(kind: FieldType, field: &FormField, section: &Section<'_>, problems: &mut Problems) {
    let path = section.path("choices");
    match kind {
        FieldType::SingleChoice | FieldType::MultipleChoice | FieldType::List => {
            if field.choices.is_empty() {
                problems.add(&path, "CHOICES", "this type needs at least one choice");
            }
        }
        FieldType::Text | FieldType::Paragraph | FieldType::Number | FieldType::Date => {
            if !field.choices.is_empty() {
                problems.add(&path, "CHOICES", "this type has no choices");
            }
        }
    }
    for (at, choice) in field.choices.iter().enumerate() {
        // Several chosen values are stored separated by line feeds.
        if choice.trim().is_empty() || choice.chars().count() > 200 || choice.chars().any(char::is_control) {
            problems.add(
                &format!("{path}[{at}]"),
                "BAD_VALUE",
                "a choice is one line of 1 to 200 characters",
            );
        }
    }
}

fn bounds(kind: FieldType, field: &FormField, section: &Section<'_>, problems: &mut Problems) {
    let counted = match kind {
        FieldType::Text | FieldType::Paragraph | FieldType::MultipleChoice => true,
        FieldType::Number => false,
        FieldType::SingleChoice | FieldType::List | FieldType::Date => {
            for (name, bound) in [("minimum", field.minimum), ("maximum", field.maximum)] {
                if bound.is_some() {
                    problems.add(&section.path(name), "BAD_VALUE", "this type has no bounds");
                }
            }
            return;
        }
    };
    for (name, bound) in [("minimum", field.minimum), ("maximum", field.maximum)] {
        if counted && bound.is_some_and(|bound| bound < 0.0 || bound.fract() != 0.0) {
            problems.add(&section.path(name), "OUT_OF_BOUNDS", "a length or count is a whole number from 0");
        }
    }
    if let (Some(least), Some(most)) = (field.minimum, field.maximum)
        && least > most
    {
        problems.add(&section.path("maximum"), "MINIMUM_ABOVE_MAXIMUM", "`maximum` is below `minimum`");
    }
}
