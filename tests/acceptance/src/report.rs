//! The table a run prints.

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

/// Rows so far.
#[derive(Debug, Default)]
pub struct Report(Vec<(String, String, Verdict)>);

impl Report {
    /// Adds a row and prints it at once, so that a long run shows where it is.
    pub fn add(&mut self, name: &str, promise: &str, verdict: Verdict) {
        let (word, figure) = verdict.words();
        println!("{word:<12} {name:<11} {figure}");
        self.0.push((name.to_owned(), promise.to_owned(), verdict));
    }

    /// True when every row passed and there was one.
    pub fn all_passed(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(_, _, verdict)| matches!(verdict, Verdict::Pass(_)))
    }

    /// Prints the whole table with the promises as worded.
    pub fn print(&self) {
        println!();
        for (name, promise, verdict) in &self.0 {
            let (word, figure) = verdict.words();
            println!("{word:<12} {name}: {promise}\n             {figure}");
        }
    }
}

impl Verdict {
    fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Pass(figure) => ("PASS", figure),
            Self::Fail(found) => ("FAIL", found),
            Self::NotMeasured(why) => ("NOT MEASURED", why),
        }
    }
}
