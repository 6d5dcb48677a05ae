//! Five separate processes of the real binary on a private PostgreSQL and nats-server, with a real SMTP server behind and,
//! when asked, a real IMAP server in front.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use hilo_kit::auth::{Issuer, Keys, generate_keys};
use hilo_test_support::{Launch, Nats, Postgres, Process, eventually, free_port};
use parking_lot::Mutex;
use tempfile::TempDir;
use tonic_health_check::readiness;

use crate::agent::{Agent, Endpoints};
use crate::customer::Mail;
use crate::faults::FaultFolder;
use crate::sink::Sink;
use crate::{binary, directory};

mod administer;
mod meta;
mod replica;
mod settings;
mod tonic_health_check;

pub use replica::Replica;

/// A service process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// email-ingest.
    EmailIngest,
    /// whatsapp-ingest.
    WhatsappIngest,
    /// attention-state.
    AttentionState,
    /// routing.
    Routing,
    /// history.
    History,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 5] =
        [Self::AttentionState, Self::Routing, Self::EmailIngest, Self::WhatsappIngest, Self::History];

    /// Name as in `hilo run NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EmailIngest => "email-ingest",
            Self::WhatsappIngest => "whatsapp-ingest",
            Self::AttentionState => "attention-state",
            Self::Routing => "routing",
            Self::History => "history",
        }
    }
}

/// Anything that can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A service process.
    Service(Service),
    /// The broker.
    Nats,
    /// The database server.
    Postgres,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of agents, members of every campaign.
    pub agents: usize,
    /// Capacity of each, per channel.
    pub capacity: u32,
    /// Assignment mode of the campaigns.
    pub mode: &'static str,
    /// Accept timeout in seconds, 0 is off.
    pub accept_timeout_seconds: u32,
    /// What a campaign overflows into: campaign key, and its lines of the directory.
    pub overflow: &'static [(&'static str, &'static str)],
    /// Orphan timeout of the campaigns in seconds, 0 is off.
    pub orphan_timeout_seconds: u32,
    /// Start Dovecot and fetch from it.
    pub imap: bool,
    /// Start the simulator of WhatsApp's Cloud API, with an account and a campaign of the channel.
    pub whatsapp: bool,
    /// OTLP endpoint to export to.
    pub otlp_endpoint: Option<String>,
    /// Seconds after which bodies leave for the history.
    pub purge_after_seconds: u64,
    /// The broker syncs every write before it acknowledges it (`sync_interval: always`).
    pub synced_broker: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            agents: 2,
            capacity: 500,
            mode: "everyone",
            accept_timeout_seconds: 0,
            overflow: &[],
            orphan_timeout_seconds: 0,
            imap: false,
            whatsapp: false,
            otlp_endpoint: None,
            purge_after_seconds: 86_400,
            synced_broker: false,
        }
    }
}

/// A running installation; everything dies with it.
pub struct Installation {
    options: Options,
    keys: Keys,
    ports: BTreeMap<Service, u16>,
    smtp_port: u16,
    configuration: PathBuf,
    processes: Mutex<BTreeMap<Service, Process>>,
    faults: FaultFolder,
    sink: Sink,
    dovecot: Option<hilo_test_support::Dovecot>,
    meta: Option<meta::Meta>,
    nats: tokio::sync::Mutex<Nats>,
    nats_url: String,
    postgres: Postgres,
    folder: TempDir,
}

