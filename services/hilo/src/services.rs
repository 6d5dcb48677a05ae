//! The five services as `hilo` starts them: their names, databases, sockets and one way to run each.

use std::path::Path;
use std::time::Duration;

use hilo_kit::config::{self, DatabaseConfig, Section, ServiceConfig};
use hilo_kit::error::Error;
use hilo_kit::grpc;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::telemetry;
use serde::Deserialize;
use tokio::net::TcpListener;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::stack::ports::{Ports, loopback};

/// A service of Hilo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Service {
    /// Attentions, directory, identities.
    AttentionState,
    /// Assignment.
    Routing,
    /// Ended threads.
    History,
    /// Email in and out.
    EmailIngest,
    /// WhatsApp in and out.
    WhatsappIngest,
}

/// Bound sockets of one service.
#[derive(Debug)]
pub struct Sockets {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For incoming mail; only email-ingest has one.
    pub smtp: Option<TcpListener>,
    /// For Meta's webhooks; only whatsapp-ingest has one.
    pub webhook: Option<TcpListener>,
}

impl Service {
    /// All of them, attention-state first: the others ask it for the directory.
    pub const ALL: [Service; 5] = [
        Service::AttentionState,
        Service::Routing,
        Service::History,
        Service::EmailIngest,
        Service::WhatsappIngest,
    ];

