//! The CSV of a dialer's rows (RFC 4180): a header line that names the columns, then a number and the values of the template's
//! variables per line. Every bad row is told with its line, column and reason.

use std::collections::HashSet;

use csv::{ByteRecord, ReaderBuilder};
use hilo_kit::error::Error;
use hilo_proto::dialer::v1::RowProblem;

use super::columns::NUMBER;
use crate::contact::Number;
use crate::templates;

/// Largest text, below gRPC's limit of a message.
pub(crate) const MAX_BYTES: usize = 3 * 1024 * 1024;
/// Most problems that are listed; the rest is counted.
pub(crate) const MAX_PROBLEMS: usize = 20_000;

/// A row that can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoodRow {
    /// Whom to.
    pub number: Number,
    /// Values in the order of the dialer's columns.
    pub values: Vec<String>,
}

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sheet {
    /// Rows in their order, each number once.
    pub rows: Vec<GoodRow>,
    /// Good rows whose number came earlier in the text.
    pub repeated: usize,
    /// The first problem of each bad row, bounded.
    pub problems: Vec<RowProblem>,
    /// Bad rows in all.
    pub bad: usize,
}

/// Reads a text; `columns` are the dialer's, all of which and nothing else but `number` the header must name, in any order.
///
/// # Errors
/// `INVALID_REQUEST` for a text that is too large or whose header does not fit.
pub(crate) fn read(text: &[u8], columns: &[String]) -> Result<Sheet, Error> {
    if text.len() > MAX_BYTES {
        return Err(invalid(format!("at most {MAX_BYTES} bytes; import a longer list in several calls")));
    }
    // Spreadsheets mark UTF-8 so.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader =
        ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter(text)).from_reader(text);
    let mut records = reader.byte_records();
    let header = match records.next() {
        Some(Ok(header)) => header,
        Some(Err(error)) => return Err(invalid("the header cannot be read").with_source(error)),
        None => return Err(invalid("the text is empty; its first line names the columns")),
    };
    let places = places(&header, columns)?;
    let mut sheet = Sheet::default();
    let mut seen = HashSet::new();
    for record in records {
        let record = record.map_err(|error| invalid("the text cannot be read").with_source(error))?;
        if record.iter().all(<[u8]>::is_empty) {
            // Spreadsheets leave such rows behind.
            continue;
        }
        match row(&record, header.len(), &places, columns) {
            Ok(row) if seen.insert(row.number.clone()) => sheet.rows.push(row),
            Ok(_) => sheet.repeated += 1,
            Err(problem) => sheet.note(problem),
        }
    }
    Ok(sheet)
}

impl Sheet {
    fn note(&mut self, problem: RowProblem) {
        self.bad += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

fn invalid(why: impl Into<String>) -> Error {
    Error::invalid("INVALID_REQUEST", "the list cannot be read").field("csv", why)
}

/// Spreadsheets separate by semicolons where the comma is the decimal sign: whichever the header line has more of.
fn delimiter(text: &[u8]) -> u8 {
    let header = text.split(|one| *one == b'\n').next().unwrap_or_default();
    let count = |sign: u8| header.iter().filter(|one| **one == sign).count();
    if count(b';') > count(b',') { b';' } else { b',' }
}

/// Places of `number` and of the columns in a record.
struct Places {
    number: usize,
    values: Vec<usize>,
}

fn places(header: &ByteRecord, columns: &[String]) -> Result<Places, Error> {
    let names: Vec<String> =
        header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
    for (at, name) in names.iter().enumerate() {
        if names.iter().take(at).any(|before| before == name) {
            return Err(invalid(format!("line 1: the column `{name}` stands there twice")));
        }
        if name != NUMBER && !columns.contains(name) {
            let wanted = wanted(columns);
            return Err(invalid(format!("line 1: there is no column `{name}`; the columns are {wanted}")));
        }
    }
    let place = |wanted_name: &str| {
        names.iter().position(|name| name == wanted_name).ok_or_else(|| {
            invalid(format!(
                "line 1: the column `{wanted_name}` is missing; the columns are {}",
                wanted(columns)
            ))
        })
    };
    Ok(Places {
        number: place(NUMBER)?,
        values: columns.iter().map(|name| place(name)).collect::<Result<_, _>>()?,
    })
}

fn wanted(columns: &[String]) -> String {
    let names: Vec<&str> = std::iter::once(NUMBER).chain(columns.iter().map(String::as_str)).collect();
    names.join(", ")
}

fn row(
    record: &ByteRecord,
    width: usize,
    places: &Places,
    columns: &[String],
) -> Result<GoodRow, RowProblem> {
    let line = record.position().map_or(0, csv::Position::line);
    let problem = |column: &str, reason: &str, text: String| RowProblem {
        line: i32::try_from(line).unwrap_or(i32::MAX),
        column: column.to_owned(),
        reason: reason.to_owned(),
        text,
    };
    if record.len() != width {
        let text = format!("{} columns, the header has {width}", record.len());
        return Err(problem("", "WRONG_NUMBER_OF_COLUMNS", text));
    }
    let cell = |at: usize, column: &str| {
        let text = std::str::from_utf8(record.get(at).unwrap_or_default());
        text.map(str::trim).map_err(|_| problem(column, "NOT_UTF8", "the text must be UTF-8".to_owned()))
    };
    let written = cell(places.number, NUMBER)?;
    if written.is_empty() {
        return Err(problem(NUMBER, "NUMBER_MISSING", "every row needs a number".to_owned()));
    }
    let number = Number::parse(written).ok_or_else(|| {
        problem(
            NUMBER,
            "NUMBER_MALFORMED",
            "a number is `+`, country code and 8 to 15 digits in all".to_owned(),
        )
    })?;
    let mut values = Vec::with_capacity(columns.len());
    for (at, column) in places.values.iter().zip(columns) {
        let value = cell(*at, column)?;
        if let Some((reason, text)) = templates::problem(value) {
            return Err(problem(column, reason, text));
        }
        values.push(value.to_owned());
    }
    Ok(GoodRow { number, values })
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
