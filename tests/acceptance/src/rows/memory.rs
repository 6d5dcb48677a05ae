//! Resident memory of each service after a quiet minute.

use std::time::Duration;

use anyhow::Result;
use hilo_end_to_end::{Installation, Options};

use crate::report::Verdict;
use crate::targets::Memory;

/// Starts five processes, waits, reads `VmRSS`.
///
/// # Errors
/// When a process is gone.
pub async fn run(target: &Memory) -> Result<Verdict> {
    let installation = Installation::start(Options::default()).await?;
    tokio::time::sleep(Duration::from_secs(target.idle_seconds)).await;
    let mut figures = Vec::new();
    let mut within = true;
    for (service, kibibytes) in installation.resident_kibibytes()? {
        within &= kibibytes <= target.at_most_mebibytes * 1024;
        figures.push(format!("{service} {:.1} MiB", kibibytes as f64 / 1024.0));
    }
    let figure = format!("{} (each at most {} MiB)", figures.join(", "), target.at_most_mebibytes);
    Ok(if within { Verdict::Pass(figure) } else { Verdict::Fail(figure) })
}
