//! Reading what Meta sends without trusting its shape: what is missing or of another type is absent, never an error.

use serde_json::Value;

/// The string at `key`; empty when there is none. NUL, which no database text holds, is left out.
pub fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) if text.contains('\0') => text.replace('\0', ""),
        Some(Value::String(text)) => text.clone(),
        // Ids and timestamps are strings by Meta's pages; a number says the same.
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => String::new(),
    }
}

/// Like [`text`], cut to `chars` characters.
pub fn short(value: &Value, key: &str, chars: usize) -> String {
    let text = text(value, key);
    match text.char_indices().nth(chars) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

/// True for `true`.
pub fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// A number, also in quotes; 0 when there is none.
pub fn number(value: &Value, key: &str) -> f64 {
    let found = match value.get(key) {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(other) => other.as_f64(),
        None => None,
    };
    found.filter(|number: &f64| number.is_finite()).unwrap_or(0.0)
}

/// A whole number, also in quotes.
pub fn whole(value: &Value, key: &str) -> Option<i64> {
    match value.get(key)? {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    }
}

/// The elements of the array at `key`; none when there is no array.
pub fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object at `key`, or null.
pub fn object<'a>(value: &'a Value, key: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    value.get(key).unwrap_or(&NULL)
}

/// Meta's first error of an `errors` array: code and words (`error_data.details`, else message, else title).
pub fn first_error(value: &Value) -> (i32, String) {
    let Some(error) = array(value, "errors").first() else { return (0, String::new()) };
    error_of(error)
}

/// Code and words of an error object.
pub fn error_of(error: &Value) -> (i32, String) {
    let code = whole(error, "code").and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    let words = [
        short(object(error, "error_data"), "details", 500),
        short(error, "message", 500),
        short(error, "title", 500),
    ];
    (code, words.into_iter().find(|text| !text.is_empty()).unwrap_or_default())
}
