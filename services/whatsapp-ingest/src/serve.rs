//! Putting the service together and running it until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::auth::{ServiceTokens, Verifier};
use hilo_kit::clock;
use hilo_kit::config::Profile;
use hilo_kit::db::Db;
use hilo_kit::dead::DeadLetterEndpoint;
use hilo_kit::directory::{DirectoryCache, Role};
use hilo_kit::error::Error;
use hilo_kit::grpc;
use hilo_kit::health::{Condition, Readiness};
use hilo_kit::lifecycle::{HARD_CAP, Shutdown};
use hilo_kit::nats::{Nats, StreamKind};
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::config::Config;

/// What this channel writes (customers' messages, fates of sent ones), reads (messages to send) and gives up.
const STREAMS: [StreamKind; 4] =
    [StreamKind::Inbound, StreamKind::Outbound, StreamKind::Delivery, StreamKind::Dead];
/// Time for load balancers to notice that this replica stops.
const LINGER: Duration = Duration::from_secs(5);
const DATABASE_CHECK: Duration = Duration::from_secs(5);

/// Sockets that are bound already.
#[derive(Debug)]
pub struct Listeners {
    /// gRPC.
    pub grpc: TcpListener,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// `PORT_UNAVAILABLE`.
    pub async fn bind(config: &Config) -> Result<Self, Error> {
        let address = config.section.grpc.listen;
        let grpc = TcpListener::bind(address).await.map_err(|error| {
            Error::unavailable("PORT_UNAVAILABLE", format!("{address} cannot be listened on"))
                .with_source(error)
        })?;
        Ok(Self { grpc })
    }
}

/// Runs until the shutdown begins and everything has ended.
///
/// # Errors
/// When the database cannot be reached or the broker is too old at start, or the server fails.
pub async fn run(config: Config, listeners: Listeners, shutdown: Shutdown) -> Result<(), Error> {
    // Its own tasks, so that in a process with several services each one drains by itself.
    let shutdown = shutdown.child();
    let readiness = Readiness::new();
    let (database, streams) = (readiness.condition("database"), readiness.condition("streams"));
    let tokens = ServiceTokens::new(&config.auth, crate::NAME);
    let db = Db::connect(&config.section.database).await?;
    let nats = Nats::connect(&config.nats).await?;
    let directory = DirectoryCache::start(&config.endpoints, &tokens, &nats, &shutdown)?;
    watch_database(db.clone(), database, &shutdown);
    let stop = shutdown.clone();
    shutdown.spawn("streams", async move { declare(&nats, &streams, &stop).await });

    let verifier = Verifier::new(&config.auth)?.with_directory(directory.clone());
    let is_coordinator = move |user: &str| directory.current().has_role(user, Role::Coordinator);
    let dead = DeadLetterEndpoint::new(db.clone(), crate::NAME, Arc::new(is_coordinator));
    let mut routes = Routes::builder();
    routes.add_service(dead.into_service());
    let linger = if config.profile == Profile::Production { LINGER } else { Duration::ZERO };
    let served = grpc::Server::new(listeners.grpc, readiness)
        .add_routes(routes.routes())
        .authenticate(verifier)
        .linger(linger)
        .serve(shutdown.clone())
        .await;
    shutdown.begin();
    shutdown.drain(HARD_CAP).await;
    db.close().await;
    served?;
    if shutdown.failed() {
        return Err(Error::internal("TASK_FAILED", "a background task failed"));
    }
    Ok(())
}

/// Declares the streams at start and after every new connection: a broker that lost its data has none.
async fn declare(nats: &Nats, declared: &Condition, stop: &Shutdown) {
    let mut connections = nats.connections();
    let mut failures = 0;
    while !stop.is_cancelled() {
        connections.mark_unchanged();
        match nats.ensure_streams(&STREAMS).await {
            Ok(_) => {
                failures = 0;
                declared.set(true);
                tokio::select! {
                    changed = connections.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
            }
            Err(error) => {
                if failures == 0 {
                    error.log("declaring streams");
                }
                failures += 1;
                stop.sleep(clock::backoff(failures, Duration::from_millis(100), Duration::from_secs(5)))
                    .await;
            }
        }
    }
}

/// Ready only while the database answers.
fn watch_database(db: Db, condition: Condition, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    shutdown.spawn("database condition", async move {
        loop {
            let answered = db.read(|conn| {
                Box::pin(async move { Ok(sqlx::query("SELECT 1").execute(conn).await.map(drop)?) })
            });
            condition.set(answered.await.is_ok());
            if !stop.sleep(DATABASE_CHECK).await {
                return;
            }
        }
    });
}
