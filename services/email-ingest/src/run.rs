//! Puts the service together and runs it until it is told to stop.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use hilo_kit::auth::{ServiceTokens, Verifier};
use hilo_kit::config::{Profile, load};
use hilo_kit::consumer::{Consumer, ConsumerSpec};
use hilo_kit::db::Db;
use hilo_kit::dead::{DeadLetterEndpoint, DeadLetters};
use hilo_kit::directory::{DirectoryCache, Role};
use hilo_kit::error::Error;
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::{Shutdown, run_main};
use hilo_kit::nats::{Nats, StreamKind};
use hilo_kit::objects::Objects;
use hilo_kit::outbox::{GrpcPeer, HandoverEndpoint, HandoverPeer, Relay, RelayConfig};
use hilo_kit::{grpc, telemetry};
use sqlx::migrate::Migrator;
use tokio::net::TcpListener;

use crate::accounts::AccountsCache;
use crate::adapter::authentication::{DnsAuthentication, NoResolver, SenderAuthentication};
use crate::adapter::tls::Tls;
use crate::config::{Config, ResolverChoice, Section};
use crate::consumer::SendIntake;
use crate::ledger::Ledger;
use crate::store::{SENDER, Store};
use crate::transport::{imap, smtp};
use crate::{parser, sender};
use hilo_kit::secrets::Secrets;

/// Name of the service in logs, tokens and leases.
pub const SERVICE: &str = "email-ingest";
/// Production keeps answering this long after readiness went off, until load balancers have noticed.
const LINGER: Duration = Duration::from_secs(5);

/// Already bound sockets.
#[derive(Debug)]
pub struct Listeners {
    /// gRPC.
    pub grpc: TcpListener,
    /// Inbound SMTP.
    pub smtp: TcpListener,
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.dangerous_set_table_name("mail.migrations");
    migrator.create_schema("mail");
    migrator
}

/// Brings the database to this release, creating it when missing.
///
/// # Errors
/// See [`hilo_kit::db::migrate`].
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    hilo_kit::db::migrate(database_url, &migrator()).await
}

/// Everything the tasks share.
struct Parts {
    db: Db,
    nats: Nats,
    store: Store,
    objects: Objects,
    directory: DirectoryCache,
    accounts: AccountsCache,
    tokens: ServiceTokens,
    secrets: Secrets,
    tls: Tls,
    readiness: Readiness,
}

/// Runs until the shutdown begins and everything has ended.
///
/// # Errors
/// A configuration that cannot work, or a server that failed.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown) -> Result<(), Error> {
    hilo_kit::install_crypto();
    let authentication = authentication(&config.section)?;
    let verifier = Verifier::new(&config.auth)?;
    let parts = assemble(&config, &shutdown).await?;
    spawn_outbox(&config, &parts, &shutdown)?;
    spawn_intake(&config, &parts, authentication, listeners.smtp, &shutdown);
    spawn_sending(&config, &parts, &shutdown)?;
    let linger = match config.profile {
        Profile::Embedded => Duration::ZERO,
        Profile::Production => LINGER,
    };
    let server = grpc::Server::new(listeners.grpc, parts.readiness.clone())
        .add_routes(routes(&parts))
        .authenticate(verifier.with_directory(parts.directory.clone()))
        .linger(linger);
    let served = server.serve(shutdown.clone()).await;
    shutdown.begin();
    shutdown.drain(hilo_kit::lifecycle::HARD_CAP).await;
    parts.db.close().await;
    served
}

fn authentication(section: &Section) -> Result<Arc<dyn SenderAuthentication>, Error> {
    Ok(match &section.resolver {
        ResolverChoice::None => {
            tracing::warn!(
                "no DNS resolver: senders are not checked, mails join no thread unless an account's switch says so"
            );
            Arc::new(NoResolver)
        }
        choice @ (ResolverChoice::System | ResolverChoice::Servers(_)) => {
            Arc::new(DnsAuthentication::new(choice, &section.smtp.hostname)?)
        }
    })
}

async fn assemble(config: &Config, shutdown: &Shutdown) -> Result<Parts, Error> {
    let readiness = Readiness::new();
    let broker = readiness.condition("nats");
    let db = Db::connect(&config.section.database).await?;
    let nats = Nats::connect(&config.nats).await?;
    nats.watch_readiness(broker, shutdown);
    let tokens = ServiceTokens::new(&config.auth, SERVICE);
    let directory = DirectoryCache::start(&config.endpoints, &tokens, &nats, shutdown)?;
    let store = Store::new(db.clone(), nats.subjects().clone());
    Ok(Parts {
        objects: Objects::open(&config.objects).await?,
        accounts: AccountsCache::start(directory.clone(), &store, shutdown).await?,
        tls: Tls::new(config.section.ca_certificates.as_deref())?,
        store,
        secrets: Secrets::new(config.section.secrets.clone()),
        db,
        nats,
        directory,
        tokens,
        readiness,
    })
}