impl Installation {
    /// Starts everything and waits until every service is ready.
    ///
    /// # Errors
    /// When a part is missing or does not come up; the message holds the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        hilo_kit::install_crypto();
        let folder = tempfile::Builder::new().prefix("hilo-installation-").tempdir()?;
        let postgres = Postgres::start(true).await?;
        let nats = if options.synced_broker { Nats::start_synced().await? } else { Nats::start().await? };
        let sink = Sink::start(folder.path()).await?;
        let dovecot = if options.imap { Some(settings::mailbox().await?) } else { None };
        let meta = if options.whatsapp { Some(meta::Meta::start().await?) } else { None };
        let faults = FaultFolder::create(&folder.path().join("faults"))?;
        let installation = Self {
            keys: generate_keys().map_err(|error| anyhow::anyhow!("{error}"))?,
            ports: Service::ALL.into_iter().map(|service| (service, free_port())).collect(),
            smtp_port: free_port(),
            configuration: folder.path().join("hilo.yaml"),
            processes: Mutex::default(),
            nats_url: nats.url(),
            nats: tokio::sync::Mutex::new(nats),
            options,
            faults,
            sink,
            dovecot,
            meta,
            postgres,
            folder,
        };
        std::fs::write(&installation.configuration, settings::yaml(&installation))?;
        installation.migrate().await?;
        for service in Service::ALL {
            installation.spawn(service)?;
        }
        installation.ready(Service::AttentionState).await?;
        installation.apply_directory().await?;
        for service in Service::ALL {
            installation.ready(service).await?;
        }
        installation.directory_is_known().await?;
        installation.mail_is_taken().await?;
        if let Some(meta) = &installation.meta {
            meta.subscribe().await?;
        }
        Ok(installation)
    }

    fn launch(&self, arguments: &[&str], log: &str) -> Result<Launch> {
        let mut environment = vec![
            ("HILO_FAULT_DIR".to_owned(), self.faults.path().display().to_string()),
            ("HILO_SECRET_BUZON_IMAP".to_owned(), "secreto-del-buzon".to_owned()),
        ];
        environment.extend(meta::Meta::environment());
        environment
            .extend(std::env::var("RUST_BACKTRACE").ok().map(|value| ("RUST_BACKTRACE".to_owned(), value)));
        Ok(Launch {
            program: binary::hilo()?,
            arguments: arguments.iter().map(Into::into).collect(),
            environment,
            log: self.folder.path().join(log),
            folder: self.folder.path().to_owned(),
            ..Launch::default()
        })
    }

    async fn migrate(&self) -> Result<()> {
        let configuration = self.configuration.display().to_string();
        let mut process = self.launch(&["migrate", "--config", &configuration], "migrate.log")?.spawn()?;
        let status = process.wait(Duration::from_secs(60)).await?;
        anyhow::ensure!(status.success(), "hilo migrate: {}", process.log_tail());
        Ok(())
    }

    fn spawn(&self, service: Service) -> Result<()> {
        let configuration = self.configuration.display().to_string();
        let log = format!("{}.log", service.name());
        let process = self.launch(&["run", service.name(), "--config", &configuration], &log)?.spawn()?;
        self.processes.lock().insert(service, process);
        Ok(())
    }

    async fn ready(&self, service: Service) -> Result<()> {
        let url = self.endpoint(service);
        let outcome =
            eventually(&format!("{} is ready", service.name()), Duration::from_secs(60), || readiness(&url))
                .await;
        outcome.with_context(|| self.log_tail(service))
    }

    /// The end of a service's log.
    pub fn log_tail(&self, service: Service) -> String {
        self.processes.lock().get(&service).map_or_else(String::new, Process::log_tail)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(&self, part: Part) -> Result<()> {
        match part {
            Part::Nats => self.nats.lock().await.kill_9(),
            Part::Postgres => self.postgres.kill_9().await,
            Part::Service(service) => {
                let process = self.processes.lock().remove(&service);
                process.map_or(Ok(()), |mut process| process.kill_9().map(drop))
            }
        }
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// When it has not ended within the deadline.
    pub async fn terminate(&self, service: Service, deadline: Duration) -> Result<std::process::ExitStatus> {
        let process = self.processes.lock().remove(&service);
        let mut process = process.context("not running")?;
        process.signal("TERM")?;
        process.wait(deadline).await
    }

    /// Starts a killed part again; a service is not waited for.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_part(&self, part: Part) -> Result<()> {
        match part {
            Part::Nats => self.nats.lock().await.restart().await,
            Part::Postgres => self.postgres.restart().await,
            Part::Service(service) => self.spawn(service),
        }
    }

    /// Waits until every service says it is ready.
    ///
    /// # Errors
    /// When one does not within a minute.
    pub async fn all_ready(&self) -> Result<()> {
        for service in Service::ALL {
            self.ready(service).await?;
        }
        Ok(())
    }

    /// Process id of a running service.
    pub fn process_id(&self, service: Service) -> Option<u32> {
        self.processes.lock().get(&service).map(Process::id)
    }

    /// Which running service has this process id.
    pub fn service_of(&self, process_id: u32) -> Option<Service> {
        self.processes
            .lock()
            .iter()
            .find(|(_, process)| process.id() == process_id)
            .map(|(service, _)| *service)
    }

    /// Deletes everything the (killed) broker stored.
    ///
    /// # Errors
    /// When the folder cannot be removed.
    pub async fn wipe_nats(&self) -> Result<()> {
        self.nats.lock().await.wipe()
    }

    /// gRPC address of a service.
    pub fn endpoint(&self, service: Service) -> String {
        format!("http://127.0.0.1:{}", self.ports.get(&service).copied().unwrap_or_default())
    }

    /// The three public addresses.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints {
            attention_state: self.endpoint(Service::AttentionState),
            routing: self.endpoint(Service::Routing),
            history: self.endpoint(Service::History),
        }
    }

    /// Where mail is accepted.
    pub fn smtp(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.smtp_port))
    }

    /// Address of the account that receives by SMTP.
    pub fn support_address(&self) -> &'static str {
        directory::SUPPORT
    }

    /// Address of the account whose mail is fetched by IMAP.
    pub fn imap_address(&self) -> &'static str {
        directory::MAILBOX
    }

    /// Files a mail in the mailbox that is fetched by IMAP.
    ///
    /// # Errors
    /// When the installation was started without one.
    pub fn deliver_to_mailbox(&self, mail: &Mail) -> Result<()> {
        let dovecot = self.dovecot.as_ref().context("started without IMAP")?;
        dovecot.deliver("buzon", &mail.build()?.formatted())
    }

    /// Keys of the agents.
    pub fn agent_keys(&self) -> Vec<String> {
        (0..self.options.agents).map(directory::agent_key).collect()
    }

    /// Signs a user in.
    ///
    /// # Errors
    /// When the credentials are refused.
    pub async fn login(&self, user: &str) -> Result<Agent> {
        Agent::login(&self.endpoints(), user, &directory::password(user)).await
    }

    /// A user with a token issued here, without signing in: hundreds of passwords would take minutes to hash.
    ///
    /// # Errors
    /// When the installation's key or address is invalid.
    pub fn signed_in(&self, user: &str) -> Result<Agent> {
        let issuer = Issuer::new(self.keys.signing_key.expose(), "hilo").context("issuer")?;
        let issued =
            issuer.issue(user, hilo_kit::clock::wall(), Duration::from_secs(3600)).context("token")?;
        Agent::with_token(&self.endpoints(), user, &issued.token)
    }

    /// Makes links as the installation does.
    pub fn links(&self) -> hilo_kit::download::Links {
        hilo_kit::download::Links::of_installation(&self.keys.auth_config("hilo"))
    }

    /// The receiver of outgoing mail.
    pub fn sink(&self) -> &Sink {
        &self.sink
    }

    /// The fault points' folder.
    pub fn faults(&self) -> &FaultFolder {
        &self.faults
    }

    /// Broker address.
    pub fn nats_url(&self) -> &str {
        &self.nats_url
    }

    /// Subject prefix.
    pub fn prefix(&self) -> &'static str {
        settings::PREFIX
    }

    /// Address of a service's database.
    pub fn database(&self, name: &str) -> String {
        self.postgres.url(name)
    }

    /// Folder of the logs and the configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
