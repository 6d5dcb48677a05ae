//! When a campaign is open: weekly hours and holidays in an IANA time zone (pure).
//!
//! Hours are what a wall clock there shows. When clocks go forward the skipped times never come; when they go back the
//! repeated ones count twice: an office that is open from one to three is open for three hours that night.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Opening hours of a campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// IANA time zone; empty means the installation's.
    pub time_zone: String,
    /// Spans of each weekday, Monday first, in order, without overlap.
    pub weekly: [Vec<Span>; 7],
    /// Dates that are different from their weekday, in order, each once.
    pub holidays: Vec<Holiday>,
    /// Sent once per attention that begins out of hours; empty means none. Plain text.
    pub automatic_reply: String,
}

/// From one time of a day until before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// First minute of the day.
    pub from: u16,
    /// Minute of the day it ends before; 1440 is the end of the day.
    pub to: u16,
}

/// A date with hours of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holiday {
    /// `YYYY-MM-DD`.
    pub date: String,
    /// What it is; may be empty.
    pub name: String,
    /// Spans that are open nevertheless; empty is closed all day.
    pub open: Vec<Span>,
}

/// Words of the weekdays, Monday first.
pub const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Minutes of a day on the clock.
pub const DAY: u16 = 24 * 60;

impl Span {
    /// `HH:MM-HH:MM`; `24:00` is the end of the day.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let (from, to) = (minute(from.trim())?, minute(to.trim())?);
        (from < to).then_some(Self { from, to })
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", clock(self.from), clock(self.to))
    }
}

/// `HH:MM` of a minute of the day.
pub fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |part: &str| part.len() == 2 && part.bytes().all(|one| one.is_ascii_digit());
    if !two(hour) || !two(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let whole = hour * 60 + minute;
    (minute < 60 && whole <= DAY).then_some(whole)
}

/// The date of a holiday; `None` when the text is none.
pub fn date(text: &str) -> Option<Date> {
    // Nothing but `YYYY-MM-DD`, whatever else the parser would take.
    (text.len() == 10).then(|| text.parse().ok())?
}

/// True when this program knows the zone. Rules that change are in the release's own copy of the database of zones.
pub fn knows_zone(name: &str) -> bool {
    zone(name).is_some()
}

fn zone(name: &str) -> Option<TimeZone> {
    // A POSIX rule is a zone for jiff too; the directory wants names.
    name.bytes().all(|one| one.is_ascii_alphanumeric() || b"/_+-".contains(&one)).then_some(())?;
    TimeZone::get(name).ok()
}

/// True when the campaign is open at the instant. `installation` is the zone when the hours name none. An unknown zone
/// counts as open: nobody is told that we are closed by a mistake of ours.
pub fn open_at(hours: &Hours, installation: &str, instant: OffsetDateTime) -> bool {
    let name = if hours.time_zone.is_empty() { installation } else { &hours.time_zone };
    let Some(zone) = zone(name) else { return true };
    let Ok(instant) = Timestamp::from_second(instant.unix_timestamp()) else { return true };
    let local = zone.to_datetime(instant);
    let minute = u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).unwrap_or_default();
    let spans = match hours.holidays.iter().find(|one| date(&one.date) == Some(local.date())) {
        Some(holiday) => &holiday.open,
        None => of_weekday(hours, local.weekday()),
    };
    spans.iter().any(|span| (span.from..span.to).contains(&minute))
}

fn of_weekday(hours: &Hours, weekday: Weekday) -> &Vec<Span> {
    let [monday, tuesday, wednesday, thursday, friday, saturday, sunday] = &hours.weekly;
    match weekday {
        Weekday::Monday => monday,
        Weekday::Tuesday => tuesday,
        Weekday::Wednesday => wednesday,
        Weekday::Thursday => thursday,
        Weekday::Friday => friday,
        Weekday::Saturday => saturday,
        Weekday::Sunday => sunday,
    }
}

#[cfg(test)]
mod tests {
    use time::format_description::well_known::Rfc3339;

    use super::*;

    fn spans(texts: &[&str]) -> Vec<Span> {
        texts.iter().map(|one| Span::parse(one).unwrap()).collect()
    }

    /// Every day with these spans.
    fn daily(zone: &str, texts: &[&str]) -> Hours {
        Hours {
            time_zone: zone.to_owned(),
            weekly: std::array::from_fn(|_| spans(texts)),
            ..Hours::default()
        }
    }

    fn at(hours: &Hours, installation: &str, instant: &str) -> bool {
        open_at(hours, installation, OffsetDateTime::parse(instant, &Rfc3339).unwrap())
    }

