//! What a person sees while the stack starts: one line per phase with its time, and the sum at the end.

use std::io::Write;
use std::time::{Duration, Instant};

/// Prints a line; that nobody reads any more (a closed pipe) is no reason to stop.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints phases as they end and remembers how long each took.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    last: Instant,
    quiet: bool,
}

impl Progress {
    /// Starts the clock; `quiet` prints nothing.
    pub fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self { begun: now, last: now, quiet }
    }

    /// Says that something has begun that may take long.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            say(&format!("   {text}"));
        }
    }

    /// A phase has ended: prints it with its time.
    pub fn done(&mut self, text: &str) {
        let took = self.last.elapsed();
        self.last = Instant::now();
        if !self.quiet {
            say(&format!("   {text:<58} {:>6.1} s", took.as_secs_f64()));
        }
    }

    /// Since the start.
    pub fn total(&self) -> Duration {
        self.begun.elapsed()
    }
}
