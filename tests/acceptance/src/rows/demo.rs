//! `make demo` many times in a row.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::report::Verdict;
use crate::targets::Demo;

/// Runs the demo as its user would.
///
/// # Errors
/// When make cannot be started.
pub async fn run(target: &Demo) -> Result<Verdict> {
    let mut slowest = 0.0_f64;
    for round in 1..=target.times {
        let started = Instant::now();
        let mut command = tokio::process::Command::new("make");
        command
            .arg("demo")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let output = command.output().await.context("make demo")?;
        slowest = slowest.max(started.elapsed().as_secs_f64());
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            let tail: Vec<&str> = text.lines().rev().take(8).collect();
            let tail = tail.into_iter().rev().collect::<Vec<_>>().join(" | ");
            return Ok(Verdict::Fail(format!(
                "round {round} of {}: {} - {tail}",
                target.times, output.status
            )));
        }
    }
    Ok(Verdict::Pass(format!("{} of {} with exit 0, slowest {slowest:.1} s", target.times, target.times)))
}