    /// Name in configuration, logs and folders.
    pub fn name(self) -> &'static str {
        match self {
            Service::AttentionState => "attention-state",
            Service::Routing => "routing",
            Service::History => "history",
            Service::EmailIngest => "email-ingest",
            Service::WhatsappIngest => "whatsapp-ingest",
        }
    }

    /// Name of the process in telemetry.
    fn process_name(self) -> &'static str {
        match self {
            Service::AttentionState => "hilo-attention-state",
            Service::Routing => "hilo-routing",
            Service::History => "hilo-history",
            Service::EmailIngest => "hilo-email-ingest",
            Service::WhatsappIngest => "hilo-whatsapp-ingest",
        }
    }

    fn port(self, ports: &Ports) -> u16 {
        match self {
            Service::AttentionState => ports.attention_state(),
            Service::Routing => ports.routing(),
            Service::History => ports.history(),
            Service::EmailIngest => ports.email_ingest(),
            Service::WhatsappIngest => ports.whatsapp_ingest(),
        }
    }

    /// Brings the service's database to this release; `false` when it has none.
    ///
    /// # Errors
    /// `SCHEMA_TOO_NEW` when a newer release wrote the database, or what the database refuses.
    pub async fn migrate(self, config: &Path) -> Result<bool, Error> {
        let common = config::load::<Stored>(self.name(), Some(config))?;
        let Some(database) = common.section.database else { return Ok(false) };
        let url = database.url.expose();
        match self {
            Service::AttentionState => hilo_attention_state::migrate(url).await?,
            Service::History => hilo_history::migrate(url).await?,
            Service::EmailIngest => hilo_email_ingest::migrate(url).await?,
            Service::WhatsappIngest => hilo_whatsapp_ingest::migrate(url).await?,
            Service::Routing => return Ok(false),
        }
        Ok(true)
    }

    /// Reads the configuration as the service does.
    ///
    /// # Errors
    /// `INVALID_CONFIG` with every problem.
    pub fn check_config(self, file: &Path) -> Result<(), Error> {
        match self {
            Service::AttentionState => read(self, file).map(|_: hilo_attention_state::Config| ()),
            Service::Routing => read(self, file).map(|_: hilo_routing::Config| ()),
            Service::History => read(self, file).map(|_: hilo_history::Config| ()),
            Service::EmailIngest => read(self, file).map(|_: hilo_email_ingest::Config| ()),
            Service::WhatsappIngest => read(self, file).map(|_: hilo_whatsapp_ingest::Config| ()),
        }
    }

    /// Runs the service on bound sockets until the shutdown begins.
    ///
    /// # Errors
    /// What the service ended with.
    pub async fn run(self, file: &Path, sockets: Sockets, shutdown: Shutdown) -> Result<(), Error> {
        let Sockets { grpc, smtp, webhook } = sockets;
        match self {
            Service::AttentionState => {
                let listeners = hilo_attention_state::Listeners { grpc };
                hilo_attention_state::run(read(self, file)?, listeners, shutdown).await
            }
            Service::Routing => {
                hilo_routing::run(read(self, file)?, hilo_routing::Listeners { grpc }, shutdown).await
            }
            Service::History => {
                hilo_history::run(read(self, file)?, hilo_history::Listeners { grpc }, shutdown).await
            }
            Service::EmailIngest => {
                let smtp =
                    smtp.ok_or_else(|| Error::internal("NO_SOCKET", "email-ingest needs a socket for SMTP"))?;
                hilo_email_ingest::run(
                    read(self, file)?,
                    hilo_email_ingest::Listeners { grpc, smtp },
                    shutdown,
                )
                .await
            }
            Service::WhatsappIngest => {
                let webhook = webhook.ok_or_else(|| {
                    Error::internal("NO_SOCKET", "whatsapp-ingest needs a socket for webhooks")
                })?;
                let listeners = hilo_whatsapp_ingest::Listeners { grpc, webhook };
                hilo_whatsapp_ingest::run(read(self, file)?, listeners, shutdown).await
            }
        }
    }

    /// Runs the service alone, as in production: telemetry and sockets are its own.
    ///
    /// # Errors
    /// What the service ended with.
    pub async fn run_alone(self, file: &Path, shutdown: Shutdown) -> Result<(), Error> {
        let common = config::load::<Listening>(self.name(), Some(file))?;
        let telemetry = telemetry::init(self.process_name(), &common.telemetry)?;
        let smtp = match common.section.smtp {
            Some(smtp) => Some(bind(smtp.listen).await?),
            None => None,
        };
        let webhook = match common.section.webhook {
            Some(webhook) => Some(bind(webhook.listen).await?),
            None => None,
        };
        let sockets = Sockets { grpc: bind(common.section.grpc.listen).await?, smtp, webhook };
        let outcome = self.run(file, sockets, shutdown).await;
        telemetry.flush().await;
        outcome
    }

    /// Binds the service's sockets of the embedded stack.
    ///
    /// # Errors
    /// `PORT_IN_USE`.
    pub async fn bind(self, ports: &Ports) -> Result<Sockets, Error> {
        let smtp = match self {
            Service::EmailIngest => Some(bind(loopback(ports.smtp())).await?),
            Service::AttentionState | Service::Routing | Service::History | Service::WhatsappIngest => None,
        };
        let webhook = match self {
            Service::WhatsappIngest => Some(bind(loopback(ports.webhook())).await?),
            Service::AttentionState | Service::Routing | Service::History | Service::EmailIngest => None,
        };
        Ok(Sockets { grpc: bind(loopback(self.port(ports))).await?, smtp, webhook })
    }

    /// Waits until the service says that it is ready.
    ///
    /// # Errors
    /// `NOT_READY` after `limit`.
    pub async fn ready(self, ports: &Ports, limit: Duration) -> Result<(), Error> {
        let channel = grpc::channel(&format!("http://127.0.0.1:{}", self.port(ports)))?;
        let answer = crate::stack::poll(limit, || {
            let mut client = HealthClient::new(channel.clone());
            async move {
                let request = HealthCheckRequest { service: "readiness".to_owned() };
                let answer = client.check(grpc::with_deadline(request, Duration::from_secs(2))).await.ok()?;
                (answer.into_inner().status() == ServingStatus::Serving).then_some(())
            }
        });
        let text = || format!("{} was not ready after {} s; see log/hilo.log", self.name(), limit.as_secs());
        answer.await.ok_or_else(|| Error::unavailable("NOT_READY", text()))
    }
}

fn read<S: Section>(service: Service, file: &Path) -> Result<ServiceConfig<S>, Error> {
    config::load(service.name(), Some(file))
}

/// What a service's section says about its database; the rest is the service's business.
#[derive(Debug, Deserialize)]
struct Stored {
    #[serde(default)]
    database: Option<DatabaseConfig>,
}

impl Section for Stored {}

/// What a service's section says about its sockets.
#[derive(Debug, Deserialize)]
struct Listening {
    grpc: Listener,
    #[serde(default)]
    smtp: Option<Listener>,
    #[serde(default)]
    webhook: Option<Listener>,
}

#[derive(Debug, Deserialize)]
struct Listener {
    listen: std::net::SocketAddr,
}

impl Section for Listening {}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| {
        Error::unavailable("PORT_IN_USE", format!("{address} cannot be listened on: {error}"))
    })
}
