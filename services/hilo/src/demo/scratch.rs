//! The demo's own folder in the system's temporary folder: mails, logs, and the data of a private stack.

use std::path::{Path, PathBuf};

use crate::cli::Failure;

/// Removed at the end unless it is kept.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    /// Makes the folder; others may enter it, because PostgreSQL and the mail server run as other users.
    ///
    /// # Errors
    /// When the temporary folder cannot be written to.
    pub fn create() -> Result<Self, Failure> {
        let name =
            format!("hilo-demo-{}-{}", std::process::id(), &uuid::Uuid::new_v4().simple().to_string()[..6]);
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self { path, keep: false })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, made when missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A new log file in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn log(&self, name: &str) -> Result<std::fs::File, Failure> {
        Ok(std::fs::File::create(self.path.join(name))?)
    }

    /// The last lines of a log file, for a failure.
    pub fn tail(&self, name: &str) -> Vec<String> {
        let text = std::fs::read(self.path.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(12))
            .map(|line| format!("{name}: {}", crate::cli::terminal::clean(line)))
            .collect()
    }

    /// Does not remove it at the end.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            // A leftover in the temporary folder does no harm.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
