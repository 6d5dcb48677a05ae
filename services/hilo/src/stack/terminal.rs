//! While the embedded stack runs, everything written to standard error (logs, panics) goes to a file, so that the
//! terminal shows only what a person needs. Standard error comes back when this is dropped.

use std::fs::File;
use std::os::fd::OwnedFd;

use hilo_kit::error::Error;

/// Standard error, sent elsewhere.
#[derive(Debug)]
pub struct RedirectedErrors {
    original: OwnedFd,
}

impl RedirectedErrors {
    /// Sends standard error to the file.
    ///
    /// # Errors
    /// When the descriptors cannot be exchanged.
    pub fn to(file: &File) -> Result<Self, Error> {
        let exchange = || -> std::io::Result<OwnedFd> {
            let original = rustix::io::dup(rustix::stdio::stderr())?;
            rustix::stdio::dup2_stderr(file)?;
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
