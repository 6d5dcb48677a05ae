//! Puts the service together and runs it until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use hilo_kit::auth::{Issuer, ServiceTokens, Verifier};
use hilo_kit::config::load;
use hilo_kit::consumer::{BatchHandler, Consumer, ConsumerSpec};
use hilo_kit::db::Db;
use hilo_kit::dead::{DeadLetterEndpoint, DeadLetters};
use hilo_kit::directory::{DirectoryCache, Role};
use hilo_kit::download::{self, Links};
use hilo_kit::error::Error;
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::{Shutdown, run_main};
use hilo_kit::nats::{Nats, StreamKind};
use hilo_kit::objects::Objects;
use hilo_kit::outbox::{GrpcPeer, HandoverEndpoint, Relay, RelayConfig};
use hilo_kit::{grpc, telemetry};
use hilo_proto::attention::v1::attention_service_server::AttentionServiceServer;
use hilo_proto::contact::v1::contact_service_server::ContactServiceServer;
use hilo_proto::dialer::v1::dialer_service_server::DialerServiceServer;
use hilo_proto::directory::v1::directory_service_server::DirectoryServiceServer;
use hilo_proto::identity::v1::identity_service_server::IdentityServiceServer;
use hilo_proto::internal::v1::assignment_service_server::AssignmentServiceServer;
use hilo_proto::internal::v1::directory_feed_service_server::DirectoryFeedServiceServer;
use hilo_proto::internal::v1::ended_thread_service_server::EndedThreadServiceServer;
use hilo_proto::internal::v1::queue_service_server::QueueServiceServer;
use hilo_proto::internal::v1::template_service_server::TemplateServiceServer;
use sqlx::migrate::Migrator;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::attention::automatic::Replies;
use crate::attention::domain::Channel;
use crate::attention::envelope::Post;
use crate::attention::reload::Archive;
use crate::config::{Config, Section};
use crate::conversation::{self, Files, files::Downloads};
use crate::desk::act::Actions;
use crate::desk::hub::Hub;
use crate::desk::watch::Watching;
use crate::dialer;
use crate::directory::announce::Announcer;
use crate::directory::apply::Admin;
use crate::directory::feed;
use crate::identity::Identity;
use crate::identity::password::Hasher;
use crate::intake::{DELIVERY_CONSUMER, DeliveryHandler, INBOUND_CONSUMER, InboundHandler};
use crate::transport::assignment_rpc::AssignmentRpc;
use crate::transport::attention_rpc::AttentionRpc;
use crate::transport::contact_rpc::ContactRpc;
use crate::transport::dialer_rpc::DialerRpc;
use crate::transport::directory_feed_rpc::DirectoryFeedRpc;
use crate::transport::directory_rpc::DirectoryRpc;
use crate::transport::ended_rpc::EndedThreadRpc;
use crate::transport::identity_rpc::IdentityRpc;
use crate::transport::queue_rpc::QueueRpc;
use crate::transport::template_rpc::TemplateRpc;

/// Name of the service in logs, tokens, leases and configuration.
pub const SERVICE: &str = "attention-state";
/// The reader of OUTBOUND in email-ingest, asked which sends it has taken.
const EMAIL_SENDER: &str = "email-sender";
/// The same in whatsapp-ingest.
const WHATSAPP_SENDER: &str = "whatsapp-sender";
/// Mails of one batch: their identity keys and Message-IDs are locked together.
const INTAKE_BATCH: usize = 64;

/// Already bound sockets.
#[derive(Debug)]
pub struct Listeners {
    /// gRPC.
    pub grpc: TcpListener,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// `PORT_IN_USE`.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        let at = config.section.grpc.listen;
        let grpc = TcpListener::bind(at).await.map_err(|error| {
            Error::unavailable("PORT_IN_USE", format!("{at} cannot be listened on")).with_source(error)
        })?;
        Ok(Self { grpc })
    }
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.dangerous_set_table_name("attention.migrations");
    migrator.create_schema("attention");
    migrator
}

/// Brings the database to this release, creating it when missing.
///
/// # Errors
/// See [`hilo_kit::db::migrate`].
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    hilo_kit::db::migrate(database_url, &migrator()).await
}

/// Everything the services share.
struct Parts {
    archive: Archive,
    db: Db,
    nats: Nats,
    announcer: Announcer,
    directory: DirectoryCache,
    hub: Hub,
    readiness: Readiness,
    objects: Objects,
    links: Links,
}