    #[test]
    fn weekdays_and_edges() {
        let mut hours = daily("America/Lima", &["09:00-13:00", "14:00-18:00"]);
        hours.weekly[5] = spans(&["00:00-24:00"]);
        hours.weekly[6] = Vec::new();
        // 2026-11-23 is a Monday; Lima is five hours behind UTC all year.
        for (instant, open) in [
            ("2026-11-23T13:59:59Z", false),
            ("2026-11-23T14:00:00Z", true),
            ("2026-11-23T17:59:59Z", true),
            ("2026-11-23T18:00:00Z", false),
            ("2026-11-23T19:00:00Z", true),
            ("2026-11-23T22:59:59.999Z", true),
            ("2026-11-23T23:00:00Z", false),
            // Sunday in London is still Saturday in Lima.
            ("2026-11-29T04:59:59Z", true),
            ("2026-11-29T05:00:00Z", false),
            ("2026-11-29T15:00:00Z", false),
        ] {
            assert_eq!(at(&hours, "UTC", instant), open, "{instant}");
        }
    }

    #[test]
    fn clocks_that_change() {
        // Madrid goes forward on 2026-03-29 at 02:00 (01:00 UTC) and back on 2026-10-25 at 03:00 (01:00 UTC).
        let office = daily("Europe/Madrid", &["09:00-18:00"]);
        let night = daily("Europe/Madrid", &["02:00-03:00"]);
        for (hours, instant, open) in [
            (&office, "2026-03-28T08:00:00Z", true),
            (&office, "2026-03-28T07:59:59Z", false),
            (&office, "2026-03-29T07:00:00Z", true),
            (&office, "2026-03-29T06:59:59Z", false),
            (&office, "2026-03-29T16:00:00Z", false),
            (&office, "2026-10-24T07:00:00Z", true),
            (&office, "2026-10-25T07:59:59Z", false),
            (&office, "2026-10-25T08:00:00Z", true),
            // The hour from two to three does not exist in spring and comes twice in autumn.
            (&night, "2026-03-29T00:59:59Z", false),
            (&night, "2026-03-29T01:00:00Z", false),
            (&night, "2026-10-24T23:59:59Z", false),
            (&night, "2026-10-25T00:00:00Z", true),
            (&night, "2026-10-25T00:59:59Z", true),
            (&night, "2026-10-25T01:00:00Z", true),
            (&night, "2026-10-25T01:59:59Z", true),
            (&night, "2026-10-25T02:00:00Z", false),
        ] {
            assert_eq!(at(hours, "UTC", instant), open, "{instant}");
        }
        // Santiago changes at midnight: on 2026-09-06 the day begins at 01:00.
        let first_hour = daily("America/Santiago", &["00:00-01:00"]);
        assert!(!at(&first_hour, "UTC", "2026-09-06T03:59:59Z"), "23:59 of the day before");
        assert!(!at(&first_hour, "UTC", "2026-09-06T04:00:00Z"), "01:00, right after 23:59");
        assert!(at(&first_hour, "UTC", "2026-09-07T03:00:00Z"), "midnight, now three hours behind");
    }

    #[test]
    fn holidays_come_before_weekdays_and_by_the_local_date() {
        let mut hours = daily("America/Lima", &["09:00-18:00"]);
        let holiday = |date: &str, open| Holiday { date: date.into(), name: String::new(), open };
        hours.holidays =
            vec![holiday("2026-12-24", spans(&["09:00-12:00"])), holiday("2026-12-25", Vec::new())];
        for (instant, open) in [
            ("2026-12-24T16:59:00Z", true),
            ("2026-12-24T17:00:00Z", false),
            ("2026-12-25T15:00:00Z", false),
            ("2026-12-26T04:59:00Z", false),
            ("2026-12-26T15:00:00Z", true),
            ("2027-12-25T15:00:00Z", true),
        ] {
            assert_eq!(at(&hours, "UTC", instant), open, "{instant}");
        }
    }

    #[test]
    fn without_a_zone_of_its_own_the_installations_counts_and_an_unknown_one_is_open() {
        let hours = daily("", &["09:00-18:00"]);
        assert!(at(&hours, "America/Lima", "2026-11-23T14:00:00Z"));
        assert!(!at(&hours, "Europe/Madrid", "2026-11-23T06:00:00Z"));
        assert!(at(&hours, "America/Lma", "2026-11-23T06:00:00Z"));
    }

    #[test]
    fn zones_and_spans_are_what_they_must_be() {
        for good in ["America/Lima", "UTC", "Europe/Madrid", "Etc/GMT+5", "America/Argentina/Buenos_Aires"] {
            assert!(knows_zone(good), "{good}");
        }
        for bad in ["", "America/Lma", "<-05>5", "../etc/passwd", "América/Lima"] {
            assert!(!knows_zone(bad), "{bad}");
        }
        assert_eq!(Span::parse("09:00-24:00").unwrap().to_string(), "09:00-24:00");
        for bad in
            ["9:00-18:00", "18:00-09:00", "09:00-09:00", "09:00-24:01", "09:60-10:00", "09:00", "", "a-b"]
        {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
        assert!(date("2026-12-25").is_some());
        for bad in ["2026-02-30", "2026-2-3", "20261225", "25-12-2026"] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }
}
