//! The stack under the demo: the one that runs, or a private one on free ports that ends with the demo.
//!
//! A private one is `hilo run` as a child process, so the demo sees what everybody sees.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use secrecy::SecretString;

use super::clock::until;
use super::scratch::Scratch;
use crate::cli::installation::Local;
use crate::cli::session::Session;
use crate::cli::{Exit, Failure, Installation};
use crate::stack::process::{Launch, Process};

/// A private stack is ready by then: the first start makes a database and migrates it.
const READY: Duration = Duration::from_secs(40);
/// `hilo run` stops its parts within its own hard cap.
const STOP: &[(Signal, Duration)] = &[(Signal::TERM, Duration::from_secs(28))];
/// Variables that would lead `hilo run` elsewhere.
const FOREIGN: [&str; 4] = ["HILO_DATA", "HILO_PORT_BASE", "HILO_CONFIG", "HILO_ENDPOINT"];

/// A running stack.
#[derive(Debug)]
pub struct House {
    /// What its data folder says.
    pub local: Local,
    /// Public endpoint.
    pub endpoint: String,
    /// Signed in as the coordinator.
    pub coordinator: Session,
    /// True when the demo found it running.
    pub found: bool,
    process: Option<Process>,
    // Two demos on one stack would take the mail servers out of each other's accounts.
    _lock: Option<std::fs::File>,
}

impl House {
    /// The running stack, when one answers on the public port, its passwords are known, and no other demo is on it.
    pub async fn running(installation: &Installation) -> Option<Self> {
        let endpoint = installation.endpoint().ok()?;
        let local = installation.local().ok()?;
        let coordinator = coordinator(&local, &endpoint).await.ok()?;
        let lock = local.lock("demo.lock").ok()?;
        Some(Self { local, endpoint, coordinator, found: true, process: None, _lock: Some(lock) })
    }

    /// Starts a private one. Main thread only.
    ///
    /// # Errors
    /// When it does not come up, with the end of its log.
    pub async fn private(scratch: &Scratch) -> Result<Self, Failure> {
        let data = scratch.path().join("data");
        let process = launch(scratch, &data)?.spawn()?;
        let mut house = Self::ready(scratch, &data, process).await?;
        house.endpoint = house.local.endpoint();
        Ok(house)
    }

    async fn ready(scratch: &Scratch, data: &Path, mut process: Process) -> Result<Self, Failure> {
        let installation = Installation { data: data.to_owned(), endpoint: None };
        let log = |failure: Failure| scratch.tail("hilo-run.log").into_iter().fold(failure, Failure::detail);
        let deadline = tokio::time::Instant::now() + READY;
        while !data.join("stack.json").exists() {
            if process.has_ended() || tokio::time::Instant::now() >= deadline {
                process.stop().await;
                return Err(log(Failure::new(
                    Exit::Failed,
                    "STACK_NOT_READY",
                    "the private stack did not come up",
                )));
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let local = installation.local()?;
        let endpoint = local.endpoint();
        let signing_in = until(READY, "a coordinator can sign in", || async {
            coordinator(&local, &endpoint).await.map(Some)
        });
        match signing_in.await {
            Ok(coordinator) => {
                Ok(Self { local, endpoint, coordinator, found: false, process: Some(process), _lock: None })
            }
            Err(failure) => {
                process.stop().await;
                Err(log(failure))
            }
        }
    }

    /// Stops a private one; a found one runs on.
    pub async fn stop(self) {
        if let Some(process) = self.process {
            process.stop().await;
        }
    }
}

fn launch(scratch: &Scratch, data: &Path) -> Result<Launch, Failure> {
    let mut arguments: Vec<OsString> = Vec::new();
    for name in FOREIGN {
        arguments.extend(["-u".into(), name.into()]);
    }
    if let Some(nats) = nats_server() {
        arguments.push(format!("HILO_NATS_SERVER={}", nats.display()).into());
    }
    arguments.push(std::env::current_exe()?.into());
    arguments.extend(["run".into(), "--data".into(), data.into(), "--port-base".into(), "0".into()]);
    Ok(Launch {
        name: "hilo run",
        setpriv: program("setpriv")?,
        privileges: Vec::new(),
        death_signal: "TERM",
        program: program("env")?,
        arguments,
        log: scratch.log("hilo-run.log")?,
        pid_file: scratch.path().join("hilo-run.pid"),
        stop: STOP,
    })
}

/// The wheel that the install script puts below the folder where the demo is started; children start elsewhere.
fn nats_server() -> Option<PathBuf> {
    if std::env::var_os("HILO_NATS_SERVER").is_some() {
        return None;
    }
    Path::new(".hilo/tools/venv/bin/nats-server").canonicalize().ok()
}

/// Finds a program on PATH or where Debian puts those of administrators.
///
/// # Errors
/// `TOOL_MISSING`.
pub fn program(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from));
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| {
        Failure::unavailable("TOOL_MISSING", format!("{name} was not found"))
            .detail("`make demo` installs what it needs")
    })
}

/// Signs in as somebody who may change the directory.
async fn coordinator(local: &Local, endpoint: &str) -> Result<Session, Failure> {
    let users = local.users();
    let likely = users.iter().filter(|user| user.starts_with("coordinador"));
    let mut last = Failure::new(Exit::Denied, "PASSWORD_UNKNOWN", "agents.txt names no coordinator");
    for user in likely {
        let password = local.password(user).unwrap_or_else(|| SecretString::from(String::new()));
        match Session::login(endpoint, user, &password).await {
            Ok(session) => return Ok(session),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}
