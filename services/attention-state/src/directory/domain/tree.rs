//! YAML as a tree that knows the line of every node, built from the events of saphyr-parser. A deserialiser is not
//! enough here: it stops at the first error and forgets lines, and an administrator wants all errors at once.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::problems::Problem;

/// Largest text in bytes; as in `ApplyDirectoryRequest`.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Deepest nesting; the format needs six.
const MAX_DEPTH: usize = 12;

/// A node with the line it starts on, from 1.
#[derive(Clone, Debug)]
pub struct Node {
    /// Line, from 1.
    pub line: u32,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// A scalar; `plain` when written without quotes, so that it may be null, a boolean or a number.
    Scalar {
        /// Text.
        text: String,
        /// Without quotes.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, with duplicates as written.
    Mapping(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// Line of the key.
    pub line: u32,
    /// Value.
    pub value: Node,
}

impl Node {
    /// True for an empty value, `~` or `null`, which the format treats as not given.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }
}

/// Containers being filled while their end has not come.
enum Open {
    Sequence(u32, Vec<Node>),
    Mapping { line: u32, entries: Vec<Entry>, key: Option<(String, u32)> },
}

struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    problems: Vec<Problem>,
}

/// Reads the text.
///
/// # Errors
/// Every problem of the syntax that was found; a text with one has no tree.
pub fn read(text: &str) -> Result<Option<Node>, Vec<Problem>> {
    if text.len() > MAX_BYTES {
        return Err(vec![Problem::new(
            1,
            "",
            "TOO_LARGE",
            format!("the text has more than {MAX_BYTES} bytes"),
        )]);
    }
    let mut builder = Builder { open: Vec::new(), root: None, problems: Vec::new() };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let line = number(error.marker().line());
                builder.problems.push(Problem::new(line, "", "YAML_SYNTAX", error.info().to_owned()));
                break;
            }
        };
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                builder.problem(span, "YAML_SYNTAX", "only one document is allowed");
                break;
            }
        }
        if !builder.take(event, span) {
            break;
        }
    }
    if builder.problems.is_empty() { Ok(builder.root) } else { Err(builder.problems) }
}

impl Builder {
    /// Takes one event; false ends the reading, because what follows would only repeat the error.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        let line = number(span.start.line());
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
            Event::Alias(_) => {
                self.problem(span, "ALIAS_NOT_SUPPORTED", "write the value out instead of an alias");
                self.put(Node { line, value: Value::Scalar { text: String::new(), plain: true } });
            }
            Event::Scalar(text, style, _, tag) => {
                if tag.is_some() {
                    self.problem(span, "TAG_NOT_SUPPORTED", "leave the tag out");
                }
                let plain = style == ScalarStyle::Plain;
                self.put(Node { line, value: Value::Scalar { text: text.into_owned(), plain } });
            }
            Event::SequenceStart(..) => self.open.push(Open::Sequence(line, Vec::new())),
            Event::MappingStart(..) => {
                self.open.push(Open::Mapping { line, entries: Vec::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
        if self.open.len() > MAX_DEPTH {
            self.problem(span, "TOO_DEEP", "the format is never nested this deeply");
            return false;
        }
        true
    }

    fn close(&mut self) {
        let node = match self.open.pop() {
            Some(Open::Sequence(line, nodes)) => Node { line, value: Value::Sequence(nodes) },
            Some(Open::Mapping { line, entries, .. }) => Node { line, value: Value::Mapping(entries) },
            None => return,
        };
        self.put(node);
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence(_, nodes)) => nodes.push(node),
            Some(Open::Mapping { entries, key, .. }) => match key.take() {
                Some((name, line)) => entries.push(Entry { key: name, line, value: node }),
                None => match node.value {
                    Value::Scalar { text, .. } => *key = Some((text, node.line)),
                    Value::Sequence(_) | Value::Mapping(_) => {
                        *key = Some((String::new(), node.line));
                        self.problems.push(Problem::new(
                            node.line,
                            "",
                            "YAML_SYNTAX",
                            "a key must be a word".into(),
                        ));
                    }
                },
            },
        }
    }

    fn problem(&mut self, span: Span, reason: &'static str, message: &str) {
        self.problems.push(Problem::new(number(span.start.line()), "", reason, message.to_owned()));
    }
}

fn number(line: usize) -> u32 {
    u32::try_from(line.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_knows_its_line() {
        let root = read("a: 1\nb:\n  - x\n  - {c: 'y'}\n").unwrap().unwrap();
        let Value::Mapping(entries) = root.value else { panic!("a mapping") };
        assert_eq!(entries[1].line, 2);
        let Value::Sequence(items) = &entries[1].value.value else { panic!("a list") };
        assert_eq!((items[0].line, items[1].line), (3, 4));
    }

    #[test]
    fn what_the_format_does_not_want_is_named_with_its_line() {
        for (text, reason, line) in [
            ("a: 1\nb: [", "YAML_SYNTAX", 3),
            ("a: &x 1\nb: *x\n", "ALIAS_NOT_SUPPORTED", 2),
            ("a: 1\nb: !!str 2\n", "TAG_NOT_SUPPORTED", 2),
            ("a: 1\n---\nb: 1\n", "YAML_SYNTAX", 2),
            ("a: 1\n? [x]\n: 1\n", "YAML_SYNTAX", 2),
            (&format!("a:\n {}", "[".repeat(40)), "TOO_DEEP", 2),
        ] {
            let problems = read(text).unwrap_err();
            assert_eq!((problems[0].reason, problems[0].line), (reason, line), "{text}: {problems:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(text in "[a-c:\\-\\[\\]{}&*!?|>'\"# \n,]{0,60}") {
            let _ = read(&text);
        }
    }
}
