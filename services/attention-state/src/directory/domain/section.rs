//! Typed access to one mapping of the YAML. Each getter reports what is wrong and goes on with a harmless value, so that
//! one pass finds every error.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use super::key::is_key;
use super::problems::{Problems, join};
use super::tree::{Entry, Node, Value};

/// One mapping with its path.
pub struct Section<'a> {
    path: String,
    entries: &'a [Entry],
}

impl<'a> Section<'a> {
    /// Opens a mapping that may hold these keys; unknown and duplicate ones are reported.
    pub fn open(node: &'a Node, path: &str, known: &[&str], problems: &mut Problems) -> Self {
        let entries: &[Entry] = match &node.value {
            Value::Mapping(entries) => entries,
            Value::Scalar { .. } | Value::Sequence(_) => {
                problems.add(
                    path,
                    "WRONG_TYPE",
                    format!("must be a mapping with the keys {}", known.join(", ")),
                );
                &[]
            }
        };
        for (position, entry) in entries.iter().enumerate() {
            let inner = join(path, &entry.key);
            if !known.contains(&entry.key.as_str()) {
                let message = format!("unknown key `{}`; known are {}", short(&entry.key), known.join(", "));
                problems.add_at(entry.line, &inner, "UNKNOWN_KEY", message);
            } else if entries.iter().take(position).any(|before| before.key == entry.key) {
                problems.add_at(
                    entry.line,
                    &inner,
                    "DUPLICATE_KEY",
                    format!("`{}` stands here twice", entry.key),
                );
            }
        }
        Self { path: path.to_owned(), entries }
    }

    /// Path of a field.
    pub fn path(&self, field: &str) -> String {
        join(&self.path, field)
    }

