//! While the embedded stack runs, everything written to standard error (logs, panics) goes to a file, so that the
//! terminal shows only what a person needs. Standard error comes back when this is dropped.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;

use super::folder::DataFolder;

/// File in the folder of logs.
pub const LOG: &str = "hilo.log";
/// A log that has grown over this is set aside while we run; the one before it is lost.
const LARGEST_LOG: u64 = 64 * 1024 * 1024;
const LOOK: std::time::Duration = std::time::Duration::from_secs(60);

/// Standard error, sent elsewhere.
#[derive(Debug)]
pub struct RedirectedErrors {
    original: OwnedFd,
}

impl RedirectedErrors {
    /// Sends standard error to the log file of the folder.
    ///
    /// # Errors
    /// When the descriptors cannot be exchanged.
    pub fn to_log(folder: &DataFolder) -> Result<Self, Error> {
        let file = folder.log_file(LOG)?;
        let exchange = || -> std::io::Result<OwnedFd> {
            let original = rustix::io::dup(rustix::stdio::stderr())?;
            rustix::stdio::dup2_stderr(&file)?;
            Ok(original)
        };
        let failed = |error| {
            Error::unavailable("LOG_NOT_OPENED", "standard error could not be redirected").with_source(error)
        };
        Ok(Self { original: exchange().map_err(failed)? })
    }
}

impl Drop for RedirectedErrors {
    fn drop(&mut self) {
        // Without it the last message would only stand in the log.
        let _ = rustix::stdio::dup2_stderr(&self.original);
    }
}

/// Keeps the log of a long run bounded, until the shutdown begins.
pub async fn keep_bounded(log: PathBuf, shutdown: Shutdown) {
    while shutdown.sleep(LOOK).await {
        if std::fs::metadata(&log).is_ok_and(|meta| meta.len() > LARGEST_LOG)
            && let Err(error) = begin_anew(&log)
        {
            tracing::warn!(%error, "the log could not be set aside");
        }
    }
}

fn begin_anew(log: &Path) -> std::io::Result<()> {
    std::fs::rename(log, log.with_extension("log.1"))?;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(log)?;
    Ok(rustix::stdio::dup2_stderr(&file)?)
}
