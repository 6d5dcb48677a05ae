//! What may be searched for, checked: every problem of a request is reported at once, with its field.

use std::collections::BTreeMap;

use hilo_kit::error::Error;
use time::Date;

use super::thread::Direction;
use super::words;

/// Different words of one search.
pub const MAX_WORDS: usize = 16;
/// Characters of the text that words are taken from.
pub const MAX_WORDS_TEXT: usize = 500;
/// A part of a name, address or subject has at least this many characters: the index knows groups of three, and
/// shorter parts fit nearly everything.
pub const MIN_PART: usize = 3;
/// Characters of a part.
pub const MAX_PART: usize = 200;
/// Characters of a tag, and of a form value that can be searched for as a whole; longer ones are found by their words.
pub const MAX_VALUE: usize = 200;
/// Form values of one search.
pub const MAX_FORM_VALUES: usize = 10;
/// Threads of a page when none is asked for.
pub const DEFAULT_PAGE: i32 = 50;
/// Most threads of a page.
pub const LARGEST_PAGE: i32 = 200;

/// A search as it was asked: empty texts and zeros do not restrict.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Words.
    pub words: String,
    /// Part of the customer's name or address.
    pub customer: String,
    /// Campaign.
    pub campaign_key: String,
    /// Agent.
    pub agent_key: String,
    /// First day, `YYYY-MM-DD`.
    pub ended_from: String,
    /// Last day, `YYYY-MM-DD`.
    pub ended_to: String,
    /// Attention number.
    pub attention_number: i64,
    /// Direction.
    pub direction: Option<Direction>,
    /// Part of the subject.
    pub subject: String,
    /// Tag.
    pub tag: String,
    /// Form values by field.
    pub form_values: BTreeMap<String, String>,
    /// Form value of any field.
    pub form_value: String,
}

/// Checked criteria, all combined with AND. Texts are folded: lower case, no accents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Criteria {
    /// Words, each to be found in some message, the subject or the form.
    pub words: Vec<String>,
    /// Part of the customer's name or address.
    pub customer: Option<String>,
    /// Campaign.
    pub campaign_key: Option<String>,
    /// Agent who ended it.
    pub agent_key: Option<String>,
    /// First day of the end.
    pub ended_from: Option<Date>,
    /// Last day of the end.
    pub ended_to: Option<Date>,
    /// Attention number.
    pub attention_number: Option<i64>,
    /// Direction.
    pub direction: Option<Direction>,
    /// Part of the subject.
    pub subject: Option<String>,
    /// Tag.
    pub tag: Option<String>,
    /// Entries as [`form_entry`] makes them.
    pub form_entries: Vec<String>,
    /// Folded value of any field.
    pub form_value: Option<String>,
}

/// Gathers what is wrong, so that the caller sees all of it.
#[derive(Default)]
struct Faults(Vec<(String, String)>);

impl Faults {
    fn add(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.0.push((field.into(), why.into()));
    }

    fn into_result<T>(self, value: T) -> Result<T, Error> {
        if self.0.is_empty() {
            return Ok(value);
        }
        let error = Error::invalid("INVALID_SEARCH", "the search has malformed criteria");
        Err(self.0.into_iter().fold(error, |error, (field, why)| error.field(field, why)))
    }
}

impl Criteria {
    /// Checks a search.
    ///
    /// # Errors
    /// `INVALID_SEARCH` with one violation per malformed field.
    pub fn parse(asked: &Asked) -> Result<Self, Error> {
        let mut faults = Faults::default();
        let criteria = Self {
            words: search_words(&asked.words, &mut faults),
            customer: part("customer", &asked.customer, &mut faults),
            campaign_key: key("campaign_key", &asked.campaign_key, &mut faults),
            agent_key: key("agent_key", &asked.agent_key, &mut faults),
            ended_from: day("ended_from", &asked.ended_from, &mut faults),
            ended_to: day("ended_to", &asked.ended_to, &mut faults),
            attention_number: number(asked.attention_number, &mut faults),
            direction: asked.direction,
            subject: part("subject", &asked.subject, &mut faults),
            tag: tag(&asked.tag, &mut faults),
            form_entries: form_values(&asked.form_values, &mut faults),
            form_value: form_value(&asked.form_value, &mut faults),
        };
        if let (Some(from), Some(to)) = (criteria.ended_from, criteria.ended_to)
            && from > to
        {
            faults.add("ended_to", "must not be before ended_from");
        }
        faults.into_result(criteria)
    }
}

/// Checks the number of threads asked for.
///
/// # Errors
/// `INVALID_SEARCH` outside 0 to [`LARGEST_PAGE`].
pub fn page_size(asked: i32) -> Result<i32, Error> {
    match asked {
        0 => Ok(DEFAULT_PAGE),
        1..=LARGEST_PAGE => Ok(asked),
        _ => Err(Error::invalid("INVALID_SEARCH", "the search has malformed criteria")
            .field("page_size", format!("must be between 0 and {LARGEST_PAGE}"))),
    }
}

/// How a form value is kept for searching: field and folded value; `None` when it is too long for an index entry
/// (PostgreSQL's GIN takes some 2,700 bytes), so that no form can make its thread impossible to store.
pub fn form_entry(field: &str, value: &str) -> Option<String> {
    let folded = words::fold(value);
    let fits = !folded.is_empty() && folded.chars().count() <= MAX_VALUE && field.len() <= MAX_VALUE;
    fits.then(|| format!("{field}={folded}"))
}