    /// The value of a field; `None` when it is left out or null.
    pub fn node(&self, field: &str) -> Option<&'a Node> {
        self.entries
            .iter()
            .find(|entry| entry.key == field)
            .map(|entry| &entry.value)
            .filter(|node| !node.is_null())
    }

    fn scalar(&self, field: &str, what: &str, problems: &mut Problems) -> Option<(&'a str, bool)> {
        let node = self.node(field)?;
        let found = scalar_of(node);
        if found.is_none() {
            problems.add(&self.path(field), "WRONG_TYPE", format!("must be {what}"));
        }
        found
    }

    fn missing(&self, field: &str, problems: &mut Problems) {
        if self.node(field).is_none() {
            problems.add(&self.path(field), "MISSING", format!("`{field}` is required"));
        }
    }

    /// An optional text; empty when left out.
    pub fn text(&self, field: &str, most: usize, problems: &mut Problems) -> String {
        let Some((text, _)) = self.scalar(field, "a text", problems) else { return String::new() };
        if text.chars().count() > most {
            problems.add(&self.path(field), "TOO_LONG", format!("at most {most} characters"));
        }
        if text.chars().any(|one| one.is_control() && one != '\n') {
            problems.add(&self.path(field), "BAD_VALUE", "control characters are not allowed");
        }
        text.to_owned()
    }

    /// A required text of one line.
    pub fn required_line(&self, field: &str, most: usize, problems: &mut Problems) -> String {
        self.missing(field, problems);
        let text = self.text(field, most, problems);
        self.one_line(field, &text, problems);
        if text.trim().is_empty() {
            problems.add(&self.path(field), "MISSING", format!("`{field}` is empty"));
        }
        text
    }

    /// An optional text of one line.
    pub fn line(&self, field: &str, most: usize, problems: &mut Problems) -> String {
        let text = self.text(field, most, problems);
        self.one_line(field, &text, problems);
        text
    }

    fn one_line(&self, field: &str, text: &str, problems: &mut Problems) {
        // Names and addresses end up in mail headers, where a line break would begin another header.
        if text.contains(['\n', '\u{2028}', '\u{2029}']) {
            problems.add(&self.path(field), "BAD_VALUE", "must be one line");
        }
    }

    /// The required `key` of a thing, as written also when it is no key, so that references to it are still understood.
    pub fn own_key(&self, problems: &mut Problems) -> String {
        self.missing("key", problems);
        self.key("key", problems).unwrap_or_default()
    }

    /// An optional reference by key.
    pub fn key(&self, field: &str, problems: &mut Problems) -> Option<String> {
        let (text, _) = self.scalar(field, "a key", problems)?;
        if !is_key(text) {
            problems.add(&self.path(field), "BAD_KEY", BAD_KEY);
        }
        Some(text.to_owned())
    }

    /// A list of scalars; empty when left out. Repeated ones are reported.
    pub fn list(&self, field: &str, most: usize, keys: bool, problems: &mut Problems) -> Vec<String> {
        let path = self.path(field);
        let mut texts: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        for (position, item) in self.items(field, most, problems).iter().enumerate() {
            let inner = format!("{path}[{position}]");
            let Some((text, _)) = scalar_of(item) else {
                problems.add(&inner, "WRONG_TYPE", "must be a word");
                continue;
            };
            if keys && !is_key(text) {
                problems.add(&inner, "BAD_KEY", BAD_KEY);
            } else if !seen.insert(text) {
                problems.add(&inner, "DUPLICATE", format!("`{}` stands in this list twice", short(text)));
            }
            texts.push(text.to_owned());
        }
        texts
    }

    /// The items of a list; empty when left out.
    pub fn items(&self, field: &str, most: usize, problems: &mut Problems) -> &'a [Node] {
        match self.node(field).map(|node| &node.value) {
            None => &[],
            Some(Value::Sequence(items)) if items.len() <= most => items,
            Some(Value::Sequence(_)) => {
                problems.add(&self.path(field), "TOO_MANY", format!("at most {most} entries"));
                &[]
            }
            Some(Value::Scalar { .. } | Value::Mapping(_)) => {
                problems.add(&self.path(field), "WRONG_TYPE", "must be a list");
                &[]
            }
        }
    }

    /// An optional boolean.
    pub fn boolean(&self, field: &str, default: bool, problems: &mut Problems) -> bool {
        match self.scalar(field, "true or false", problems) {
            None => default,
            Some(("true", true)) => true,
            Some(("false", true)) => false,
            Some(_) => {
                problems.add(&self.path(field), "BAD_VALUE", "must be true or false");
                default
            }
        }
    }

    /// An optional whole number.
    pub fn integer(
        &self,
        field: &str,
        range: RangeInclusive<i32>,
        default: i32,
        problems: &mut Problems,
    ) -> i32 {
        let Some((text, plain)) = self.scalar(field, "a whole number", problems) else { return default };
        match text.parse::<i64>().ok().filter(|_| plain) {
            None => problems.add(&self.path(field), "BAD_VALUE", "must be a whole number"),
            Some(number) => match i32::try_from(number).ok().filter(|number| range.contains(number)) {
                Some(number) => return number,
                None => {
                    let message = format!("must be from {} to {}", range.start(), range.end());
                    problems.add(&self.path(field), "OUT_OF_BOUNDS", message);
                }
            },
        }
        default
    }

    /// An optional number.
    pub fn number(&self, field: &str, problems: &mut Problems) -> Option<f64> {
        let (text, plain) = self.scalar(field, "a number", problems)?;
        let number = text.parse::<f64>().ok().filter(|number| plain && number.is_finite());
        if number.is_none() {
            problems.add(&self.path(field), "BAD_VALUE", "must be a number");
        }
        number
    }

    /// One of the words; required when there is no default.
    pub fn choice<T: Copy>(
        &self,
        field: &str,
        words: &[(&'static str, T)],
        default: Option<T>,
        problems: &mut Problems,
    ) -> Option<T> {
        if default.is_none() {
            self.missing(field, problems);
        }
        let Some((text, _)) = self.scalar(field, "a word", problems) else { return default };
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            problems.add(&self.path(field), "BAD_VALUE", format!("must be one of {}", spell(words)));
        }
        found.or(default)
    }
}

/// What a key must look like.
pub const BAD_KEY: &str = "a key is made of a-z, 0-9 and `-`, 1 to 40 characters";

/// The words of a choice for a message.
pub fn spell<T>(words: &[(&'static str, T)]) -> String {
    words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}

/// Text and plainness of a scalar.
pub fn scalar_of(node: &Node) -> Option<(&str, bool)> {
    match &node.value {
        Value::Scalar { text, plain } => Some((text, *plain)),
        Value::Sequence(_) | Value::Mapping(_) => None,
    }
}

/// At most 40 characters of something that may be anything, for a message.
pub fn short(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(40).collect()
}
