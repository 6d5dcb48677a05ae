//! A private PostgreSQL: one server per test process, a fresh database per test. Durable (fsync on) unless asked otherwise.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::sync::{Mutex, OnceCell};

use crate::process::{Launch, Process};
use crate::{eventually, free_port};

/// A server of its own.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    folder: PathBuf,
    launch: Launch,
    process: Mutex<Option<Process>>,
}

/// A server that is up answers a new client within this time.
const ANSWER: Duration = Duration::from_secs(10);

static SHARED: OnceCell<Postgres> = OnceCell::const_new();

impl Postgres {
    /// The server shared by all tests of this process; it dies with the process.
    ///
    /// # Errors
    /// When PostgreSQL is missing or does not come up.
    pub async fn shared() -> Result<&'static Self> {
        SHARED.get_or_try_init(|| Self::start(true)).await
    }

    /// Starts one; `durable` keeps fsync and synchronous_commit on, as wherever loss is tested.
    ///
    /// # Errors
    /// As [`Postgres::shared`].
    pub async fn start(durable: bool) -> Result<Self> {
        sweep();
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("hilo-postgres-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let binaries = binaries()?;
        let privileges = privileges(&folder)?;
        initialise(&binaries, &folder, &privileges)?;
        let switch = if durable { "on" } else { "off" };
        let data = folder.join("data").display().to_string();
        let mut arguments: Vec<String> = vec!["-D".into(), data, "-p".into(), port.to_string()];
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", folder.display()),
            "max_connections=400".to_owned(),
            "shared_buffers=64MB".to_owned(),
            // As the embedded stack has it and deploy/README.md advises.
            "jit=off".to_owned(),
            "autovacuum_naptime=10s".to_owned(),
            format!("fsync={switch}"),
            format!("synchronous_commit={switch}"),
            format!("full_page_writes={switch}"),
        ] {
            arguments.extend(["-c".into(), setting]);
        }
        let launch = Launch {
            program: binaries.join("postgres"),
            arguments: arguments.into_iter().map(Into::into).collect(),
            privileges,
            death_signal: "QUIT".to_owned(),
            log: folder.join("postgres.log"),
            ..Launch::default()
        };
        let server = Self { port, folder, launch, process: Mutex::new(None) };
        server.restart().await?;
        Ok(server)
    }

    /// Address of a database on it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// What the server has said since it was started first.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(&self.launch.log).context("log of PostgreSQL")
    }

    /// Makes an empty database; its address.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn fresh_database(&self) -> Result<String> {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        // The name is made of hexadecimal digits here.
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        connection.close().await?;
        Ok(self.url(&name))
    }

    /// `kill -9` of the server process; its backends end when they notice.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill_9(&self) -> Result<()> {
        if let Some(mut process) = self.process.lock().await.take() {
            process.kill_9()?;
        }
        Ok(())
    }

    /// Starts it again on the same port and data; waits until recovery is over.
    ///
    /// # Errors
    /// When it does not come up within a minute.
    pub async fn restart(&self) -> Result<()> {
        self.kill_9().await?;
        let mut current = self.process.lock().await;
        let started = std::time::Instant::now();
        loop {
            let mut process = self.launch.spawn()?;
            let url = self.url("postgres");
            let up = eventually("PostgreSQL accepts clients", Duration::from_secs(60), || {
                let (url, running) = (url.clone(), process.is_running());
                async move {
                    // Somebody else may listen there, and never answer.
                    let connected = tokio::time::timeout(ANSWER, PgConnection::connect(&url));
                    !running || matches!(connected.await, Ok(Ok(_)))
                }
            });
            up.await.with_context(|| self.folder.join("postgres.log").display().to_string())?;
            if process.is_running() {
                *current = Some(process);
                return Ok(());
            }
            // Right after a kill the old backends still hold the shared memory; the server refuses and is tried again.
            anyhow::ensure!(
                started.elapsed() < Duration::from_secs(60),
                "PostgreSQL: {}",
                process.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = self.process.get_mut().take() {
            let _ = process.signal("QUIT");
            std::thread::sleep(Duration::from_millis(200));
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn initialise(binaries: &Path, folder: &Path, privileges: &[String]) -> Result<()> {
    let output = Command::new("setpriv")
        .args(privileges)
        .args(["--", &binaries.join("initdb").display().to_string(), "-D"])
        .arg(folder.join("data"))
        .args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        ])
        .current_dir("/")
        .output()
        .context("initdb")?;
    anyhow::ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// initdb refuses root: as root another user owns the folder and runs the server.
fn privileges(folder: &Path) -> Result<Vec<String>> {
    let root = Command::new("id").arg("-u").output()?.stdout.starts_with(b"0\n");
    if !root {
        return Ok(Vec::new());
    }
    let exists =
        |user: &str| Command::new("id").arg(user).output().is_ok_and(|output| output.status.success());
    let user = if exists("postgres") { "postgres" } else { "nobody" };
    let status = Command::new("chown").arg(user).arg(folder).status()?;
    anyhow::ensure!(status.success(), "chown {user} {}", folder.display());
    Ok(vec![
        format!("--reuid={user}"),
        "--clear-groups".to_owned(),
        "--regid".to_owned(),
        group(user)?,
        "--reset-env".to_owned(),
    ])
}

fn group(user: &str) -> Result<String> {
    let output = Command::new("id").args(["-g", user]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// `PG_BIN`, else Debian's folders (PATH may hold wrappers), else PATH.
fn binaries() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PG_BIN") {
        return Ok(PathBuf::from(path));
    }
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
        .unwrap_or_default();
    folders.sort();
    folders.reverse();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders
        .into_iter()
        .find(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file())
        .context("no PostgreSQL found; `make tools` installs it, PG_BIN names another")
}

/// Removes the folders of servers whose test process is gone (a shared server is not dropped at exit).
fn sweep() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner =
            name.strip_prefix("hilo-postgres-").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
