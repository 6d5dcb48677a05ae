//! Results of rows that take long on a fresh machine: written by `make acceptance-fresh`, valid for exactly one commit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Where results are kept.
pub const FOLDER: &str = ".hilo/acceptance";

/// What was measured, and on what.
#[derive(Debug, Serialize, Deserialize)]
pub struct Recorded {
    /// Commit measured.
    pub commit: String,
    /// Command that measured it.
    pub command: String,
    /// Machine: cores, memory, kernel.
    pub machine: String,
    /// Date (UTC).
    pub date: String,
    /// Row → seconds.
    pub seconds: BTreeMap<String, f64>,
}

/// The checkout's commit; nothing when it has uncommitted changes.
///
/// # Errors
/// When git cannot be asked.
pub fn commit() -> Result<Option<String>> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git").args(arguments).output().context("git")?;
        anyhow::ensure!(output.status.success(), "git {arguments:?} failed");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let changed = !git(&["status", "--porcelain"])?.is_empty();
    Ok(if changed { None } else { Some(git(&["rev-parse", "HEAD"])?) })
}

fn file() -> PathBuf {
    PathBuf::from(FOLDER).join("fresh.toml")
}

impl Recorded {
    /// The record, when there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load() -> Result<Option<Self>> {
        match std::fs::read_to_string(file()) {
            Ok(text) => Ok(Some(toml::from_str(&text)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<()> {
        std::fs::create_dir_all(FOLDER)?;
        Ok(std::fs::write(file(), toml::to_string(self)?)?)
    }
}
