//! The table a run prints, and the same as JSON under `.hilo/acceptance/`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::recorded;
use crate::targets::Targets;

/// How a row ended.
#[derive(Debug)]
pub enum Verdict {
    /// The promise holds; the figure.
    Pass(String),
    /// It does not; what was found.
    Fail(String),
    /// Nothing is known; why.
    NotMeasured(String),
}

/// A verdict and the figures it was made from, by name; the unit ends the name.
#[derive(Debug)]
pub struct Measured {
    verdict: Verdict,
    figures: BTreeMap<&'static str, f64>,
}

impl From<Verdict> for Measured {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, figures: BTreeMap::new() }
    }
}

impl Measured {
    /// With a figure.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.figures.insert(name, value);
        self
    }

    /// With a duration; the name ends in `_ms`.
    #[must_use]
    pub fn with_milliseconds(self, name: &'static str, value: Duration) -> Self {
        self.with(name, value.as_secs_f64() * 1_000.0)
    }
}

/// A row as printed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    promise: String,
    verdict: &'static str,
    found: String,
    /// How long the row took.
    seconds: f64,
    figures: BTreeMap<&'static str, f64>,
}

/// Rows so far.
#[derive(Debug)]
pub struct Report {
    area: String,
    /// File the figures are kept in.
    path: PathBuf,
    rows: Vec<Row>,
}

/// What the file holds beside the rows.
#[derive(Serialize)]
struct File<'r> {
    area: &'r str,
    /// None for a checkout with changes.
    commit: Option<String>,
    date: String,
    rows: &'r [Row],
}

impl Report {
    /// An empty one. Rows run by themselves have a file of their own.
    pub fn new(area: &str, only: &[String]) -> Self {
        let name = std::iter::once(area).chain(only.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
        let path = PathBuf::from(recorded::FOLDER).join(format!("{name}.json"));
        Self { area: area.to_owned(), path, rows: Vec::new() }
    }

    /// Adds a row, prints it at once and writes the file anew, so that a long run shows where it is and an interrupted one leaves
    /// what it measured.
    pub fn add(&mut self, name: &str, promise: &str, took: Duration, measured: Measured) {
        let (mut verdict, found) = measured.verdict.words();
        if verdict == PASS && !Targets::are_the_promises() {
            verdict = NOT_MEASURED;
        }
        println!("{verdict:<12} {name:<11} {found}");
        self.rows.push(Row {
            name: name.to_owned(),
            promise: promise.to_owned(),
            verdict,
            found,
            seconds: took.as_secs_f64(),
            figures: measured.figures,
        });
        if let Err(error) = self.save() {
            eprintln!("acceptance: the figures are not kept: {error:#}");
        }
    }

    fn save(&self) -> anyhow::Result<()> {
        let file = File {
            area: &self.area,
            commit: recorded::commit().unwrap_or_default(),
            date: time::OffsetDateTime::now_utc().date().to_string(),
            rows: &self.rows,
        };
        std::fs::create_dir_all(recorded::FOLDER)?;
        Ok(std::fs::write(&self.path, serde_json::to_string_pretty(&file)?)?)
    }

    /// True when every row passed and there was one.
    pub fn all_passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.verdict == PASS)
    }

    /// Prints the whole table with the promises as worded.
    pub fn print(&self) {
        println!();
        for row in &self.rows {
            println!("{:<12} {}: {}\n             {}", row.verdict, row.name, row.promise, row.found);
        }
        if !Targets::are_the_promises() {
            println!("\nOther targets than the promised ones: nothing passes by them.");
        }
        println!("\nFigures: {}", self.path.display());
    }
}

const PASS: &str = "PASS";
const NOT_MEASURED: &str = "NOT MEASURED";

impl Verdict {
    fn words(self) -> (&'static str, String) {
        match self {
            Self::Pass(figure) => (PASS, figure),
            Self::Fail(found) => ("FAIL", found),
            Self::NotMeasured(why) => (NOT_MEASURED, why),
        }
    }
}
