//! A private nats-server with JetStream.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::process::{Launch, Process};
use crate::{eventually, free_port};

/// A server of its own; stopped and its data removed when dropped.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    folder: TempDir,
    launch: Launch,
    process: Option<Process>,
}

impl Nats {
    /// Starts one on a free port, JetStream in a temporary folder, default sync (two minutes).
    ///
    /// # Errors
    /// When no nats-server ≥ 2.12 is found, or it does not come up.
    pub async fn start() -> Result<Self> {
        Self::start_on(free_port()).await
    }

    /// The same on a given port.
    ///
    /// # Errors
    /// As [`Nats::start`].
    pub async fn start_on(port: u16) -> Result<Self> {
        Self::start_with(port, "2m").await
    }

    /// One that syncs every write before it acknowledges it (`sync_interval: always`).
    ///
    /// # Errors
    /// As [`Nats::start`].
    pub async fn start_synced() -> Result<Self> {
        Self::start_with(free_port(), "always").await
    }

    async fn start_with(port: u16, sync_interval: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hilo-nats-").tempdir()?;
        let store = folder.path().join("store");
        let configuration = folder.path().join("nats.conf");
        let settings =
            format!("jetstream {{ store_dir: \"{}\", sync_interval: {sync_interval} }}\n", store.display());
        std::fs::write(&configuration, settings)?;
        let arguments =
            ["-c", &configuration.display().to_string(), "-a", "127.0.0.1", "-p", &port.to_string()];
        let launch = Launch {
            program: binary()?,
            arguments: arguments.iter().map(Into::into).collect(),
            log: folder.path().join("nats.log"),
            ..Launch::default()
        };
        let mut nats = Self { port, folder, launch, process: None };
        nats.restart().await?;
        Ok(nats)
    }

    /// Client address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Process id, when running.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill_9(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill_9()?;
        }
        Ok(())
    }

    /// Kills it if it runs, deletes everything it stored.
    ///
    /// # Errors
    /// When the folder cannot be removed.
    pub fn wipe(&mut self) -> Result<()> {
        self.kill_9()?;
        match std::fs::remove_dir_all(self.folder.path().join("store")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Kills it, keeps a copy of what it stored, and starts it again.
    ///
    /// # Errors
    /// When the folder cannot be copied or it does not come up.
    pub async fn back_up(&mut self) -> Result<()> {
        self.kill_9()?;
        copy_folder(&self.folder.path().join("store"), &self.folder.path().join("backup"))?;
        self.restart().await
    }

    /// Kills it and starts it with what [`Nats::back_up`] kept: everything after that is lost at one instant, as when a disk
    /// is rolled back.
    ///
    /// # Errors
    /// As [`Nats::back_up`].
    pub async fn roll_back(&mut self) -> Result<()> {
        self.wipe()?;
        copy_folder(&self.folder.path().join("backup"), &self.folder.path().join("store"))?;
        self.restart().await
    }

    /// Kills it if it runs, and starts it on the same port and data.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill_9()?;
        let mut process = self.launch.spawn()?;
        let url = self.url();
        let up = eventually("nats-server accepts clients", Duration::from_secs(60), || {
            let url = url.clone();
            async move { jetstream_answers(&url).await }
        });
        if up.await.is_err() {
            let running = process.is_running();
            anyhow::bail!("nats-server did not come up (running: {running}): {}", process.log_tail());
        }
        self.process = Some(process);
        Ok(())
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

async fn jetstream_answers(url: &str) -> bool {
    let Ok(client) = async_nats::connect(url).await else { return false };
    async_nats::jetstream::new(client).query_account().await.is_ok()
}

/// `HILO_NATS_SERVER`, else a fitting one on PATH, else the pinned wheel under `.hilo/tools`.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HILO_NATS_SERVER") {
        return Ok(PathBuf::from(path));
    }
    let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.hilo/tools/venv/bin/nats-server");
    [PathBuf::from("nats-server"), tools]
        .into_iter()
        .find(is_new_enough)
        .context("no nats-server of version 2.12 or newer; `make tools` installs one")
}

fn is_new_enough(path: &PathBuf) -> bool {
    let Ok(output) = Command::new(path).arg("--version").output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some(version) = text.trim().rsplit('v').next() else { return false };
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (2, 12)
}
