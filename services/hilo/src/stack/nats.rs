//! The private nats-server: its configuration, start and stop. Its data is only transport: everything in it can be
//! rebuilt from the databases.

use std::path::PathBuf;
use std::time::Duration;

use hilo_kit::error::Error;
use rustix::process::Signal;

use super::folder::{self, DataFolder, make_private_directory};
use super::ports::Ports;
use super::process::{self, Launch, Process, StopSteps};
use super::progress::Progress;
use super::tools::Tools;

const STOP: StopSteps = &[(Signal::TERM, Duration::from_secs(3))];
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running nats-server.
#[derive(Debug)]
pub struct NatsServer {
    launch: Launch,
    process: Process,
    url: String,
    log: PathBuf,
}

/// Ends a server that an earlier, killed run left on this folder. Answers what was done, for people.
///
/// # Errors
/// When it does not stop.
pub async fn stop_leftover(folder: &DataFolder) -> Result<Option<&'static str>, Error> {
    let pid_file = folder.run().join("nats.pid");
    let stopped = process::stop_leftover("nats-server", &pid_file, &folder.nats(), STOP).await?;
    Ok(stopped.then_some("healed: ended a nats-server that an earlier run left behind"))
}

impl NatsServer {
    /// Writes the configuration and starts the server.
    ///
    /// # Errors
    /// What the server's log says when it does not come up.
    pub async fn start(
        tools: &Tools,
        folder: &DataFolder,
        ports: &Ports,
        sync: &str,
        progress: &mut Progress,
    ) -> Result<Self, Error> {
        make_private_directory(&folder.nats())?;
        let config = folder.nats().join("nats.conf");
        folder::write_private(&config, &configuration(folder, ports, sync)?)?;
        let launch = Launch {
            name: "nats-server",
            setpriv: tools.setpriv.clone(),
            privileges: Vec::new(),
            death_signal: "TERM",
            program: tools.nats.clone(),
            arguments: vec!["-c".into(), config.into_os_string()],
            log: folder.log_file("nats.log")?,
            pid_file: folder.run().join("nats.pid"),
            stop: STOP,
        };
        let process = launch.spawn()?;
        let url = format!("nats://127.0.0.1:{}", ports.nats());
        let mut server = Self { launch, process, url, log: folder.logs().join("nats.log") };
        match server.ready().await {
            Ok(version) => {
                progress.done(&format!("nats-server {version} started on port {}", ports.nats()));
                Ok(server)
            }
            Err(error) => {
                server.process.stop().await;
                Err(error)
            }
        }
    }

    /// Waits until JetStream answers; answers the server's version.
    async fn ready(&mut self) -> Result<String, Error> {
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        loop {
            if let Some(version) = self.answers().await {
                return Ok(version);
            }
            if self.process.has_ended() || tokio::time::Instant::now() >= deadline {
                let text = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last = text.lines().rev().find(|line| line.contains("[FTL]") || line.contains("[ERR]"));
                let said = last.or(text.lines().last()).unwrap_or("its log is empty").to_owned();
                let text = format!("nats-server did not start: {said} (whole log: {})", self.log.display());
                return Err(Error::unavailable("START_FAILED", text));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn answers(&self) -> Option<String> {
        let client = async_nats::ConnectOptions::new()
            .connection_timeout(Duration::from_secs(2))
            .max_reconnects(1)
            .connect(&self.url)
            .await
            .ok()?;
        let context = async_nats::jetstream::new(client.clone());
        context.query_account().await.ok()?;
        Some(client.server_info().version)
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
        self.process = self.launch.spawn()?;
        self.ready().await.map(|_| ())
    }

    /// Stops the server.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

fn configuration(folder: &DataFolder, ports: &Ports, sync: &str) -> Result<String, Error> {
    let well_formed = !sync.is_empty() && sync.chars().all(|character| character.is_ascii_alphanumeric());
    if !well_formed {
        let text = "--nats-sync is a duration such as 10s or 2m, or `always`";
        return Err(Error::invalid("BAD_NATS_SYNC", text));
    }
    // JSON strings are strings of nats-server's configuration language too.
    let store = serde_json::Value::from(folder.nats().join("data").to_string_lossy().into_owned());
    Ok(format!(
        "# Written by `hilo run` at every start.\n\
         server_name: hilo-embedded\n\
         listen: \"127.0.0.1:{}\"\n\
         http: \"127.0.0.1:{}\"\n\
         jetstream {{\n  store_dir: {store}\n  sync_interval: {sync}\n  max_file_store: 4GB\n  max_memory_store: 128MB\n}}\n",
        ports.nats(),
        ports.nats_monitor(),
    ))
}
