//! JSON that is almost right: what cannot be read becomes the replacement character or null, and everything around it is kept.
//!
//! Bodies are signed, so they are what Meta meant to send. Texts of customers are in them, and a text may hold half of a surrogate
//! pair (an emoji cut in two), which RFC 8259 (8.2) allows in the grammar and leaves open in the meaning.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// Deepest level at which a part that cannot be read is looked for; a webhook's texts stand at about ten.
const DEPTH: usize = 24;
/// What stands for what cannot be read (U+FFFD, as in the Encoding standard).
const REPLACEMENT: &str = "\\ufffd";

/// Reads bytes as JSON; `None` when they are none, however kindly they are looked at.
pub fn parse(bytes: &[u8]) -> Option<Value> {
    // Nearly every body: nothing is to be repaired.
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Some(value);
    }
    let text = repaired(&String::from_utf8_lossy(bytes));
    let whole: &RawValue = serde_json::from_str(&text).ok()?;
    Some(salvaged(whole, DEPTH))
}

/// The value, or what of it can be read: of an object the fields, of an array the elements; null for anything else.
fn salvaged(raw: &RawValue, depth: usize) -> Value {
    if let Ok(value) = serde_json::from_str(raw.get()) {
        return value;
    }
    if depth == 0 {
        return Value::Null;
    }
    if let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(raw.get()) {
        return fields.into_iter().map(|(name, field)| (name, salvaged(field, depth - 1))).collect();
    }
    match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        Ok(elements) => elements.into_iter().map(|element| salvaged(element, depth - 1)).collect(),
        Err(_) => Value::Null,
    }
}

/// The text with every lone surrogate escape and every bare control character inside a string replaced.
fn repaired(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut inside = false;
    while let Some(next) = rest.chars().next() {
        let (taken, left) = match (inside, next) {
            (true, '\\') => escape(rest, &mut out),
            (_, '"') => {
                inside = !inside;
                out.push('"');
                rest.split_at(1)
            }
            (true, control) if control < ' ' => {
                out.push_str(REPLACEMENT);
                rest.split_at(1)
            }
            (_, other) => {
                out.push(other);
                rest.split_at(other.len_utf8())
            }
        };
        debug_assert!(!taken.is_empty(), "every step takes something");
        rest = left;
    }
    out
}

/// Copies the escape at the beginning of `rest`, repaired; answers what was taken and what is left.
fn escape<'a>(rest: &'a str, out: &mut String) -> (&'a str, &'a str) {
    let pair = || surrogate(rest.get(6..)?).filter(|low| (0xdc00..0xe000).contains(low));
    let length = match surrogate(rest) {
        Some(high) if (0xd800..0xdc00).contains(&high) && pair().is_some() => 12,
        Some(_) => {
            out.push_str(REPLACEMENT);
            return rest.split_at(6);
        }
        // Two characters, or one at the very end; a `\u` of no surrogate is copied in steps.
        None => rest.chars().take(2).map(char::len_utf8).sum(),
    };
    let (taken, left) = rest.split_at(length);
    out.push_str(taken);
    (taken, left)
}

/// The surrogate that an escape at the beginning names.
fn surrogate(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let unit = u32::from_str_radix(digits, 16).ok()?;
    (0xd800..0xe000).contains(&unit).then_some(unit)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lone_surrogates_and_bytes_that_are_no_text_become_the_replacement_character() {
        let table: [(&[u8], Value); 9] = [
            (br#"{"a": "x\ud83dy"}"#, json!({"a": "x\u{fffd}y"})),
            (br#"{"a": "\udc00"}"#, json!({"a": "\u{fffd}"})),
            (br#"{"a": "\ud83d\ud83d\ude00"}"#, json!({"a": "\u{fffd}\u{1f600}"})),
            (br#"{"a": "\ud83d\u0041"}"#, json!({"a": "\u{fffd}A"})),
            (br#"{"a": "\\ud83d"}"#, json!({"a": "\\ud83d"})),
            (br#"{"\ud83d": 1, "b": "\"\ud83d\""}"#, json!({"\u{fffd}": 1, "b": "\"\u{fffd}\""})),
            (b"{\"a\": \"x\xffy\", \"b\": 1}", json!({"a": "x\u{fffd}y", "b": 1})),
            (b"{\"a\": \"x\x01y\"}", json!({"a": "x\u{fffd}y"})),
            ("{\"a\": \"\\ud83d ñ\u{1f600}\\u00f1\"}".as_bytes(), json!({"a": "\u{fffd} ñ\u{1f600}ñ"})),
        ];
        for (bytes, expected) in table {
            assert_eq!(parse(bytes), Some(expected), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn only_the_part_that_cannot_be_read_is_missing() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        let body = format!(r#"{{"a": [{{"n": 1e999, "m": 1}}, {{"deep": {deep}}}, "z"], "b": true}}"#);
        let value = parse(body.as_bytes()).unwrap();
        assert_eq!((&value["a"][0]["n"], &value["a"][0]["m"]), (&Value::Null, &json!(1)));
        assert_eq!((&value["a"][2], &value["b"]), (&json!("z"), &json!(true)));
        assert!(value["a"][1]["deep"].is_array());
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for bytes in [
            &b""[..],
            b"{",
            b"\xff",
            b"{\"a\": \"\\",
            b"{\"a\": \"\\u",
            b"{\"a\": \"\\ud83d\\u\"}",
            b"nothing",
        ] {
            assert_eq!(parse(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_right_stays_as_it_was(text: String) {
            let body = json!({ "a": text, "b": [text] });
            let written = body.to_string();
            proptest::prop_assert_eq!(parse(written.as_bytes()), Some(body));
            proptest::prop_assert_eq!(repaired(&written), written);
        }

        #[test]
        fn no_bytes_make_it_panic(body: Vec<u8>) {
            let _ = parse(&body);
        }

        #[test]
        fn no_escapes_make_it_panic(body in "[\\\\ud83cñ\"{}\\[\\]0-9a-f]{0,64}") {
            let _ = parse(body.as_bytes());
        }
    }
}
