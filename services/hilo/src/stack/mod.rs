//! The embedded stack: everything Hilo needs on one machine for evaluation, started privately and stopped again.
//!
//! Owns the data folder (`.hilo/` by default) and the PostgreSQL and nats-server processes in it. The services know
//! nothing of it: they get a configuration file and speak to the same kinds of parts as in production.

pub mod account;
pub mod cluster;
pub mod config;
pub mod directory;
pub mod folder;
pub mod mailbox;
pub mod meta;
pub mod nats;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod progress;
pub mod secrets;
pub mod terminal;
pub mod tools;
pub mod welcome;

use std::time::Duration;

use hilo_kit::error::Error;

use self::folder::DataFolder;
use self::nats::NatsServer;
use self::ports::Ports;
use self::postgres::Postgres;
use self::progress::Progress;
use self::secrets::Secrets;
use self::tools::Tools;

/// Databases of the services that must remember; routing has none.
pub const DATABASES: [&str; 4] = ["hilo_email", "hilo_whatsapp", "hilo_attention", "hilo_history"];

/// What `hilo run` was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// First of the block of ports; the documented ones are those of base 8400.
    pub port_base: u16,
    /// nats-server's `sync_interval`: a duration such as `2m`, or `always`.
    pub nats_sync: String,
    /// Database fsync; off only for tests that do not claim durability.
    pub fsync: bool,
}

/// A running PostgreSQL and nats-server with everything the services need to start.
#[derive(Debug)]
pub struct Stack {
    /// The data folder, locked for this process.
    pub folder: DataFolder,
    /// Ports in use.
    pub ports: Ports,
    /// Keys and passwords.
    pub secrets: Secrets,
    postgres: Postgres,
    nats: NatsServer,
}

/// Which of the two ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// PostgreSQL.
    Postgres,
    /// nats-server.
    Nats,
}

impl Stack {
    /// Heals the folder, checks the ports, starts PostgreSQL and nats-server, creates the databases.
    ///
    /// Must be awaited on the main thread: the children die with the thread that started them.
    ///
    /// # Errors
    /// A missing tool, an occupied port, data of another PostgreSQL, or a part that does not come up; the message says
    /// what to do.
    pub async fn start(
        folder: DataFolder,
        options: &Options,
        progress: &mut Progress,
    ) -> Result<Self, Error> {
        let tools = Tools::find(folder.root())?;
        for healed in
            [postgres::stop_leftover(&folder).await?, nats::stop_leftover(&folder).await?].iter().flatten()
        {
            progress.note(healed);
        }
        let ports = Ports::new(options.port_base)?;
        ports.check_free()?;
        let secrets = Secrets::load_or_create(&folder)?;

        let settings = postgres::Settings { port: ports.postgres(), fsync: options.fsync };
        let postgres = Postgres::start(&tools, &folder, &secrets, settings, progress).await?;
        let nats = match NatsServer::start(&tools, &folder, &ports, &options.nats_sync, progress).await {
            Ok(nats) => nats,
            Err(error) => {
                postgres.stop().await;
                return Err(error);
            }
        };
        let stack = Self { folder, ports, secrets, postgres, nats };
        if let Err(error) = stack.prepare().await {
            stack.stop().await;
            return Err(error);
        }
        Ok(stack)
    }

    async fn prepare(&self) -> Result<(), Error> {
        self.postgres.create_databases(&self.secrets, &DATABASES).await?;
        config::write(&self.folder, &self.ports, &self.secrets)
    }

    /// Waits until one of the two processes ends by itself.
    pub async fn ended(&mut self) -> Ended {
        tokio::select! {
            () = self.postgres.ended() => Ended::Postgres,
            () = self.nats.ended() => Ended::Nats,
        }
    }

    /// Starts the ended part again on its data. Main thread only, like [`Stack::start`].
    ///
    /// # Errors
    /// As at the start.
    pub async fn restart(&mut self, part: Ended) -> Result<(), Error> {
        match part {
            Ended::Postgres => self.postgres.restart().await,
            Ended::Nats => self.nats.restart().await,
        }
    }

    /// Stops nats-server, then PostgreSQL, each politely first; never takes longer than about 30 s.
    pub async fn stop(self) {
        self.nats.stop().await;
        self.postgres.stop().await;
    }
}

/// Runs `attempt` until it answers `Some`, at most `limit`, with a short pause between.
pub(crate) async fn poll<T, F, Fut>(limit: Duration, mut attempt: F) -> Option<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        if let Some(value) = attempt().await {
            return Some(value);
        }
        if tokio::time::Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
