//! Forms: which values may be saved, and what a form lacks before its interaction may end.
//!
//! Saving happens while somebody types, so it only refuses what no screen could produce; completeness is checked on ending.

use std::collections::BTreeMap;

use hilo_proto::directory::v1::{FormDefinition, FormField};

use super::rejection::FieldProblem;

/// Values of a form, field key to value; several choices are separated by line feeds.
pub type Values = BTreeMap<String, String>;

/// Longest value in characters.
pub const MAX_VALUE: usize = 10_000;

/// What no screen of this form could have produced: unknown fields, over-long values, choices that do not exist.
pub fn problems_on_save(form: &FormDefinition, values: &Values) -> Vec<FieldProblem> {
    values.iter().filter_map(|(key, value)| problem_on_save(form, key, value)).collect()
}

fn problem_on_save(form: &FormDefinition, key: &str, value: &str) -> Option<FieldProblem> {
    let Some(field) = form.fields.iter().find(|field| field.key == key) else {
        return Some(problem(key, "the form has no such field"));
    };
    if value.chars().count() > MAX_VALUE {
        return Some(problem(key, "is too long"));
    }
    let foreign =
        has_choices(field) && chosen(value).any(|choice| !field.choices.iter().any(|c| c == choice));
    foreign.then(|| problem(key, "is not one of the choices"))
}

/// What the form lacks: empty required fields, and values outside of their type, minimum or maximum.
pub fn problems_on_end(form: &FormDefinition, values: &Values) -> Vec<FieldProblem> {
    let check = |field: &FormField| {
        let value = values.get(&field.key).map_or("", |value| value.trim());
        let text = if value.is_empty() {
            field.required.then(|| "is required".to_owned())
        } else {
            misfit(field, value)
        };
        text.map(|text| problem(&field.key, text))
    };
    form.fields.iter().filter_map(check).collect()
}

fn problem(field: &str, text: impl Into<String>) -> FieldProblem {
    FieldProblem { field: field.to_owned(), problem: text.into() }
}

fn has_choices(field: &FormField) -> bool {
    matches!(field.r#type.as_str(), "single_choice" | "multiple_choice" | "list")
}

fn chosen(value: &str) -> impl Iterator<Item = &str> {
    value.split('\n').map(str::trim).filter(|choice| !choice.is_empty())
}

/// Why a value does not fit its field; `None` when it does.
fn misfit(field: &FormField, value: &str) -> Option<String> {
    match field.r#type.as_str() {
        "number" => match value.replace(',', ".").parse::<f64>() {
            Ok(number) if number.is_finite() => outside(field, number, "must be"),
            Ok(_) | Err(_) => Some("must be a number".to_owned()),
        },
        "date" => {
            let format = time::macros::format_description!("[year]-[month]-[day]");
            time::Date::parse(value, format).is_err().then(|| "must be a date, YYYY-MM-DD".to_owned())
        }
        "single_choice" | "list" => {
            let known = field.choices.iter().any(|choice| choice == value);
            (!known).then(|| "is not one of the choices".to_owned())
        }
        "multiple_choice" => {
            let foreign = chosen(value).any(|choice| !field.choices.iter().any(|known| known == choice));
            if foreign {
                return Some("is not one of the choices".to_owned());
            }
            outside(field, count(chosen(value).count()), "number of choices must be")
        }
        _ => outside(field, count(value.chars().count()), "length must be"),
    }
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

fn outside(field: &FormField, number: f64, what: &str) -> Option<String> {
    if let Some(minimum) = field.minimum.filter(|minimum| number < *minimum) {
        return Some(format!("{what} at least {minimum}"));
    }
    field.maximum.filter(|maximum| number > *maximum).map(|maximum| format!("{what} at most {maximum}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: &str, required: bool, minimum: Option<f64>, maximum: Option<f64>) -> FormField {
        FormField {
            key: "f".into(),
            label: "F".into(),
            r#type: kind.into(),
            required,
            choices: vec!["Sí".into(), "No".into(), "Tal vez".into()],
            minimum,
            maximum,
        }
    }

    #[test]
    fn ending_checks_every_type() {
        let rows = [
            ("text", true, None, None, "", "is required"),
            ("text", true, None, None, "   ", "is required"),
            ("text", false, None, None, "", ""),
            ("text", true, Some(3.0), None, "ab", "length must be at least 3"),
            ("paragraph", true, None, Some(2.0), "ñññ", "length must be at most 2"),
            ("number", true, Some(1.0), Some(9.0), "10", "must be at most 9"),
            ("number", true, Some(1.0), Some(9.0), "2,5", ""),
            ("number", true, None, None, "abc", "must be a number"),
            ("number", true, None, None, "NaN", "must be a number"),
            ("date", true, None, None, "2026-02-29", "must be a date, YYYY-MM-DD"),
            ("date", true, None, None, "2028-02-29", ""),
            ("single_choice", true, None, None, "Sí", ""),
            ("list", true, None, None, "Quizá", "is not one of the choices"),
            ("multiple_choice", true, Some(2.0), None, "Sí", "number of choices must be at least 2"),
            ("multiple_choice", true, Some(2.0), None, "Sí\nTal vez", ""),
            ("multiple_choice", true, None, None, "Sí\nOtro", "is not one of the choices"),
        ];
        for (kind, required, minimum, maximum, value, expected) in rows {
            let form = FormDefinition {
                fields: vec![field(kind, required, minimum, maximum)],
                ..Default::default()
            };
            let values = Values::from([("f".to_owned(), value.to_owned())]);
            let problems: Vec<String> =
                problems_on_end(&form, &values).into_iter().map(|p| p.problem).collect();
            assert_eq!(problems.join("; "), expected, "{kind} {value:?}");
        }
    }

    #[test]
    fn saving_refuses_only_what_no_screen_can_produce() {
        let form = FormDefinition { fields: vec![field("list", true, None, None)], ..Default::default() };
        let problems = |key: &str, value: &str| {
            problems_on_save(&form, &Values::from([(key.to_owned(), value.to_owned())])).len()
        };
        assert_eq!(problems("f", ""), 0);
        assert_eq!(problems("f", "No"), 0);
        assert_eq!(problems("f", "Otro"), 1);
        assert_eq!(problems("g", "x"), 1);
    }
}