fn spawn_outbox(config: &Config, parts: &Parts, shutdown: &Shutdown) -> Result<(), Error> {
    let channel = grpc::internal(&config.endpoints.attention_state, &parts.tokens)?;
    let peer =
        |consumer: &str| -> Arc<dyn HandoverPeer> { Arc::new(GrpcPeer::new(channel.clone(), consumer)) };
    let relay = RelayConfig::new(SERVICE, [StreamKind::Inbound, StreamKind::Delivery])
        .peer(StreamKind::Inbound, peer("attention-intake"))
        .peer(StreamKind::Delivery, peer("attention-delivery"));
    Relay::spawn(parts.db.clone(), parts.nats.clone(), relay, shutdown);
    Ok(())
}

fn spawn_intake(
    config: &Config,
    parts: &Parts,
    authentication: Arc<dyn SenderAuthentication>,
    listener: TcpListener,
    shutdown: &Shutdown,
) {
    let section = &config.section;
    let ledger = Ledger::new(parts.store.clone(), parts.objects.clone(), parts.accounts.clone());
    let limits = smtp::Limits {
        hostname: section.smtp.hostname.clone(),
        max_message_bytes: section.smtp.max_message_bytes,
        max_buffered_bytes: section.smtp.max_buffered_bytes,
        max_connections: section.smtp.max_connections,
        idle: Duration::from_secs(section.smtp.idle_seconds),
    };
    let (ready, accounts) = (parts.readiness.condition("directory"), parts.accounts.clone());
    shutdown.spawn("directory readiness", async move {
        accounts.loaded().await;
        ready.set(true);
    });
    shutdown.spawn("smtp", smtp::serve(listener, Arc::new(ledger.clone()), limits, shutdown.clone()));
    let fetching = imap::Parts {
        ledger,
        store: parts.store.clone(),
        accounts: parts.accounts.clone(),
        secrets: parts.secrets.clone(),
        tls: parts.tls.clone(),
        config: section.imap.clone(),
    };
    shutdown.spawn("imap", imap::run(fetching, shutdown.clone()));
    let parsing = parser::Parts {
        store: parts.store.clone(),
        objects: parts.objects.clone(),
        accounts: parts.accounts.clone(),
        authentication,
        trusted_receivers: section.trusted_receivers.clone().into(),
        thread_key: section.thread_key.expose().as_bytes().into(),
        workers: section.parser.workers,
    };
    shutdown.spawn("parser", parser::run(parsing, shutdown.clone()));
}

fn spawn_sending(config: &Config, parts: &Parts, shutdown: &Shutdown) -> Result<(), Error> {
    let filter = parts.nats.subjects().channel(StreamKind::Outbound, "email")?;
    let spec = ConsumerSpec::new(StreamKind::Outbound, SENDER).filters(vec![filter]);
    let letters = Arc::new(DeadLetters::new(parts.db.clone()));
    let intake = SendIntake::new(parts.store.clone(), parts.objects.clone());
    let consumer = Consumer::spawn(parts.nats.clone(), spec, intake, letters, shutdown);
    let confirmed = parts.readiness.condition("consumer");
    shutdown.spawn("consumer readiness", async move {
        consumer.confirmed().await;
        confirmed.set(true);
    });
    let sending = sender::Parts {
        store: parts.store.clone(),
        objects: parts.objects.clone(),
        accounts: parts.accounts.clone(),
        secrets: parts.secrets.clone(),
        tls: parts.tls.clone(),
        config: config.section.sender.clone(),
        helo: config.section.smtp.hostname.clone(),
    };
    shutdown.spawn("sender", sender::run(sending, shutdown.clone()));
    Ok(())
}

fn routes(parts: &Parts) -> tonic::service::Routes {
    let directory = parts.directory.clone();
    let is_coordinator = Arc::new(move |user: &str| directory.current().has_role(user, Role::Coordinator));
    let mut routes = tonic::service::Routes::builder();
    routes.add_service(HandoverEndpoint::new(parts.db.clone()).into_service());
    routes.add_service(DeadLetterEndpoint::new(parts.db.clone(), SERVICE, is_coordinator).into_service());
    routes.routes()
}

/// Command line of the service alone.
#[derive(Debug, Parser)]
#[command(name = "hilo-email-ingest", version, about = "Email in and out of Hilo")]
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
    let bound = HashMap::from([("grpc", config.section.grpc.listen), ("smtp", config.section.smtp.listen)]);
    let mut sockets = HashMap::new();
    for (name, at) in bound {
        let listener = TcpListener::bind(at).await.map_err(|error| {
            Error::unavailable("PORT_IN_USE", format!("{name}: {at} cannot be listened on"))
                .with_source(error)
        })?;
        sockets.insert(name, listener);
    }
    let (Some(grpc), Some(smtp)) = (sockets.remove("grpc"), sockets.remove("smtp")) else {
        return Err(Error::internal("PORT_IN_USE", "both sockets were just bound"));
    };
    let ended = run(config, Listeners { grpc, smtp }, shutdown).await;
    guard.flush().await;
    ended
}
