//! Puts the service together and runs it until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hilo_kit::auth::{ServiceTokens, Verifier};
use hilo_kit::config::Profile;
use hilo_kit::consumer::{Consumer, ConsumerSpec};
use hilo_kit::db::Db;
use hilo_kit::dead::{DeadLetterEndpoint, DeadLetters};
use hilo_kit::directory::{DirectoryCache, Role};
use hilo_kit::error::Error;
use hilo_kit::grpc;
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::{HARD_CAP, Shutdown};
use hilo_kit::nats::{Nats, StreamKind};
use hilo_kit::objects::Objects;
use hilo_kit::outbox::{GrpcPeer, HandoverEndpoint, HandoverPeer, Relay, RelayConfig};
use hilo_kit::secrets::Secrets;
use hilo_proto::internal::v1::template_service_client::TemplateServiceClient;
use tokio::net::TcpListener;

use crate::accounts::NumbersCache;
use crate::adapter::files::Files;
use crate::adapter::graph::Graph;
use crate::adapter::version;
use crate::config::Config;
use crate::consumer::SendIntake;
use crate::memory::Memory;
use crate::store::{SENDER, Store};
use crate::webhook::{Committer, Endpoint, KeyRing};
use crate::{NAME, fetcher, parser, sender, templates, webhook};

/// Production keeps answering this long after readiness went off, until load balancers have noticed.
const LINGER: Duration = Duration::from_secs(5);

/// Sockets that are bound already.
#[derive(Debug)]
pub struct Listeners {
    /// gRPC.
    pub grpc: TcpListener,
    /// Meta's webhooks.
    pub webhook: TcpListener,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// `PORT_UNAVAILABLE`.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            grpc: bind(config.section.grpc.listen).await?,
            webhook: bind(config.section.webhook.listen).await?,
        })
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::unavailable("PORT_UNAVAILABLE", format!("{address} cannot be listened on")).with_source(error)
    })
}

/// Everything the tasks share.
struct Parts {
    db: Db,
    nats: Nats,
    store: Store,
    directory: DirectoryCache,
    numbers: NumbersCache,
    tokens: ServiceTokens,
    secrets: Secrets,
    graph: Graph,
    objects: Objects,
    files: Files,
    memory: Memory,
    readiness: Readiness,
}

/// Runs until the shutdown begins and everything has ended.
///
/// # Errors
/// A configuration that cannot work, a database or broker that cannot be used at start, or a server that failed.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown) -> Result<(), Error> {
    hilo_kit::install_crypto();
    // Its own tasks, so that in a process with several services each one drains by itself.
    let shutdown = shutdown.child();
    let verifier = Verifier::new(&config.auth)?;
    let parts = assemble(&config, &shutdown).await?;
    spawn_outbox(&config, &parts, &shutdown)?;
    spawn_intake(&config, &parts, listeners.webhook, &shutdown);
    spawn_sending(&config, &parts, &shutdown)?;
    spawn_templates(&config, &parts, &shutdown)?;
    let linger = match config.profile {
        Profile::Embedded => Duration::ZERO,
        Profile::Production => LINGER,
    };
    let served = grpc::Server::new(listeners.grpc, parts.readiness.clone())
        .add_routes(routes(&parts))
        .authenticate(verifier.with_directory(parts.directory.clone()))
        .linger(linger)
        .serve(shutdown.clone())
        .await;
    shutdown.begin();
    shutdown.drain(HARD_CAP).await;
    parts.db.close().await;
    served?;
    if shutdown.failed() {
        return Err(Error::internal("TASK_FAILED", "a background task failed"));
    }
    Ok(())
}

async fn assemble(config: &Config, shutdown: &Shutdown) -> Result<Parts, Error> {
    let readiness = Readiness::new();
    let (broker, database) = (readiness.condition("nats"), readiness.condition("database"));
    let db = Db::connect(&config.section.database).await?;
    db.watch_readiness(database, shutdown);
    let nats = Nats::connect(&config.nats).await?;
    nats.watch_readiness(broker, shutdown);
    let tokens = ServiceTokens::new(&config.auth, NAME);
    let directory = DirectoryCache::start(&config.endpoints, &tokens, &nats, shutdown)?;
    let store = Store::new(db.clone(), nats.subjects().clone());
    let graph = Graph::new(&config.section.graph)?;
    Ok(Parts {
        numbers: NumbersCache::start(directory.clone(), &store, shutdown).await?,
        secrets: Secrets::new(config.section.secrets.clone()),
        files: Files::new(graph.clone(), &config.section.media.hosts),
        memory: Memory::new(config.section.media.memory_bytes),
        graph,
        objects: Objects::open(&config.objects).await?,
        db,
        nats,
        store,
        directory,
        tokens,
        readiness,
    })
}

