//! `hilo run` as a newcomer starts it: one public port for gRPC and gRPC-web, one for mail, the demo directory with its agents.
//!
//! For clients that are to meet Hilo exactly as the README describes it. It finds its way by the files that the running
//! stack writes into its data folder, as those clients do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hilo_test_support::{Launch, Process};
use tempfile::TempDir;

use crate::agent::Endpoints;
use crate::binary;

/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running stack; dies with this value.
pub struct Embedded {
    process: Process,
    stack: serde_json::Value,
    folder: TempDir,
}

impl Embedded {
    /// Starts it on free ports and waits until it says that it runs.
    ///
    /// # Errors
    /// When a part is missing or does not come up; the message holds the end of what it said.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hilo-embedded-").tempdir()?;
        let log = folder.path().join("said.txt");
        let data = folder.path().join("data");
        let launch = Launch {
            program: binary::hilo()?,
            arguments: ["run", "--port-base", "0", "--data"]
                .into_iter()
                .map(Into::into)
                .chain([data.clone().into()])
                .collect(),
            environment: nats_server().into_iter().collect(),
            death_signal: "TERM".to_owned(),
            log: log.clone(),
            folder: folder.path().to_owned(),
            ..Launch::default()
        };
        let mut process = launch.spawn()?;
        let started = Instant::now();
        while !std::fs::read_to_string(&log)?.contains("\nHilo is running") {
            let waiting = process.is_running() && started.elapsed() < PATIENCE;
            anyhow::ensure!(waiting, "hilo run did not come up: {}", process.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let stack = std::fs::read_to_string(data.join("stack.json")).context("stack.json")?;
        Ok(Self { process, stack: serde_json::from_str(&stack)?, folder })
    }

    fn text(&self, name: &str) -> Result<&str> {
        self.stack
            .get(name)
            .and_then(serde_json::Value::as_str)
            .with_context(|| format!("{name} in stack.json"))
    }

    /// The public address, `http://host:port`.
    ///
    /// # Errors
    /// When the stack did not write it.
    pub fn front(&self) -> Result<&str> {
        self.text("front")
    }

    /// The broker's address.
    ///
    /// # Errors
    /// When the stack did not write it.
    pub fn nats(&self) -> Result<&str> {
        self.text("nats")
    }

    /// Where mail is accepted.
    ///
    /// # Errors
    /// When the stack did not write it.
    pub fn smtp(&self) -> Result<SocketAddr> {
        Ok(self.text("smtp")?.parse()?)
    }

    /// File with the users' passwords.
    ///
    /// # Errors
    /// When the stack did not write it.
    pub fn passwords(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(self.text("agents")?))
    }

    /// A user's password.
    ///
    /// # Errors
    /// When he has none.
    pub fn password(&self, user: &str) -> Result<String> {
        let text = std::fs::read_to_string(self.passwords()?)?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(name, _)| *name == user).with_context(|| format!("no user {user}"))?;
        Ok(found.1.trim().to_owned())
    }

    /// The mails that customers received, as text.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn received(&self) -> Result<Vec<String>> {
        let files = std::fs::read_dir(self.text("outbox")?)?;
        let mails = files.flatten().map(|entry| entry.path());
        let mails = mails.filter(|path| path.extension().is_some_and(|extension| extension == "eml"));
        Ok(mails
            .map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned())
            .collect())
    }

    /// A folder that is deleted with the stack.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The command line as somebody at this machine uses it: `hilo ARGUMENTS --as USER`; what it prints.
    ///
    /// # Errors
    /// When it fails; the message holds what it said.
    pub async fn hilo(&self, user: &str, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(binary::hilo()?);
        command.args(arguments).args(["--as", user]).arg("--data").arg(self.folder.path().join("data"));
        let asked = command.current_dir(self.folder.path()).kill_on_drop(true).output();
        let output =
            tokio::time::timeout(PATIENCE, asked).await.context("the command line does not end")??;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let failed = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "hilo {arguments:?}: {}\n{said}{failed}", output.status);
        Ok(said)
    }

    /// Its services, all of them behind the one public port.
    ///
    /// # Errors
    /// When the stack did not write it.
    pub fn endpoints(&self) -> Result<Endpoints> {
        let front = self.front()?.to_owned();
        Ok(Endpoints { attention_state: front.clone(), routing: front.clone(), history: front })
    }

    /// Stops it as Ctrl-C does.
    ///
    /// # Errors
    /// When it does not stop, or not well.
    pub async fn stop(mut self) -> Result<()> {
        self.process.signal("INT")?;
        let status = self.process.wait(PATIENCE).await?;
        anyhow::ensure!(status.success(), "hilo run ended with {status}: {}", self.process.log_tail());
        Ok(())
    }
}

/// The wheel that `make tools` installs, when nothing else was named: the build folder may lie outside the repository.
fn nats_server() -> Option<(String, String)> {
    let wheel = binary::python_tool("nats-server").ok()?;
    let named = std::env::var_os("HILO_NATS_SERVER").is_some();
    (!named).then(|| ("HILO_NATS_SERVER".to_owned(), wheel.display().to_string()))
}
