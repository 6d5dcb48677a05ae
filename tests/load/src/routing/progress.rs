//! What a terminal shows during a run: one line that is written anew every second; a line every ten seconds where it is no terminal.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::Ledger;

/// Characters of the bar.
const BAR: usize = 24;
/// Seconds between two lines where nobody watches.
const SELDOM: u64 = 10;

/// The line, until it is ended.
pub struct Progress {
    task: JoinHandle<()>,
}

impl Progress {
    /// Counts from now on, up to so many messages.
    pub fn start(name: &str, ledger: Arc<Ledger>, messages: usize) -> Self {
        let (name, before) = (name.to_owned(), ledger.rung());
        let task = tokio::spawn(async move {
            let (begun, mut known) = (Instant::now(), before);
            let terminal = std::io::stderr().is_terminal();
            for second in 1_u64.. {
                tokio::time::sleep_until((begun + Duration::from_secs(second)).into()).await;
                let rung = ledger.rung();
                let line = line(rung.saturating_sub(before), messages, rung.saturating_sub(known));
                if terminal {
                    eprint!("\r{name} {second:>5} s {line} ");
                } else if second % SELDOM == 0 {
                    eprintln!("{name} {second:>5} s {line}");
                }
                known = rung;
            }
        });
        Self { task }
    }

    /// Ends the line.
    pub fn end(self) {
        self.task.abort();
        if std::io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

fn line(rung: usize, messages: usize, last: usize) -> String {
    let full = (rung * BAR / messages.max(1)).min(BAR);
    format!("[{}{}] {rung:>7} of {messages} rang, {last:>6}/s", "#".repeat(full), ".".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_bar_is_as_full_as_the_work_is_done() {
        assert_eq!(line(0, 100, 0), format!("[{}]       0 of 100 rang,      0/s", ".".repeat(24)));
        assert_eq!(
            line(50, 100, 7),
            format!("[{}{}]      50 of 100 rang,      7/s", "#".repeat(12), ".".repeat(12))
        );
        assert_eq!(line(100, 100, 7), format!("[{}]     100 of 100 rang,      7/s", "#".repeat(24)));
        assert_eq!(line(120, 100, 7), format!("[{}]     120 of 100 rang,      7/s", "#".repeat(24)));
        assert!(line(0, 0, 0).starts_with("[."));
    }
}
