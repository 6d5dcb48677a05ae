//! Where Hilo's mail goes: aiosmtpd, an SMTP server that is not our code, which keeps every mail as a file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::clock::{until, wrong};
use super::house::program;
use super::scratch::Scratch;
use crate::cli::Failure;
use crate::cli::mail::mailbox::{self, Received};
use crate::stack::process::{Launch, Process};

const SCRIPT: &str = include_str!("../../../../tests/support/aiosmtpd_sink.py");
const READY: Duration = Duration::from_secs(15);
const STOP: &[(Signal, Duration)] = &[(Signal::TERM, Duration::from_secs(3))];

/// A running server.
#[derive(Debug)]
pub struct Sink {
    /// SMTP port.
    pub port: u16,
    folder: PathBuf,
    process: Process,
}

impl Sink {
    /// Starts it on a free port. Main thread only.
    ///
    /// # Errors
    /// When the Python environment of `make demo` is missing or the server does not come up.
    pub async fn start(scratch: &Scratch) -> Result<Self, Failure> {
        let folder = scratch.folder("sink")?;
        let script = scratch.path().join("aiosmtpd_sink.py");
        std::fs::write(&script, SCRIPT)?;
        let port_file = scratch.path().join("sink.port");
        let launch = Launch {
            name: "aiosmtpd",
            setpriv: program("setpriv")?,
            privileges: Vec::new(),
            death_signal: "TERM",
            program: python()?,
            arguments: vec![
                script.into(),
                "--folder".into(),
                folder.clone().into(),
                "--port-file".into(),
                port_file.clone().into(),
            ],
            log: scratch.log("sink.log")?,
            pid_file: scratch.path().join("sink.pid"),
            stop: STOP,
        };
        let process = launch.spawn()?;
        let port = until(READY, "aiosmtpd listens", || async {
            Ok(std::fs::read_to_string(&port_file).ok().and_then(|text| text.trim().parse().ok()))
        });
        match port.await {
            Ok(port) => Ok(Self { port, folder, process }),
            Err(failure) => {
                process.stop().await;
                Err(scratch.tail("sink.log").into_iter().fold(failure, Failure::detail))
            }
        }
    }

    /// The mail with this Message-ID, once it has been received; exactly one.
    ///
    /// # Errors
    /// When it does not come in time, or came twice.
    pub async fn wait_for(&self, message_id: &str, limit: Duration) -> Result<Received, Failure> {
        let what = format!("aiosmtpd receives <{message_id}>");
        until(limit, &what, || async {
            let mut mails = mailbox::read(&self.folder, None)?;
            mails.retain(|mail| mail.message_id == message_id);
            match mails.len() {
                0 | 1 => Ok(mails.pop()),
                count => Err(wrong(format!("<{message_id}> was received {count} times"))),
            }
        })
        .await
    }

    /// Stops it.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

/// The interpreter of the environment that `make demo` installs.
fn python() -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok().and_then(|exe| {
        // target/debug/hilo: the repository is two folders up.
        Some(exe.parent()?.parent()?.parent()?.join(".hilo/tools/venv/bin/python"))
    });
    let here = Path::new(".hilo/tools/venv/bin/python");
    let candidates = [std::path::absolute(here).ok(), beside];
    // Not canonicalised: the link's own place is what makes it the environment's interpreter.
    candidates.into_iter().flatten().find(|file| file.is_file()).ok_or_else(|| {
        Failure::unavailable("TOOL_MISSING", "the Python environment in .hilo/tools/venv is missing")
            .detail("`make demo` installs it")
    })
}