fn spawn_outbox(config: &Config, parts: &Parts, shutdown: &Shutdown) -> Result<(), Error> {
    let channel = grpc::internal(&config.endpoints.attention_state, &parts.tokens)?;
    let peer =
        |consumer: &str| -> Arc<dyn HandoverPeer> { Arc::new(GrpcPeer::new(channel.clone(), consumer)) };
    let relay = RelayConfig::new(NAME, [StreamKind::Inbound, StreamKind::Delivery])
        .peer(StreamKind::Inbound, peer("attention-intake"))
        .peer(StreamKind::Delivery, peer("attention-delivery"));
    Relay::spawn(parts.db.clone(), parts.nats.clone(), relay, shutdown);
    Ok(())
}

fn spawn_intake(config: &Config, parts: &Parts, listener: TcpListener, shutdown: &Shutdown) {
    let (ready, numbers) = (parts.readiness.condition("directory"), parts.numbers.clone());
    shutdown.spawn("directory readiness", async move {
        numbers.loaded().await;
        ready.set(true);
    });
    let ring = KeyRing::start(parts.numbers.clone(), parts.secrets.clone(), shutdown);
    let committer = Committer::start(parts.store.clone(), shutdown);
    let router = Endpoint::new(&config.section.webhook, ring, committer).router();
    shutdown.spawn("webhook", webhook::serve(listener, router, shutdown.clone()));
    let patience = Duration::from_secs(config.section.webhook.directory_seconds);
    let parsing = parser::run(parts.store.clone(), parts.numbers.clone(), patience, shutdown.clone());
    shutdown.spawn("parser", parsing);
    let fetching = fetcher::Parts {
        store: parts.store.clone(),
        numbers: parts.numbers.clone(),
        secrets: parts.secrets.clone(),
        files: parts.files.clone(),
        objects: parts.objects.clone(),
        memory: parts.memory.clone(),
        config: config.section.media.clone(),
        max_object_bytes: config.objects.max_bytes,
    };
    shutdown.spawn("file fetcher", fetcher::run(fetching, shutdown.clone()));
}

fn spawn_sending(config: &Config, parts: &Parts, shutdown: &Shutdown) -> Result<(), Error> {
    let filter = parts.nats.subjects().channel(StreamKind::Outbound, "whatsapp")?;
    let spec = ConsumerSpec::new(StreamKind::Outbound, SENDER).filters(vec![filter]);
    let letters = Arc::new(DeadLetters::new(parts.db.clone()));
    let intake = SendIntake::new(parts.store.clone());
    let consumer = Consumer::spawn(parts.nats.clone(), spec, intake, letters, shutdown);
    let confirmed = parts.readiness.condition("consumer");
    shutdown.spawn("consumer readiness", async move {
        consumer.confirmed().await;
        confirmed.set(true);
    });
    let (files, objects, memory) = (parts.files.clone(), parts.objects.clone(), parts.memory.clone());
    let sending = sender::Parts {
        uploads: sender::Uploads::new(parts.store.clone(), files, objects, memory),
        store: parts.store.clone(),
        numbers: parts.numbers.clone(),
        secrets: parts.secrets.clone(),
        graph: parts.graph.clone(),
        config: config.section.sender.clone(),
    };
    shutdown.spawn("sender", sender::run(sending, shutdown.clone()));
    shutdown.spawn("version of the Graph API", version::watch(shutdown.clone()));
    Ok(())
}

fn spawn_templates(config: &Config, parts: &Parts, shutdown: &Shutdown) -> Result<(), Error> {
    let channel = grpc::internal(&config.endpoints.attention_state, &parts.tokens)?;
    let reading = templates::Parts {
        store: parts.store.clone(),
        numbers: parts.numbers.clone(),
        secrets: parts.secrets.clone(),
        graph: parts.graph.clone(),
        reports: TemplateServiceClient::new(channel),
        config: config.section.templates.clone(),
    };
    shutdown.spawn("templates", templates::run(reading, shutdown.clone()));
    Ok(())
}

fn routes(parts: &Parts) -> tonic::service::Routes {
    let directory = parts.directory.clone();
    let is_coordinator = Arc::new(move |user: &str| directory.current().has_role(user, Role::Coordinator));
    let mut routes = tonic::service::Routes::builder();
    routes.add_service(HandoverEndpoint::new(parts.db.clone()).into_service());
    routes.add_service(DeadLetterEndpoint::new(parts.db.clone(), NAME, is_coordinator).into_service());
    routes.routes()
}
