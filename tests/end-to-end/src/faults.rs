//! The test's side of the fault points: arm one, wait until a process stopped there, kill or release it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a released process may take to go on.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder that `HILO_FAULT_DIR` names.
#[derive(Clone, Debug)]
pub struct FaultFolder(PathBuf);

impl FaultFolder {
    /// Creates the folder.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The next process that comes to `point` stops there. One that was released there before goes on first; it would never learn
    /// of its release.
    ///
    /// # Errors
    /// When that one does not go on, or the file cannot be written.
    pub fn arm(&self, point: &str) -> Result<()> {
        let started = Instant::now();
        while self.file(point, "released").exists() && self.holds_a_process(point) {
            anyhow::ensure!(started.elapsed() < PATIENCE, "who stopped at {point} does not go on");
            std::thread::sleep(Duration::from_millis(2));
        }
        for state in ["reached", "released"] {
            let _ = std::fs::remove_file(self.file(point, state));
        }
        std::fs::write(self.file(point, "armed"), "").context("arm a fault point")
    }

    /// Waits until a process stopped at `point`; its process id, or nothing when none came before the deadline.
    pub async fn reached(&self, point: &str, deadline: Duration) -> Option<u32> {
        let started = Instant::now();
        while started.elapsed() < deadline {
            if let Ok(text) = std::fs::read_to_string(self.file(point, "reached"))
                && let Ok(process) = text.trim().parse()
            {
                return Some(process);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }

    /// Lets the stopped process go on, and takes the arming back when none had come.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn release(&self, point: &str) -> Result<()> {
        let _ = std::fs::remove_file(self.file(point, "armed"));
        std::fs::write(self.file(point, "released"), "").context("release a fault point")
    }

    /// True while the process that stopped at `point` lives and has not gone on.
    fn holds_a_process(&self, point: &str) -> bool {
        let stopped = std::fs::read_to_string(self.file(point, "reached"));
        stopped.is_ok_and(|id| Path::new("/proc").join(id.trim()).exists())
    }

    fn file(&self, point: &str, state: &str) -> PathBuf {
        self.0.join(format!("{point}.{state}"))
    }
}
