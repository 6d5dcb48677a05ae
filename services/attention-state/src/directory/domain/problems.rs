//! The errors of a directory, collected all at once: each with line, path, stable reason and what would be right.

use std::collections::{HashMap, HashSet};

use super::tree::{Node, Value};

/// Most problems reported; who has more starts with these.
pub const MAX_PROBLEMS: usize = 500;

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, from 1.
    pub line: u32,
    /// Path such as `campaigns[0].members[2]`; empty for the whole text.
    pub path: String,
    /// Stable reason in upper snake case.
    pub reason: &'static str,
    /// What is wrong and what would be right; never a password.
    pub message: String,
}

impl Problem {
    /// A problem at a line.
    pub fn new(line: u32, path: &str, reason: &'static str, message: String) -> Self {
        Self { line, path: path.to_owned(), reason, message }
    }
}

/// Collects problems and knows the line of every path.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    lines: HashMap<String, u32>,
    bad: HashSet<String>,
    list: Vec<Problem>,
}

impl Problems {
    /// A collector for the paths of a tree.
    pub fn of(root: &Node) -> Self {
        let mut problems = Self::default();
        problems.index(root, String::new());
        problems
    }

    fn index(&mut self, node: &Node, path: String) {
        match &node.value {
            Value::Scalar { .. } => {}
            Value::Sequence(items) => {
                for (position, item) in items.iter().enumerate() {
                    self.index(item, format!("{path}[{position}]"));
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    let inner = join(&path, &entry.key);
                    // The key's line, not the value's: an empty value starts on the line after it.
                    self.index(&entry.value, inner.clone());
                    self.lines.insert(inner, entry.line);
                }
            }
        }
        self.lines.insert(path, node.line);
    }

    /// Adds a problem at a path; its line is that of the nearest enclosing thing that is written. A path that already
    /// has one is left alone: a second message about the same value would be noise.
    pub fn add(&mut self, path: &str, reason: &'static str, message: impl Into<String>) {
        let line = self.line(path);
        self.add_at(line, path, reason, message);
    }

    /// Adds a problem at a path and line, for duplicates, whose path alone names the first.
    pub fn add_at(&mut self, line: u32, path: &str, reason: &'static str, message: impl Into<String>) {
        if self.list.len() < MAX_PROBLEMS && self.bad.insert(format!("{path}@{line}")) {
            self.list.push(Problem::new(line, path, reason, message.into()));
        }
    }

    /// The line of a path, or of what encloses it.
    pub fn line(&self, path: &str) -> u32 {
        let mut rest = path;
        loop {
            if let Some(line) = self.lines.get(rest) {
                return *line;
            }
            match rest.rfind(['.', '[']) {
                Some(at) => rest = rest.get(..at).unwrap_or_default(),
                None => return self.lines.get("").copied().unwrap_or(1),
            }
        }
    }

    /// True while nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them by line.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.list.sort();
        self.list
    }
}

/// Path of a field within a path.
pub fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}
