//! Filled forms as a table: a row per thread with a form, a column per field.

use std::collections::BTreeSet;

use hilo_kit::clock;

use super::csv;
use crate::domain::Thread;
use crate::domain::thread::Direction;

/// Columns before those of the fields.
const HEAD: [&str; 14] = [
    "attention_number",
    "ordinal",
    "interaction_id",
    "ended_at",
    "campaign",
    "agent",
    "channel",
    "direction",
    "customer_name",
    "customer_address",
    "subject",
    "tags",
    "form",
    "form_version",
];
/// Column for fields that were not known when the export began.
const OTHER: &str = "other_fields";

/// The table's columns.
#[derive(Clone, Debug)]
pub struct Columns(BTreeSet<String>);

impl Columns {
    /// One per field.
    pub fn new(fields: BTreeSet<String>) -> Self {
        Self(fields)
    }

    /// The first line.
    pub fn header(&self) -> String {
        csv::row(HEAD.into_iter().chain(self.0.iter().map(String::as_str)).chain([OTHER]))
    }

    /// The line of a thread; `None` when it has no form.
    pub fn line(&self, thread: &Thread) -> Option<String> {
        let form = thread.form.as_ref()?;
        let head = &thread.head;
        let value =
            |field: &str| form.fields.get(field).and_then(|field| field.value.clone()).unwrap_or_default();
        let mut cells = vec![
            head.attention_number.to_string(),
            head.ordinal.to_string(),
            head.interaction_id.to_string(),
            clock::rfc3339(head.ended_at),
            head.campaign_key.clone(),
            head.agent_key.clone(),
            head.channel.clone(),
            direction(head.direction).to_owned(),
            head.customer.name.clone(),
            head.customer.address.clone(),
            head.subject.clone(),
            head.tags.join(", "),
            form.key.clone(),
            form.version.to_string(),
        ];
        cells.extend(self.0.iter().map(|field| value(field)));
        let other = form.fields.iter().filter(|(key, _)| !self.0.contains(*key));
        let other =
            other.filter_map(|(key, field)| field.value.as_ref().map(|value| format!("{key}: {value}")));
        cells.push(other.collect::<Vec<_>>().join("\n"));
        Some(csv::row(cells.iter().map(String::as_str)))
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::thread::{FilledForm, FormField, samples};

    #[test]
    fn every_field_has_its_column_and_late_ones_a_common_one() {
        let mut thread = samples::thread(1, Vec::new());
        let columns = Columns::new(["monto", "motivo"].map(str::to_owned).into());
        assert_eq!(columns.line(&thread), None);
        let field = |value: &str| FormField { label: String::new(), value: Some(value.into()) };
        let fields =
            [("motivo", "=1+1"), ("nuevo", "a,b")].map(|(key, value)| (key.to_owned(), field(value)));
        thread.form = Some(FilledForm { key: "f".into(), version: 3, fields: fields.into() });
        assert!(columns.header().ends_with("form,form_version,monto,motivo,other_fields\r\n"));
        let line = columns.line(&thread).unwrap();
        assert!(line.ends_with(",f,3,,'=1+1,\"nuevo: a,b\"\r\n"), "{line}");
        let cells = HEAD.len() + 3;
        assert_eq!(columns.header().split(',').count(), cells);
    }
}