fn search_words(text: &str, faults: &mut Faults) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut found = words::split(text);
    if found.is_empty() {
        faults.add("words", "must hold a letter or a digit");
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|word| seen.insert(word.clone()));
    if found.len() > MAX_WORDS || text.chars().count() > MAX_WORDS_TEXT {
        faults.add(
            "words",
            format!("must be at most {MAX_WORDS} different words in {MAX_WORDS_TEXT} characters"),
        );
    }
    found
}

fn part(field: &str, text: &str, faults: &mut Faults) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let folded = words::fold(text);
    let length = folded.chars().count();
    if !(MIN_PART..=MAX_PART).contains(&length) {
        faults.add(field, format!("must have {MIN_PART} to {MAX_PART} characters"));
    }
    Some(folded)
}

/// True for an immutable key of the directory.
pub fn is_key(text: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=40).contains(&text.len()) && text.bytes().all(fits)
}

fn key(field: &str, text: &str, faults: &mut Faults) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    if !is_key(text) {
        faults.add(field, "must be a key of [a-z0-9-]{1,40}");
    }
    Some(text.to_owned())
}

fn day(field: &str, text: &str, faults: &mut Faults) -> Option<Date> {
    if text.is_empty() {
        return None;
    }
    let parsed = parse_day(text);
    if parsed.is_none() {
        faults.add(field, "must be an existing day as YYYY-MM-DD");
    }
    parsed
}

/// Exactly `YYYY-MM-DD` (ISO 8601), years 0001 to 9999.
pub fn parse_day(text: &str) -> Option<Date> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let shape = text.len() == 10 && text.bytes().all(|c| c.is_ascii_digit() || c == b'-');
    let day = shape.then(|| Date::parse(text, format).ok()).flatten()?;
    (1..=9999).contains(&day.year()).then_some(day)
}

fn number(asked: i64, faults: &mut Faults) -> Option<i64> {
    if asked < 0 {
        faults.add("attention_number", "must not be negative");
    }
    (asked > 0).then_some(asked)
}

fn tag(text: &str, faults: &mut Faults) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let folded = words::fold(text);
    if folded.is_empty() || folded.chars().count() > MAX_VALUE {
        faults.add("tag", format!("must have 1 to {MAX_VALUE} visible characters"));
    }
    Some(folded)
}

fn form_values(asked: &BTreeMap<String, String>, faults: &mut Faults) -> Vec<String> {
    if asked.len() > MAX_FORM_VALUES {
        faults.add("form_values", format!("must be at most {MAX_FORM_VALUES}"));
    }
    let mut entries = Vec::new();
    for (field, value) in asked {
        let path = || format!("form_values[{field}]");
        if field.is_empty() || field.len() > MAX_VALUE {
            faults.add(path(), "must name a form field");
        }
        match form_entry(field, value) {
            Some(entry) => entries.push(entry),
            None => faults
                .add(path(), format!("must have 1 to {MAX_VALUE} characters; use words for longer texts")),
        }
    }
    entries
}

fn form_value(text: &str, faults: &mut Faults) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let folded = words::fold(text);
    if folded.is_empty() || folded.chars().count() > MAX_VALUE {
        faults
            .add("form_value", format!("must have 1 to {MAX_VALUE} characters; use words for longer texts"));
    }
    Some(folded)
}

/// That no form has a field which a search names.
///
/// # Errors
/// `INVALID_SEARCH` naming every such field, when there is one.
pub fn refuse_unknown_fields(unknown: &[String]) -> Result<(), Error> {
    let mut faults = Faults::default();
    for field in unknown {
        faults.add(format!("form_values[{field}]"), "no form has this field");
    }
    faults.into_result(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_malformed_field_is_named_at_once() {
        let asked = Asked {
            words: "¿?".into(),
            customer: "a".into(),
            campaign_key: "Ventas Perú".into(),
            agent_key: "x".repeat(41),
            ended_from: "2026-02-30".into(),
            ended_to: "26-1-1".into(),
            attention_number: -1,
            subject: " \t".into(),
            tag: "\u{0}".into(),
            form_values: BTreeMap::from([("motivo".to_owned(), String::new())]),
            form_value: " ".into(),
            direction: None,
        };
        let error = Criteria::parse(&asked).unwrap_err();
        let fields: Vec<_> = error.violations().iter().map(|one| one.field.as_str()).collect();
        let expected = [
            "words",
            "customer",
            "campaign_key",
            "agent_key",
            "ended_from",
            "ended_to",
            "attention_number",
            "subject",
            "tag",
            "form_values[motivo]",
            "form_value",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn days_are_real_and_in_order() {
        for bad in
            ["2026-13-01", "2026-1-01", "+026-01-01", "0000-01-01", "2026-01-01 ", "2026/01/01", "20260101"]
        {
            assert_eq!(parse_day(bad), None, "{bad}");
        }
        assert!(parse_day("2024-02-29").is_some() && parse_day("2026-02-29").is_none());
        let asked =
            Asked { ended_from: "2026-02-02".into(), ended_to: "2026-02-01".into(), ..Asked::default() };
        assert_eq!(Criteria::parse(&asked).unwrap_err().violations()[0].field, "ended_to");
    }

    #[test]
    fn words_are_folded_and_counted_once() {
        let asked = Asked { words: "Camión, camión 7".into(), ..Asked::default() };
        assert_eq!(Criteria::parse(&asked).unwrap().words, ["camión", "7"]);
        let many: String = (0..17).map(|n| format!("w{n} ")).collect();
        assert!(Criteria::parse(&Asked { words: many, ..Asked::default() }).is_err());
    }

    #[test]
    fn page_sizes_are_bounded() {
        assert_eq!(page_size(0).unwrap(), DEFAULT_PAGE);
        assert_eq!(page_size(200).unwrap(), 200);
        assert!(page_size(201).is_err() && page_size(-1).is_err());
    }
}
