//! Child processes that cannot outlive us: started with a death signal, stopped step by step, and, when an earlier run
//! was killed, found again by their pid file and only ended when their command line names our data folder.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hilo_kit::error::Error;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::{folder, poll};

/// What a process is sent to make it stop, and how long it is given after each signal.
pub type StopSteps = &'static [(Signal, Duration)];

/// How to start a program; kept, so that it can be started again.
#[derive(Debug)]
pub struct Launch {
    /// Name for people.
    pub name: &'static str,
    /// The `setpriv` program, which sets the death signal and drops root.
    pub setpriv: PathBuf,
    /// Further arguments of `setpriv`, for instance another user.
    pub privileges: Vec<OsString>,
    /// Signal that the kernel sends the child when the thread that started it ends (setpriv's name for it).
    pub death_signal: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where its output goes.
    pub log: File,
    /// Where its process id is noted.
    pub pid_file: PathBuf,
    /// Signals that stop it, the polite one first.
    pub stop: StopSteps,
}

impl Launch {
    /// Starts the program in a process group of its own, so that Ctrl-C in the terminal reaches only us and we decide
    /// the order of stopping. The calling thread must live as long as the child may.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self) -> Result<Process, Error> {
        let failed = |error: std::io::Error| {
            let text = format!("{} could not be started: {error}", self.name);
            Error::unavailable("START_FAILED", text)
        };
        let child = Command::new(&self.setpriv)
            .args(&self.privileges)
            .args(["--pdeathsig", self.death_signal, "--"])
            .arg(&self.program)
            .args(&self.arguments)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(self.log.try_clone().map_err(failed)?)
            .stderr(self.log.try_clone().map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid =
            pid.ok_or_else(|| Error::unavailable("START_FAILED", format!("{} ended at once", self.name)))?;
        folder::write_private(&self.pid_file, &format!("{}\n", pid.as_raw_nonzero()))?;
        Ok(Process { name: self.name, child, pid, pid_file: self.pid_file.clone(), stop: self.stop })
    }
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    pid: Pid,
    pid_file: PathBuf,
    stop: StopSteps,
}

impl Process {
    /// Waits until it ends; may be dropped and called again.
    pub async fn ended(&mut self) {
        // An error means that it was reaped already: it has ended.
        let _ = self.child.wait().await;
    }

    /// True when it has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Stops it: each signal of its list in turn, at last SIGKILL.
    pub async fn stop(mut self) {
        for (signal, patience) in self.stop {
            if self.has_ended() {
                break;
            }
            // A failure means that it has just ended.
            let _ = kill_process(self.pid, *signal);
            if tokio::time::timeout(*patience, self.child.wait()).await.is_ok() {
                break;
            }
            tracing::warn!(process = self.name, ?signal, "did not stop in time");
        }
        if !self.has_ended() {
            let _ = self.child.kill().await;
        }
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

/// Ends a process that an earlier run left behind: the one in `pid_file`, if its command line names `folder`.
/// Answers whether there was one.
///
/// # Errors
/// `LEFTOVER_PROCESS` when it does not go away.
pub async fn stop_leftover(
    name: &str,
    pid_file: &Path,
    folder: &Path,
    stop: StopSteps,
) -> Result<bool, Error> {
    let Some(pid) = pid_in(pid_file).filter(|pid| is_ours(*pid, folder)) else {
        return Ok(false);
    };
    let last = (Signal::KILL, Duration::from_secs(5));
    for (signal, patience) in stop.iter().chain([&last]) {
        let _ = kill_process(pid, *signal);
        let gone = poll(*patience, || async { (!is_ours(pid, folder)).then_some(()) }).await;
        if gone.is_some() {
            let _ = std::fs::remove_file(pid_file);
            return Ok(true);
        }
    }
    let text = format!("{name} of an earlier run (process {}) does not stop", pid.as_raw_nonzero());
    Err(Error::unavailable("LEFTOVER_PROCESS", text))
}

/// The process id in the first line of the file.
pub fn pid_in(file: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(file).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

/// True when the process lives (a zombie does not) and one of its arguments names something in `folder`.
pub fn is_ours(pid: Pid, folder: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    // An empty command line is a zombie or a kernel thread.
    let Ok(command) = std::fs::read(process.join("cmdline")) else { return false };
    let folder = folder.as_os_str().as_encoded_bytes();
    command.split(|byte| *byte == 0).any(|argument| contains(argument, folder))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: StopSteps = &[(Signal::TERM, Duration::from_secs(5))];

    #[tokio::test]
    async fn only_a_process_that_names_our_folder_is_ended() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("some.pid");
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60; true"])
            .arg(directory.path())
            .spawn()
            .unwrap();
        std::fs::write(&pid_file, format!("{}\n", child.id())).unwrap();
        // The kernel lets the parent go on before the new program's arguments can be read.
        let arguments = format!("/proc/{}/cmdline", child.id());
        while std::fs::read(&arguments).unwrap().is_empty() {
            tokio::task::yield_now().await;
        }

        let elsewhere = Path::new("/somewhere/else");
        assert!(!stop_leftover("it", &pid_file, elsewhere, STEPS).await.unwrap());
        assert!(child.try_wait().unwrap().is_none());
        assert!(stop_leftover("it", &pid_file, directory.path(), STEPS).await.unwrap());
        assert!(!child.wait().unwrap().success());
        assert!(!pid_file.exists());
    }
}
