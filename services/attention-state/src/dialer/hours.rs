//! Hours of a dialer's own, from the words of the contract.

use std::collections::BTreeMap;

use hilo_kit::error::Error;
use hilo_proto::directory::v1::{OpeningHours, TimeSpan};

use crate::directory::Hours;
use crate::directory::domain::hours::{Holiday, Span, WEEKDAYS, date, knows_zone};

/// Most spans of a day.
const MAX_SPANS: usize = 20;
/// Most holidays.
const MAX_HOLIDAYS: usize = 500;
/// Longest name of a holiday, in characters.
const MAX_NAME: usize = 100;

/// Reads hours; what is wrong is added to `bad`.
pub(super) fn read(from: OpeningHours, mut bad: Error) -> (Hours, Error) {
    let mut hours = Hours { time_zone: from.time_zone, ..Hours::default() };
    if !hours.time_zone.is_empty() && !knows_zone(&hours.time_zone) {
        bad = bad.field("hours.time_zone", "must be an IANA time zone such as America/Lima");
    }
    if !from.automatic_reply.is_empty() {
        bad = bad.field("hours.automatic_reply", "a dialer answers nobody");
    }
    let mut days = BTreeMap::new();
    for (at, day) in from.weekly.into_iter().enumerate() {
        let path = format!("hours.weekly[{at}]");
        if days.contains_key(&day.day) || !WEEKDAYS.contains(&day.day.as_str()) {
            bad = bad.field(format!("{path}.day"), "`monday` to `sunday`, each once");
            continue;
        }
        let (open, told) = spans(&day.open, &format!("{path}.open"), bad);
        bad = told;
        days.insert(day.day, open);
    }
    if days.values().all(Vec::is_empty) {
        bad = bad.field("hours.weekly", "a dialer needs at least one span in which it sends");
    }
    hours.weekly = WEEKDAYS.map(|day| days.remove(day).unwrap_or_default());
    if from.holidays.len() > MAX_HOLIDAYS {
        return (hours, bad.field("hours.holidays", format!("at most {MAX_HOLIDAYS}")));
    }
    for (at, holiday) in from.holidays.into_iter().enumerate() {
        let path = format!("hours.holidays[{at}]");
        let known = hours.holidays.iter().any(|before| before.date == holiday.date);
        if known || date(&holiday.date).is_none() {
            bad = bad.field(format!("{path}.date"), "a date such as 2026-12-25, each once");
        }
        if holiday.name.chars().count() > MAX_NAME || holiday.name.contains(char::is_control) {
            bad = bad.field(format!("{path}.name"), format!("at most {MAX_NAME} characters in one line"));
        }
        let (open, told) = spans(&holiday.open, &format!("{path}.open"), bad);
        bad = told;
        hours.holidays.push(Holiday { date: holiday.date, name: holiday.name, open });
    }
    hours.holidays.sort_by(|a, b| a.date.cmp(&b.date));
    (hours, bad)
}

fn spans(from: &[TimeSpan], path: &str, mut bad: Error) -> (Vec<Span>, Error) {
    let mut spans: Vec<Span> = Vec::new();
    if from.len() > MAX_SPANS {
        return (spans, bad.field(path, format!("at most {MAX_SPANS} spans")));
    }
    for (at, span) in from.iter().enumerate() {
        match Span::parse(&format!("{}-{}", span.from, span.to)) {
            Some(span) if spans.last().is_none_or(|before| before.to <= span.from) => spans.push(span),
            Some(_) | None => {
                bad = bad.field(
                    format!("{path}[{at}]"),
                    "from `HH:MM` until before `HH:MM`, in order, without overlap",
                );
            }
        }
    }
    (spans, bad)
}

#[cfg(test)]
mod tests {
    use hilo_proto::directory::v1::{Holiday as ProtoHoliday, OpenDay};

    use super::*;

    fn day(day: &str, open: &[(&str, &str)]) -> OpenDay {
        let open = open.iter().map(|(from, to)| TimeSpan { from: (*from).into(), to: (*to).into() });
        OpenDay { day: day.into(), open: open.collect() }
    }

    #[test]
    fn hours_are_read_and_what_is_wrong_is_told() {
        let holiday = |date: &str| ProtoHoliday { date: date.into(), ..ProtoHoliday::default() };
        let ok = || vec![day("monday", &[("09:00", "13:00"), ("14:00", "24:00")])];
        for (zone, weekly, holidays, reply, wrong) in [
            ("America/Lima", ok(), vec![holiday("2026-12-25")], "", ""),
            ("", ok(), vec![], "", ""),
            ("Lima", ok(), vec![], "", "hours.time_zone"),
            ("", ok(), vec![], "Cerrado", "hours.automatic_reply"),
            ("", vec![], vec![], "", "hours.weekly"),
            (
                "",
                vec![day("lunes", &[]), day("monday", &[("09:00", "10:00")])],
                vec![],
                "",
                "hours.weekly[0].day",
            ),
            (
                "",
                vec![day("monday", &[("9", "10:00"), ("11:00", "12:00")])],
                vec![],
                "",
                "hours.weekly[0].open[0]",
            ),
            (
                "",
                vec![day("monday", &[("09:00", "12:00"), ("11:00", "13:00")])],
                vec![],
                "",
                "hours.weekly[0].open[1]",
            ),
            ("", ok(), vec![holiday("25/12")], "", "hours.holidays[0].date"),
            ("", ok(), vec![holiday("2026-12-25"), holiday("2026-12-25")], "", "hours.holidays[1].date"),
        ] {
            let from =
                OpeningHours { time_zone: zone.into(), weekly, holidays, automatic_reply: reply.into() };
            let (hours, bad) = read(from, Error::invalid("INVALID_REQUEST", "x"));
            let told = bad.violations().first().map_or("", |one| one.field.as_str());
            assert_eq!(told, wrong, "{:?}", bad.violations());
            assert_eq!(hours.weekly[0].is_empty(), wrong == "hours.weekly");
        }
    }
}
