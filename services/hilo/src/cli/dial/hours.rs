//! Hours of a dialer as they are typed and shown: `monday-friday=09:00-13:00,14:00-18:00`. What is allowed is the service's to say.

use hilo_proto::directory::v1::{Holiday, OpenDay, OpeningHours, TimeSpan};

use super::super::terminal::clean;

/// Weekdays in their order.
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Hours of its own, in the arguments of `hilo dial create`.
#[derive(Debug, clap::Args)]
pub(super) struct HoursArgs {
    /// Days on which it sends, with the times: `monday-friday=09:00-13:00,14:00-18:00`; may be repeated. Without any it follows its campaign
    #[arg(long, value_name = "DAYS=TIMES", value_parser = days)]
    open: Vec<Days>,
    /// A date of other hours: `2026-12-24=09:00-12:00`, without times closed; may be repeated
    #[arg(long, value_name = "DATE[=TIMES]", value_parser = holiday, requires = "open")]
    holiday: Vec<Holiday>,
    /// IANA time zone of these hours, such as America/Lima; that of the directory when left out
    #[arg(long, default_value = "", hide_default_value = true, requires = "open")]
    time_zone: String,
}

/// Weekdays with the same times.
#[derive(Clone, Debug, PartialEq)]
struct Days {
    days: Vec<&'static str>,
    open: Vec<TimeSpan>,
}

impl HoursArgs {
    /// In the words of the contract; `None` when none were given.
    pub(super) fn hours(self) -> Option<OpeningHours> {
        if self.open.is_empty() {
            return None;
        }
        let day = |days: Days| {
            let open = days.open;
            days.days.into_iter().map(move |day| OpenDay { day: day.to_owned(), open: open.clone() })
        };
        Some(OpeningHours {
            time_zone: self.time_zone,
            weekly: self.open.into_iter().flat_map(day).collect(),
            holidays: self.holiday,
            automatic_reply: String::new(),
        })
    }
}

fn days(text: &str) -> Result<Days, String> {
    let (days, times) = text.split_once('=').ok_or("times after `=`, such as monday-friday=09:00-18:00")?;
    let (first, last) = days.split_once('-').unwrap_or((days, days));
    let place = |word: &str| {
        let word = word.trim().to_ascii_lowercase();
        DAYS.iter().position(|day| *day == word).ok_or_else(|| format!("no weekday: {word}"))
    };
    let (first, last) = (place(first)?, place(last)?);
    let days: Vec<&str> = DAYS.get(first..=last).unwrap_or_default().to_vec();
    if days.is_empty() {
        return Err("the first day must come before the last one, Monday first".to_owned());
    }
    Ok(Days { days, open: spans(times)? })
}

fn holiday(text: &str) -> Result<Holiday, String> {
    let (date, open) = match text.split_once('=') {
        Some((date, times)) => (date, spans(times)?),
        None => (text, Vec::new()),
    };
    Ok(Holiday { date: date.to_owned(), name: String::new(), open })
}

fn spans(text: &str) -> Result<Vec<TimeSpan>, String> {
    let span = |part: &str| {
        let (from, to) =
            part.trim().split_once('-').ok_or_else(|| format!("no span such as 09:00-18:00: {part}"))?;
        Ok(TimeSpan { from: from.to_owned(), to: to.to_owned() })
    };
    text.split(',').map(span).collect()
}

/// Hours as lines.
pub(super) fn lines(hours: Option<&OpeningHours>) -> Vec<String> {
    let Some(hours) = hours else { return vec!["hours: those of its campaign".to_owned()] };
    let times = |open: &[TimeSpan]| {
        let spans: Vec<String> = open.iter().map(|span| format!("{}-{}", span.from, span.to)).collect();
        if spans.is_empty() { "closed".to_owned() } else { spans.join(", ") }
    };
    let weekly = hours.weekly.iter().map(|one| format!("  {:<12}{}", one.day, times(&one.open)));
    let holidays = hours
        .holidays
        .iter()
        .map(|one| format!("  {:<12}{} {}", one.date, times(&one.open), one.name).trim_end().to_owned());
    let first = format!("hours ({}):", hours.time_zone);
    std::iter::once(first).chain(weekly).chain(holidays).map(|line| clean_end(&line)).collect()
}

/// Nothing in it moves the cursor; it begins as it was.
fn clean_end(line: &str) -> String {
    let begins: String = line.chars().take_while(|one| *one == ' ').collect();
    begins + clean(line).trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: &str, to: &str) -> TimeSpan {
        TimeSpan { from: from.into(), to: to.into() }
    }

    #[test]
    fn days_and_dates_are_read() {
        let read = days("Monday-wednesday=09:00-13:00,14:00-18:00").unwrap();
        assert_eq!(read.days, ["monday", "tuesday", "wednesday"]);
        assert_eq!(read.open, [span("09:00", "13:00"), span("14:00", "18:00")]);
        assert_eq!(days("sunday=00:00-24:00").unwrap().days, ["sunday"]);
        for odd in ["", "monday", "monday=", "lunes=09:00-18:00", "friday-monday=09:00-18:00", "monday=09:00"]
        {
            assert!(days(odd).is_err(), "{odd}");
        }
        let closed = Holiday { date: "2026-12-25".into(), ..Holiday::default() };
        assert_eq!(holiday("2026-12-25").unwrap(), closed);
        assert_eq!(holiday("2026-12-24=09:00-12:00").unwrap().open, [span("09:00", "12:00")]);
        assert!(holiday("2026-12-24=").is_err());
    }

    #[test]
    fn hours_are_told_by_line() {
        let hours = OpeningHours {
            time_zone: "America/Lima".into(),
            weekly: vec![OpenDay {
                day: "monday".into(),
                open: vec![span("09:00", "13:00"), span("14:00", "18:00")],
            }],
            holidays: vec![Holiday {
                date: "2026-12-25".into(),
                name: "Navidad\u{1b}[2J".into(),
                open: Vec::new(),
            }],
            automatic_reply: String::new(),
        };
        assert_eq!(
            lines(Some(&hours)),
            [
                "hours (America/Lima):",
                "  monday      09:00-13:00, 14:00-18:00",
                "  2026-12-25  closed Navidad [2J"
            ]
        );
        assert_eq!(lines(None), ["hours: those of its campaign"]);
    }
}
