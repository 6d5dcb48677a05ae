//! The private PostgreSQL: started, restarted and stopped here, on loopback only, with passwords.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hilo_kit::error::Error;
use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::account::Account;
use super::cluster;
use super::folder::{DataFolder, make_directory, unusable};
use super::poll;
use super::process::{self, Launch, Process, StopSteps};
use super::progress::Progress;
use super::secrets::Secrets;
use super::tools::Tools;

/// Fast shutdown (sessions are cut, data is flushed), then immediate; see PostgreSQL's "Shutting Down the Server".
const STOP: StopSteps = &[(Signal::INT, Duration::from_secs(8)), (Signal::QUIT, Duration::from_secs(3))];
/// Recovery after a crash can take this long on a slow disk.
const START_LIMIT: Duration = Duration::from_secs(90);
/// After this long a person is told that it takes longer.
const SLOW: Duration = Duration::from_secs(3);
/// The role the services use: owner of their databases, not a superuser, as in production.
pub const ROLE: &str = "hilo";

/// How the server is run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Loopback port.
    pub port: u16,
    /// Whether commits wait for the disk.
    pub fsync: bool,
}

/// A running PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    launch: Launch,
    process: Process,
    options: PgConnectOptions,
    log: PathBuf,
}

/// Where the cluster lies.
pub fn data(folder: &DataFolder) -> PathBuf {
    folder.postgres().join("data")
}

/// Ends a server that an earlier, killed run left on this folder, and forgets a stale pid file that another program's
/// process happens to match (PostgreSQL itself would refuse to start then). Answers what was done, for people.
///
/// # Errors
/// When it does not stop.
pub async fn stop_leftover(folder: &DataFolder) -> Result<Option<&'static str>, Error> {
    let data = data(folder);
    let pid_file = data.join("postmaster.pid");
    if process::stop_leftover("PostgreSQL", &pid_file, &data, STOP).await? {
        return Ok(Some("healed: ended a PostgreSQL that an earlier run left behind"));
    }
    if pid_file.exists() {
        // Nothing of ours runs and the folder is locked for us, so nobody else can mean it.
        fs::remove_file(&pid_file).map_err(|error| unusable(&pid_file, error))?;
        return Ok(Some("healed: PostgreSQL had not been stopped properly; it recovers from its log"));
    }
    Ok(None)
}

impl Postgres {
    /// Makes the data folder if needed and starts the server.
    ///
    /// # Errors
    /// `DATABASE_DAMAGED`, or what the server's log says when it does not come up.
    pub async fn start(
        tools: &Tools,
        folder: &DataFolder,
        secrets: &Secrets,
        settings: Settings,
        progress: &mut Progress,
    ) -> Result<Self, Error> {
        let account = Account::choose(&folder.postgres())?;
        make_directory(&folder.postgres())?;
        account.give(&folder.postgres())?;
        let fresh = cluster::initialise(tools, folder, secrets, &account, progress).await?;
        let log = folder.logs().join("postgres.log");
        let launch = Launch {
            name: "PostgreSQL",
            setpriv: tools.setpriv.clone(),
            privileges: account.privileges(),
            death_signal: "INT",
            program: tools.postgres.join("postgres"),
            arguments: arguments(folder, settings),
            log: folder.log_file("postgres.log")?,
            pid_file: folder.run().join("postgres.pid"),
            stop: STOP,
        };
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(settings.port)
            .username("postgres")
            .password(&secrets.postgres_password)
            .database("postgres")
            .disable_statement_logging();
        let process = launch.spawn()?;
        let mut server = Self { launch, process, options, log };
        if let Err(error) = server.ready(Some(progress)).await {
            server.process.stop().await;
            return Err(error);
        }
        let made = if fresh { "made and started" } else { "started" };
        progress.done(&format!("PostgreSQL {} {made} on port {}", tools.postgres_major, settings.port));
        Ok(server)
    }

