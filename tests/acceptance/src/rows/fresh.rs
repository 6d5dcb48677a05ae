//! The rows that need a fresh machine: measured by a script in a minimal Debian root, recorded for one commit.

use std::process::Command;

use anyhow::{Context, Result};

use crate::recorded::{Recorded, commit};
use crate::report::{Measured, Report, Verdict};

/// Judges a recorded figure; a stale or absent one is not measured.
///
/// # Errors
/// When the record or git cannot be read.
pub fn within(row: &str, at_most_seconds: u64) -> Result<Verdict> {
    let Some(recorded) = Recorded::load()? else {
        return Ok(Verdict::NotMeasured("no record; `make acceptance-fresh` writes one".to_owned()));
    };
    let current = commit()?;
    if current.as_deref() != Some(recorded.commit.as_str()) {
        let now = current.unwrap_or_else(|| "a changed checkout".to_owned());
        return Ok(Verdict::NotMeasured(format!("the record is of {}, this is {now}", recorded.commit)));
    }
    let Some(seconds) = recorded.seconds.get(row) else {
        return Ok(Verdict::NotMeasured(format!("the record of {} has no such row", recorded.date)));
    };
    let figure = format!(
        "{seconds:.1} s (at most {at_most_seconds}); {} on {}, {}",
        recorded.command, recorded.machine, recorded.date
    );
    Ok(if *seconds <= at_most_seconds as f64 { Verdict::Pass(figure) } else { Verdict::Fail(figure) })
}

/// Runs the script, which prints `row seconds` lines, and records them.
///
/// # Errors
/// When the checkout has changes, or the script fails.
pub fn record() -> Result<Report> {
    let commit = commit()?.context("commit first: a record is of a commit")?;
    let command = "tests/acceptance/fresh-machine";
    let output = Command::new(command).stderr(std::process::Stdio::inherit()).output().context(command)?;
    anyhow::ensure!(output.status.success(), "{command} failed");
    let mut recorded = Recorded {
        commit,
        command: command.to_owned(),
        machine: machine(),
        date: time::OffsetDateTime::now_utc().date().to_string(),
        seconds: std::collections::BTreeMap::new(),
    };
    let mut report = Report::new("fresh", &[]);
    for line in String::from_utf8(output.stdout)?.lines() {
        if let Some((row, seconds)) = line.split_once(' ') {
            let took: f64 = seconds.parse().with_context(|| line.to_owned())?;
            recorded.seconds.insert(row.to_owned(), took);
            let verdict = Verdict::Pass(format!("{seconds} s recorded, judged by `make acceptance`"));
            let took = std::time::Duration::try_from_secs_f64(took)?;
            report.add(row, "recorded", took, Measured::from(verdict).with_milliseconds("took_ms", took));
        }
    }
    recorded.save()?;
    Ok(report)
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, Linux {}", kernel.trim())
}
