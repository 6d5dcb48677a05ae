//! A stand-in for attention-state, a private broker and replicas of routing, in-process or as processes of their own.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod cable;
pub mod panel;
pub mod service;
pub mod truth;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hilo_kit::auth::{Issuer, Keys, ServiceTokens, generate_keys};
use hilo_kit::config::{Endpoints, NatsConfig, ObjectsConfig, Profile, ServiceConfig, TelemetryConfig};
use hilo_kit::grpc::{Bearer, channel};
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::{Bucket, Nats, StreamKind};
use hilo_proto::routing::v1::routing_service_client::RoutingServiceClient;
use hilo_proto::routing::v1::{HeartbeatRequest, HeartbeatResponse, SetStatusRequest};
use hilo_routing::{Listeners, RoutingSection};
use hilo_test_support::{Launch, Process, eventually};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

pub use truth::{Truth, campaign};

/// Long enough for a slow machine, short enough to fail.
pub const SOON: Duration = Duration::from_secs(60);

pub type Client = RoutingServiceClient<InterceptedService<Channel, Bearer>>;

/// Everything around the replicas.
pub struct Rig {
    pub broker: hilo_test_support::Nats,
    pub nats: Nats,
    pub truth: Arc<Truth>,
    pub keys: Keys,
    pub attention: String,
    folder: tempfile::TempDir,
    server: Shutdown,
}

impl Rig {
    pub async fn start(truth: Truth) -> Result<Self> {
        hilo_kit::install_crypto();
        // `HILO_TEST_LOG=debug` shows the replicas' logs.
        if let Ok(log) = std::env::var("HILO_TEST_LOG") {
            let config = TelemetryConfig { log, json: false, ..TelemetryConfig::default() };
            std::mem::forget(hilo_kit::telemetry::init("routing-test", &config)?);
        }
        let broker = hilo_test_support::Nats::start().await?;
        let nats = Nats::connect(&nats_config(&broker)).await?;
        nats.ensure_streams(&[StreamKind::Events]).await?;
        let keys = generate_keys()?;
        let truth = Arc::new(truth);
        truth.connect(nats.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let attention = format!("http://{}", listener.local_addr()?);
        let server = Shutdown::new();
        service::serve(truth.clone(), listener, &keys.auth_config("hilo"), server.clone())?;
        Ok(Self { broker, nats, truth, keys, attention, folder: tempfile::tempdir()?, server })
    }

    /// A replica in this process.
    pub async fn replica(&self, section: RoutingSection) -> Result<Replica> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let config = ServiceConfig {
            nats: nats_config(&self.broker),
            telemetry: TelemetryConfig::default(),
            auth: self.keys.auth_config("hilo"),
            objects: ObjectsConfig::default(),
            endpoints: Endpoints { attention_state: self.attention.clone(), ..Endpoints::default() },
            profile: Profile::Embedded,
            section,
        };
        let shutdown = Shutdown::new();
        let run = hilo_routing::run(config, Listeners { grpc: listener }, shutdown.clone());
        let task = tokio::spawn(run);
        Ok(Replica { address, shutdown, task })
    }

    /// A replica as a process of its own.
    pub fn process(&self, name: &str) -> Result<(Process, SocketAddr)> {
        self.process_with(name, &[])
    }

    /// The same with settings of its own.
    pub fn process_with(&self, name: &str, settings: &[(&str, &str)]) -> Result<(Process, SocketAddr)> {
        let port = hilo_test_support::free_port();
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        let auth = self.keys.auth_config("hilo");
        let set = |name: &str, value: &str| (format!("HILO__{name}"), value.to_owned());
        let mut environment = vec![
            set("NATS__URL", &self.broker.url()),
            set("AUTH__ISSUER", "hilo"),
            set("AUTH__VERIFY_KEY", &auth.verify_key),
            set("AUTH__SERVICE_SECRET", auth.service_secret.expose()),
            set("ENDPOINTS__ATTENTION_STATE", &self.attention),
            set("ROUTING__GRPC__LISTEN", &address.to_string()),
            set("ROUTING__REPLICA_ID", name),
        ];
        for (name, value) in settings {
            let fault = *name == "FAULT_DIR";
            environment.push(if fault {
                ("HILO_FAULT_DIR".to_owned(), (*value).to_owned())
            } else {
                set(name, value)
            });
        }
        let launch = Launch {
            program: env!("CARGO_BIN_EXE_hilo-routing").into(),
            environment,
            log: self.folder.path().join(format!("{name}.log")),
            ..Launch::default()
        };
        Ok((launch.spawn()?, address))
    }

    /// What a process has logged so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// A client with an agent's token.
    pub fn client(&self, address: SocketAddr, agent: &str) -> Result<Client> {
        let issuer = Issuer::new(self.keys.signing_key.expose(), "hilo")?;
        let token = issuer.issue(agent, OffsetDateTime::now_utc(), Duration::from_secs(600))?.token;
        let channel = channel(&format!("http://{address}"))?;
        Ok(RoutingServiceClient::with_interceptor(channel, Bearer(token)))
    }

    /// A client with a service's token.
    pub fn service_client(&self, address: SocketAddr) -> Result<Client> {
        let token = ServiceTokens::new(&self.keys.auth_config("hilo"), "history").token()?;
        Ok(RoutingServiceClient::with_interceptor(channel(&format!("http://{address}"))?, Bearer(token)))
    }

    /// Says that the agent is there, as soon as the replica takes it.
    pub async fn arrives(&self, address: SocketAddr, agent: &str) -> Result<HeartbeatResponse> {
        let client = self.client(address, agent)?;
        let answer = std::cell::RefCell::new(None);
        eventually("a heartbeat is taken", SOON, || {
            let (mut client, answer) = (client.clone(), &answer);
            async move {
                let request = HeartbeatRequest { session_id: "one".to_owned(), leave: false };
                match client.heartbeat(request).await {
                    Ok(taken) => answer.replace(Some(taken.into_inner())).is_none(),
                    Err(_) => false,
                }
            }
        })
        .await?;
        answer.into_inner().context("a heartbeat was answered")
    }

    /// Says that the directory changed, as an apply does.
    pub async fn directory_changed(&self) -> Result<()> {
        let version = {
            let mut state = self.truth.state.lock();
            state.config_version += 1;
            state.config_version
        };
        let bucket = self.nats.ensure_bucket(Bucket::Directory, Duration::ZERO).await?;
        bucket.put("version", version.to_string().into()).await?;
        Ok(())
    }

    pub async fn pauses(&self, address: SocketAddr, agent: &str, paused: bool) -> Result<()> {
        self.client(address, agent)?.set_status(SetStatusRequest { paused }).await?;
        Ok(())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.server.begin();
    }
}

fn nats_config(broker: &hilo_test_support::Nats) -> NatsConfig {
    NatsConfig { url: broker.url(), ..NatsConfig::default() }
}

/// A running replica.
pub struct Replica {
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    pub task: tokio::task::JoinHandle<Result<(), hilo_kit::error::Error>>,
}

impl Replica {
    /// Stops it as SIGTERM does.
    pub async fn stop(self) -> Result<()> {
        self.shutdown.begin();
        Ok(tokio::time::timeout(SOON, self.task).await???)
    }
}
