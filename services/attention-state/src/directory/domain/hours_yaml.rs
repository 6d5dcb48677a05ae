//! Opening hours of the YAML.

use super::hours::{self, Holiday, Hours, Span, WEEKDAYS};
use super::problems::Problems;
use super::section::Section;
use super::tree::Node;

/// Most spans of a day.
const MAX_SPANS: usize = 20;
/// Most holidays; several years of them.
const MAX_HOLIDAYS: usize = 500;
/// Longest automatic reply.
const MAX_REPLY: usize = 4_000;

/// Reads the `time_zone` of a section; empty when left out.
pub(super) fn zone(section: &Section<'_>, problems: &mut Problems) -> String {
    let name = section.line("time_zone", 64, problems);
    if !name.is_empty() && !hours::knows_zone(&name) {
        problems.add(&section.path("time_zone"), "UNKNOWN_TIME_ZONE", UNKNOWN_ZONE);
    }
    name
}

/// What a time zone must be.
pub const UNKNOWN_ZONE: &str = "must be an IANA time zone such as America/Lima";

/// Reads the hours of one campaign.
pub(super) fn hours(node: &Node, path: &str, problems: &mut Problems) -> Hours {
    let section =
        Section::open(node, path, &["time_zone", "weekly", "holidays", "automatic_reply"], problems);
    Hours {
        time_zone: zone(&section, problems),
        weekly: weekly(&section, problems),
        holidays: holidays(&section, problems),
        automatic_reply: section.text("automatic_reply", MAX_REPLY, problems).trim().to_owned(),
    }
}

fn weekly(section: &Section<'_>, problems: &mut Problems) -> [Vec<Span>; 7] {
    let path = section.path("weekly");
    let Some(node) = section.node("weekly") else {
        problems.add(&path, "MISSING", "`weekly` is required; without `hours` a campaign is always open");
        return Default::default();
    };
    let week = Section::open(node, &path, &WEEKDAYS, problems);
    WEEKDAYS.map(|day| spans(&week, day, problems))
}

fn spans(section: &Section<'_>, field: &str, problems: &mut Problems) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (at, text) in section.list(field, MAX_SPANS, false, problems).iter().enumerate() {
        let path = format!("{}[{at}]", section.path(field));
        match Span::parse(text) {
            None => {
                let message = "must be such as \"09:00-18:00\"; write a night as two spans, until \"24:00\" and from \"00:00\"";
                problems.add(&path, "BAD_VALUE", message);
            }
            Some(span) if spans.last().is_some_and(|before| before.to > span.from) => {
                problems.add(&path, "OVERLAP", "must begin after the one before it has ended");
            }
            Some(span) => spans.push(span),
        }
    }
    spans
}

fn holidays(section: &Section<'_>, problems: &mut Problems) -> Vec<Holiday> {
    let mut holidays: Vec<Holiday> = Vec::new();
    for (at, node) in section.items("holidays", MAX_HOLIDAYS, problems).iter().enumerate() {
        let path = format!("{}[{at}]", section.path("holidays"));
        let inner = Section::open(node, &path, &["date", "name", "open"], problems);
        let date = inner.required_line("date", 10, problems);
        if hours::date(&date).is_none() {
            problems.add(&inner.path("date"), "BAD_VALUE", "must be a date such as 2026-12-25");
        }
        if holidays.iter().any(|before| before.date == date) {
            problems.add(&inner.path("date"), "DUPLICATE", format!("{date} stands in this list twice"));
        }
        let open = spans(&inner, "open", problems);
        holidays.push(Holiday { date, name: inner.line("name", 100, problems), open });
    }
    holidays.sort_by(|a, b| a.date.cmp(&b.date));
    holidays
}