/// Runs until the shutdown begins and everything has ended.
///
/// # Errors
/// A configuration that cannot work, or a server that failed.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown) -> Result<(), Error> {
    hilo_kit::install_crypto();
    let verifier = Verifier::new(&config.auth)?;
    let issuer = Issuer::new(config.section.signing_key.expose(), &config.auth.issuer)?;
    let parts = assemble(&config, &shutdown).await?;
    spawn_outbox(&config, &parts, &shutdown)?;
    spawn_consumers(&parts, &shutdown);
    let post = Post {
        subjects: Arc::new(parts.nats.subjects().clone()),
        thread_key: Arc::new(config.section.thread_key.expose().as_bytes().to_vec()),
        objects: Some(parts.objects.clone()),
    };
    Replies::new(parts.db.clone(), post.clone()).spawn(&shutdown);
    dialer::Runner::new(parts.db.clone(), post).spawn(&shutdown);
    dialer::spawn_sweep(&parts.db, parts.nats.subjects().clone(), &shutdown);
    let grace = std::time::Duration::from_secs(config.section.purge_after_seconds);
    crate::attention::purge::spawn(&parts.db, grace, &shutdown);
    crate::assignment::release::spawn(&parts.db, parts.nats.subjects().clone(), &parts.announcer, &shutdown);
    conversation::sweep::spawn(&parts.db, &shutdown);
    crate::intake::spawn_sweep(&parts.db, &shutdown);
    crate::intake::spawn_late(&parts.db, &parts.archive, parts.nats.subjects(), &shutdown);
    let downloads = Downloads::new(parts.objects.clone(), parts.links.clone());
    crate::assignment::orphans::spawn(&parts.db, parts.nats.subjects().clone(), &shutdown);
    let server = grpc::Server::new(listeners.grpc, parts.readiness.clone())
        .add_routes(routes(&config, &parts, issuer, &shutdown))
        .plain_http(download::PREFIX, Arc::new(downloads))
        .authenticate(verifier.with_directory(parts.directory.clone()))
        .profile(config.profile);
    let served = server.serve(shutdown.clone()).await;
    shutdown.begin();
    shutdown.drain(hilo_kit::lifecycle::HARD_CAP).await;
    parts.db.close().await;
    served
}

async fn assemble(config: &Config, shutdown: &Shutdown) -> Result<Parts, Error> {
    let readiness = Readiness::new();
    let broker = readiness.condition("nats");
    let db = Db::connect(&config.section.database).await?;
    let nats = Nats::connect(&config.nats).await?;
    nats.watch_readiness(broker, shutdown);
    hilo_kit::nats::watch_durability(&config.nats, config.profile, shutdown);
    let announcer = Announcer::new(Some(nats.clone()));
    let directory = feed::cache(&db, &announcer, shutdown).await?;
    let hub = Hub::new(db.clone());
    let objects = Objects::open(&config.objects).await?;
    let links = Links::of_installation(&config.auth);
    let tokens = ServiceTokens::new(&config.auth, SERVICE);
    let archive = Archive::new(grpc::internal(&config.endpoints.history, &tokens)?);
    Ok(Parts { archive, db, nats, announcer, directory, hub, readiness, objects, links })
}

fn spawn_outbox(config: &Config, parts: &Parts, shutdown: &Shutdown) -> Result<(), Error> {
    let tokens = ServiceTokens::new(&config.auth, SERVICE);
    let peer = |endpoint: &str, consumer: &str| -> Result<Arc<GrpcPeer>, Error> {
        Ok(Arc::new(GrpcPeer::new(grpc::internal(endpoint, &tokens)?, consumer)))
    };
    let email = peer(&config.endpoints.email_ingest, EMAIL_SENDER)?;
    let whatsapp = peer(&config.endpoints.whatsapp_ingest, WHATSAPP_SENDER)?;
    let relay = RelayConfig::new(SERVICE, [StreamKind::Events, StreamKind::Outbound])
        .peer_of(StreamKind::Outbound, Channel::Email.word(), email)
        .peer_of(StreamKind::Outbound, Channel::Whatsapp.word(), whatsapp);
    Relay::spawn(parts.db.clone(), parts.nats.clone(), relay, shutdown);
    Ok(())
}

fn spawn_consumers(parts: &Parts, shutdown: &Shutdown) {
    let subjects = parts.nats.subjects();
    let inbound = InboundHandler::new(parts.db.clone(), subjects.clone());
    let mut spec = ConsumerSpec::new(StreamKind::Inbound, INBOUND_CONSUMER);
    spec.max_batch = INTAKE_BATCH;
    spawn_consumer(parts, spec, Arc::new(inbound), shutdown);
    let delivery = DeliveryHandler::new(parts.db.clone(), subjects.clone());
    let spec = ConsumerSpec::new(StreamKind::Delivery, DELIVERY_CONSUMER);
    spawn_consumer(parts, spec, Arc::new(delivery), shutdown);
    // A replica's reader begins anew with every process: desks begin with a snapshot anyway.
    let replica = Uuid::new_v4().simple().to_string();
    let reader = parts.hub.spawn(parts.nats.clone(), &replica, shutdown);
    ready_when_confirmed(parts, "desk events", reader, shutdown);
}

