//! Child processes that die with the test process, however that ends.
//!
//! The kernel's parent-death signal follows the *thread* that started the child, so all children are started by one
//! thread that lives as long as the process. `setpriv` (util-linux, essential on Debian) sets the signal.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How to start a program; kept, so that it can be started again.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables added to the environment.
    pub environment: Vec<(String, String)>,
    /// Further arguments of `setpriv`, for instance `--reuid=postgres`.
    pub privileges: Vec<String>,
    /// Signal on the parent's death, `setpriv`'s name; empty means `KILL`.
    pub death_signal: String,
    /// File its output is appended to.
    pub log: PathBuf,
    /// Working folder; empty means `/`.
    pub folder: PathBuf,
}

type Order = (Command, Sender<std::io::Result<Child>>);

fn starter() -> Sender<Order> {
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let sender = STARTER.get_or_init(|| {
        let (sender, orders) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    sender.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Launch {
    /// Starts it.
    ///
    /// # Errors
    /// When the program or `setpriv` cannot be started, or the log cannot be written.
    pub fn spawn(&self) -> Result<Process> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| self.log.display().to_string())?;
        let signal = if self.death_signal.is_empty() { "KILL" } else { &self.death_signal };
        let mut command = Command::new("setpriv");
        command
            .args(&self.privileges)
            .args(["--pdeathsig", signal, "--"])
            .arg(&self.program)
            .args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(if self.folder.as_os_str().is_empty() { Path::new("/") } else { &self.folder });
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let (answer, started) = channel();
        starter().send((command, answer)).context("the starting thread is gone")?;
        let child = started.recv().context("the starting thread is gone")?;
        let child = child.with_context(|| format!("start {}", self.program.display()))?;
        Ok(Process { child, log: self.log.clone() })
    }
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// True while it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill_9(&mut self) -> Result<ExitStatus> {
        // An error means that it has ended already.
        let _ = self.child.kill();
        Ok(self.child.wait()?)
    }

    /// Sends a signal by name, for instance `TERM` or `STOP`.
    ///
    /// # Errors
    /// When `kill` fails.
    pub fn signal(&self, name: &str) -> Result<()> {
        // The shell's own kill: a minimal machine has no program of that name (it comes with procps).
        let status = Command::new("sh")
            .args(["-c", "kill -s \"$0\" \"$1\"", name, &self.id().to_string()])
            .status()?;
        anyhow::ensure!(status.success(), "kill -s {name} {}", self.id());
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it has not before the deadline.
    pub async fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            anyhow::ensure!(
                started.elapsed() < deadline,
                "process {} did not end in {deadline:?}",
                self.id()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The end of its output, for messages.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(15)).copied().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill_9();
    }
}
