//! Puts the parts together, in the order that makes the view complete: the event consumer stands before a partition is
//! held, a partition is held before its snapshot is read, and offers are made after it.

use std::sync::Arc;

use hilo_kit::auth::{ServiceTokens, Verifier};
use hilo_kit::directory::DirectoryCache;
use hilo_kit::error::Error;
use hilo_kit::grpc::{self, Server};
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::{HARD_CAP, Shutdown};
use hilo_kit::nats::Nats;
use hilo_proto::routing::v1::routing_service_server::RoutingServiceServer;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tonic::service::Routes;

use crate::attention::AttentionState;
use crate::clock::DatabaseClock;
use crate::config::Config;
use crate::directory::Refresh;
use crate::lease::Terms;
use crate::metrics::Metrics;
use crate::partition::Surroundings;
use crate::presence::PresenceBoard;
use crate::queues::{Feed, Watching};
use crate::router::{Conditions, Message, Paused, Router, WAITING};
use crate::rpc::RoutingRpc;
use crate::tasks::Tasks;
use crate::{consumer, directory, hints, lease, presence};

/// Sockets bound before anything starts.
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
        let address = config.section.grpc.listen;
        let grpc = TcpListener::bind(address).await.map_err(|error| {
            Error::unavailable("PORT_IN_USE", format!("{address} cannot be listened on")).with_source(error)
        })?;
        Ok(Self { grpc })
    }
}

/// Runs the service until the shutdown begins and everything has stopped.
///
/// # Errors
/// `NATS_TOO_OLD`, `INVALID_KEY`, `INVALID_ENDPOINT`, `GRPC_SERVER`, `TASK_PANICKED`.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown) -> Result<(), Error> {
    let inner = shutdown.child();
    let (sender, messages) = mpsc::channel(WAITING);
    let readiness = Readiness::new();
    let (rpc, parts) = prepare(&config, sender, &readiness, &inner).await?;
    let directory = parts.directory.clone();
    parts.start(messages, &inner);
    let mut routes = Routes::builder();
    routes.add_service(RoutingServiceServer::new(rpc));
    let verifier = Verifier::new(&config.auth)?.with_directory(directory);
    let server = Server::new(listeners.grpc, readiness).add_routes(routes.routes()).authenticate(verifier);
    let served = server.serve(inner.clone()).await;
    inner.drain(HARD_CAP).await;
    if inner.failed() {
        return Err(Error::internal("TASK_PANICKED", "a background task of routing panicked"));
    }
    served
}

/// Everything that runs beside the gRPC server.
struct Parts {
    config: Config,
    replica: String,
    nats: Nats,
    attention: AttentionState,
    directory: DirectoryCache,
    around: Surroundings,
    paused: Paused,
    readiness: Readiness,
    sender: mpsc::Sender<Message>,
}

async fn prepare(
    config: &Config,
    sender: mpsc::Sender<Message>,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> Result<(RoutingRpc, Parts), Error> {
    let nats = Nats::connect(&config.nats).await?;
    let tokens = ServiceTokens::new(&config.auth, crate::NAME);
    let clock = DatabaseClock::default();
    let attention =
        AttentionState::new(grpc::internal(&config.endpoints.attention_state, &tokens)?, clock.clone());
    let directory = DirectoryCache::start(&config.endpoints, &tokens, &nats, shutdown)?;
    let board = PresenceBoard::new(config.section.presence_lease(), clock.clone());
    let touched = Arc::new(Notify::new());
    let feed = Feed::new(attention.clone(), touched.clone());
    shutdown.spawn("queue readings", feed.clone().run(shutdown.clone()));
    let around =
        Surroundings { board: board.clone(), clock: clock.clone(), metrics: Metrics::default(), touched };
    let paused = Paused::default();
    let watching = Watching { feed, board, directory: directory.clone(), shutdown: shutdown.clone() };
    let rpc = RoutingRpc {
        attention: attention.clone(),
        watching,
        clock,
        nats: nats.clone(),
        router: sender.clone(),
        paused: paused.clone(),
    };
    let (config, replica) = (config.clone(), config.section.replica());
    let readiness = readiness.clone();
    Ok((rpc, Parts { config, replica, nats, attention, directory, around, paused, readiness, sender }))
}

impl Parts {
    fn start(self, messages: mpsc::Receiver<Message>, shutdown: &Shutdown) {
        let Self { config, replica, nats, attention, directory, around, paused, readiness, sender } = self;
        tracing::info!(%replica, "routing starts");
        let refresh = Refresh::default();
        let consumer = consumer::start(&nats, &replica, sender.clone(), around.metrics.clone(), shutdown);
        let conditions = Conditions {
            configured: readiness.condition("configuration"),
            leased: readiness.condition("partition lease"),
            events: readiness.condition("events"),
        };
        let contact = readiness.condition("presence");
        let tasks = Tasks::new(attention.clone(), sender.clone(), shutdown.clone());
        let every = std::time::Duration::from_secs(config.section.resync_seconds);
        let board = around.board.clone();
        let router = Router::new(around, tasks, consumer.clone(), refresh.clone(), paused, conditions, every);
        shutdown.spawn("router", router.run(messages, shutdown.clone()));
        let following =
            directory::follow(attention.clone(), directory, refresh, sender.clone(), shutdown.clone());
        shutdown.spawn("routing configuration", following);
        let watching = presence::watch(board, nats.clone(), sender.clone(), contact, shutdown.clone());
        shutdown.spawn("presence", watching);
        shutdown.spawn("status hints", hints::listen(nats, sender.clone(), shutdown.clone()));
        let (terms, stop) = (Terms::new(&replica, &config.section), shutdown.clone());
        shutdown.spawn("partition lease", async move {
            tokio::select! {
                () = consumer.confirmed() => {}
                () = stop.cancelled() => return,
            }
            lease::hold(attention, terms, sender, stop).await;
        });
    }
}