    async fn ready(&mut self, mut progress: Option<&Progress>) -> Result<(), Error> {
        let begun = tokio::time::Instant::now();
        loop {
            let refused = match PgConnection::connect_with(&self.options).await {
                Ok(connection) => {
                    let _ = connection.close().await;
                    return Ok(());
                }
                Err(error) => error,
            };
            // 28P01 is invalid_password: waiting does not help.
            if refused.as_database_error().and_then(|error| error.code()).as_deref() == Some("28P01") {
                return Err(Error::rejected(
                    "PASSWORD_LOST",
                    "secrets.json of the data folder does not fit its database; put the file back, or start over with \
                     `make clean-data`",
                ));
            }
            if self.process.has_ended() || begun.elapsed() >= START_LIMIT {
                return Err(self.failure("PostgreSQL did not start"));
            }
            if let Some(progress) = progress.take_if(|_| begun.elapsed() > SLOW) {
                progress.note("PostgreSQL is not ready yet (after a crash it recovers from its log) ...");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn failure(&self, what: &str) -> Error {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(4).collect();
        let tail = lines.into_iter().rev().collect::<Vec<_>>().join("\n   ");
        Error::unavailable(
            "START_FAILED",
            format!("{what}; the end of {}:\n   {tail}\n  ", self.log.display()),
        )
    }

    /// Creates the services' role and databases; what exists stays, only the password is set again.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn create_databases(&self, secrets: &Secrets, names: &[&str]) -> Result<(), Error> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        let password = &secrets.database_password;
        let exists: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(ROLE)
            .fetch_one(&mut connection)
            .await?;
        // Role names, database names and generated passwords are ours: letters, digits and `_` only.
        let verb = if exists { "alter" } else { "create" };
        let statement = format!("{verb} role {ROLE} login password '{password}'");
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
        for name in names {
            let exists: bool =
                sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                    .bind(name)
                    .fetch_one(&mut connection)
                    .await?;
            if !exists {
                let statement = format!("create database {name} owner {ROLE}");
                sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await?;
            }
        }
        let _ = connection.close().await;
        Ok(())
    }

    /// Waits until the server ends by itself.
    pub async fn ended(&mut self) {
        self.process.ended().await;
    }

    /// Starts the ended server again.
    ///
    /// # Errors
    /// As at the start.
    pub async fn restart(&mut self) -> Result<(), Error> {
        // Backends of a killed postmaster hold its shared memory until they notice, within a second or so.
        let started = poll(Duration::from_secs(10), || async {
            let mut process = self.launch.spawn().ok()?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            (!process.has_ended()).then_some(process)
        });
        let started = started.await;
        self.process = started.ok_or_else(|| self.failure("PostgreSQL did not start again"))?;
        self.ready(None).await
    }

    /// Stops the server: fast, then immediate, then by force.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

fn arguments(folder: &DataFolder, settings: Settings) -> Vec<OsString> {
    let switch = if settings.fsync { "on" } else { "off" };
    let mut arguments: Vec<OsString> = vec!["-D".into(), data(folder).into_os_string()];
    arguments.extend(["-p".into(), settings.port.to_string().into()]);
    let options = [
        "listen_addresses=127.0.0.1".to_owned(),
        // No socket file: its path may be too long for the kernel, and passwords work the same everywhere.
        "unix_socket_directories=".to_owned(),
        "max_connections=200".to_owned(),
        // Short statements only; compiling them costs more than it gains.
        "jit=off".to_owned(),
        // Tables of a new installation grow a hundredfold within a minute; plans made for empty ones last until then.
        "autovacuum_naptime=10s".to_owned(),
        format!("fsync={switch}"),
        format!("full_page_writes={switch}"),
        format!("synchronous_commit={switch}"),
    ];
    for option in options {
        arguments.extend(["-c".into(), option.into()]);
    }
    arguments
}