fn spawn_consumer(parts: &Parts, spec: ConsumerSpec, handler: Arc<dyn BatchHandler>, shutdown: &Shutdown) {
    let name = spec.durable.clone();
    let letters = Arc::new(DeadLetters::new(parts.db.clone()));
    let consumer = Consumer::spawn(parts.nats.clone(), spec, handler, letters, shutdown);
    ready_when_confirmed(parts, &name, consumer, shutdown);
}

fn ready_when_confirmed(parts: &Parts, name: &str, consumer: Consumer, shutdown: &Shutdown) {
    let confirmed = parts.readiness.condition(name);
    shutdown.spawn(format!("{name} readiness"), async move {
        consumer.confirmed().await;
        confirmed.set(true);
    });
}

fn routes(config: &Config, parts: &Parts, issuer: Issuer, shutdown: &Shutdown) -> tonic::service::Routes {
    let (db, subjects) = (&parts.db, parts.nats.subjects());
    let cache = parts.directory.clone();
    let is_coordinator = Arc::new(move |user: &str| cache.current().has_role(user, Role::Coordinator));
    let hasher = Hasher::default();
    let admin = Admin::new(db.clone(), hasher.clone(), parts.announcer.clone());
    let identity = Identity::new(db.clone(), Arc::new(issuer), hasher, parts.announcer.clone())
        .by_provider(config.auth.oidc.is_some());
    let key = config.section.thread_key.expose().as_bytes().to_vec();
    let actions = Actions::new(db.clone(), subjects.clone(), key)
        .with_archive(parts.archive.clone())
        .with_objects(parts.objects.clone());
    let watching = Watching {
        db: db.clone(),
        hub: parts.hub.clone(),
        directory: parts.directory.clone(),
        shutdown: shutdown.clone(),
    };
    let files =
        Files::new(db.clone(), parts.objects.clone(), parts.links.clone(), &config.section.public_url);
    let attention = AttentionRpc::new(actions, watching, subjects.clone(), files);
    let mut routes = tonic::service::Routes::builder();
    routes.add_service(AttentionServiceServer::new(attention));
    routes.add_service(ContactServiceServer::new(ContactRpc::new(db.clone(), subjects.clone())));
    routes.add_service(DialerServiceServer::new(DialerRpc::new(db.clone())));
    routes.add_service(DirectoryServiceServer::new(DirectoryRpc::new(db.clone(), admin)));
    routes.add_service(DirectoryFeedServiceServer::new(DirectoryFeedRpc::new(db.clone())));
    routes.add_service(IdentityServiceServer::new(IdentityRpc::new(db.clone(), identity)));
    routes.add_service(AssignmentServiceServer::new(AssignmentRpc::new(db.clone(), subjects.clone())));
    routes.add_service(QueueServiceServer::new(QueueRpc::new(db.clone())));
    routes.add_service(TemplateServiceServer::new(TemplateRpc::new(db.clone())));
    routes.add_service(EndedThreadServiceServer::new(EndedThreadRpc::new(db.clone())));
    routes.add_service(HandoverEndpoint::new(db.clone()).into_service());
    routes.add_service(DeadLetterEndpoint::new(db.clone(), SERVICE, is_coordinator).into_service());
    routes.routes()
}

/// Command line of the service alone.
#[derive(Debug, Parser)]
#[command(name = "hilo-attention-state", version, about = "Attentions, directory and offers of Hilo")]
struct Arguments {
    /// Configuration file; the environment (`HILO__…`) comes on top.
    #[arg(long, env = "HILO_CONFIG")]
    config: Option<PathBuf>,
    /// Bring the database to this release and end.
    #[arg(long)]
    migrate: bool,
}

/// The service as a process of its own.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run_main(SERVICE, move |shutdown| alone(arguments, shutdown))
}

async fn alone(arguments: Arguments, shutdown: Shutdown) -> Result<(), Error> {
    let config = load::<Section>(SERVICE, arguments.config.as_deref())?;
    if arguments.migrate {
        return migrate(config.section.database.url.expose()).await;
    }
    let guard = telemetry::init(SERVICE, &config.telemetry)?;
    let listeners = Listeners::bind(&config).await?;
    let ended = run(config, listeners, shutdown).await;
    guard.flush().await;
    ended
}
