//! A chat as a phone shows it: who, when, what, and how far it got.

use serde_json::Value;

use crate::cli::terminal::{clean, clean_lines, instant};

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub wamid: String,
    /// Phone number id of the business.
    pub number: String,
    pub from_business: bool,
    at_ms: i64,
    kind: String,
    text: String,
    state: String,
}

/// The rows of the simulator; what is not understood is left out.
pub(super) fn lines(rows: &[Value]) -> Vec<Line> {
    rows.iter().filter_map(|row| said(row).or_else(|| received(row))).collect()
}

fn text_of(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn said(row: &Value) -> Option<Line> {
    let said = row.get("said")?;
    let read = said.get("read_at_ms").is_some_and(Value::is_i64);
    Some(line(said, false, text_of(said, "/text"), if read { "read" } else { "sent" }))
}

fn received(row: &Value) -> Option<Line> {
    let sent = row.get("received")?;
    let kind = text_of(sent, "/kind");
    let words =
        ["body", "caption", "emoji", "name", "filename"].iter().map(|field| format!("/body/{kind}/{field}"));
    let deeper = [format!("/body/{kind}/body/text"), "/body/contacts/0/name/formatted_name".to_owned()];
    let text = words.chain(deeper).map(|pointer| text_of(sent, &pointer)).find(|text| !text.is_empty());
    let last =
        sent.get("statuses").and_then(Value::as_array).and_then(|statuses| statuses.last()?.get(0)?.as_str());
    Some(line(sent, true, text.unwrap_or_default(), last.unwrap_or("on its way")))
}

fn line(of: &Value, from_business: bool, text: String, state: &str) -> Line {
    Line {
        wamid: text_of(of, "/wamid"),
        number: text_of(of, "/number"),
        from_business,
        at_ms: of.get("at_ms").and_then(Value::as_i64).unwrap_or_default(),
        kind: text_of(of, "/kind"),
        text,
        state: state.to_owned(),
    }
}

impl Line {
    /// The lines a person sees.
    pub fn shown(&self) -> Vec<String> {
        let seconds = self.at_ms / 1_000;
        let at = instant(Some(&prost_types::Timestamp { seconds, nanos: 0 }));
        let who = if self.from_business { "business" } else { "me" };
        let mut shown = vec![format!("{at}  {who}  {} ({})", clean(&self.kind), clean(&self.state))];
        shown.extend(clean_lines(&self.text).into_iter().map(|line| format!("    {line}")));
        shown
    }
}
