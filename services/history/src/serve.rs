//! Putting the service together and running it until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::auth::{ServiceTokens, Verifier};
use hilo_kit::config::Profile;
use hilo_kit::consumer::Consumer;
use hilo_kit::db::Db;
use hilo_kit::dead::{DeadLetterEndpoint, DeadLetters};
use hilo_kit::directory::DirectoryCache;
use hilo_kit::download::Links;
use hilo_kit::error::Error;
use hilo_kit::grpc;
use hilo_kit::health::{Condition, Readiness};
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::Nats;
use hilo_kit::objects::Objects;
use hilo_proto::history::v1::history_service_server::HistoryServiceServer;
use hilo_proto::internal::v1::stored_thread_service_server::StoredThreadServiceServer;
use hilo_proto::report::v1::report_service_server::ReportServiceServer;
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::app::Keeper;
use crate::config::Config;
use crate::consumer::{self, WakeUp};
use crate::download::Downloads;
use crate::export::Exporter;
use crate::metrics::Metrics;
use crate::report::{self, ReportRpc};
use crate::rights::Rights;
use crate::rpc::HistoryRpc;
use crate::store::Store;
use crate::stored_rpc::StoredThreadRpc;

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
    let database = readiness.condition("database");
    let metrics = Metrics::new();
    let tokens = ServiceTokens::new(&config.auth, crate::NAME);
    let db = Db::connect(&config.section.database).await?;
    let nats = Nats::connect(&config.nats).await?;
    let store = Store::new(db.clone());
    let directory = DirectoryCache::start(&config.endpoints, &tokens, &nats, &shutdown)?;
    // Not a condition of readiness: a new installation has no directory, and only users' calls need one.
    let rights = Rights::new(directory.clone());
    watch_database(db.clone(), database, &shutdown);

    let channel = grpc::internal(&config.endpoints.attention_state, &tokens)?;
    let objects = Objects::open(&config.objects).await?;
    let links = Links::of_installation(&config.auth);
    let downloads = Downloads::new(store.clone(), links, &config.section.public_url);
    let exporter = Exporter::new(store.clone(), rights.clone(), objects, shutdown.clone());
    let keeper = Keeper::new(store.clone(), channel, config.section.concurrency, metrics.clone());
    let sweeper = (keeper.clone(), config.section.clone(), shutdown.clone());
    shutdown.spawn("sweep", async move { sweeper.0.sweep_until(sweeper.1, sweeper.2).await });
    let sink = Arc::new(DeadLetters::new(db.clone()));
    Consumer::spawn(
        nats.clone(),
        consumer::spec(nats.subjects()),
        Arc::new(WakeUp::new(keeper)),
        sink.clone(),
        &shutdown,
    );
    let recorder = Arc::new(report::consumer::Recorder::new(store.clone()));
    Consumer::spawn(nats.clone(), report::consumer::spec(), recorder, sink, &shutdown);
    let reports = ReportRpc::new(store.clone(), rights.clone(), shutdown.clone());

    let history = HistoryRpc::new(store.clone(), rights.clone(), exporter, downloads, metrics);
    let linger = if config.profile == Profile::Production { LINGER } else { Duration::ZERO };
    let served = grpc::Server::new(listeners.grpc, readiness)
        .add_routes(routes(&store, &rights, history, reports))
        .authenticate(Verifier::new(&config.auth)?.with_directory(directory))
        .linger(linger)
        .serve(shutdown.clone())
        .await;
    shutdown.begin();
    shutdown.drain(hilo_kit::lifecycle::HARD_CAP).await;
    db.close().await;
    served?;
    if shutdown.failed() {
        return Err(Error::internal("TASK_FAILED", "a background task failed"));
    }
    Ok(())
}

fn routes(store: &Store, rights: &Rights, history: HistoryRpc, reports: ReportRpc) -> Routes {
    let (db, coordinators) = (store.db().clone(), rights.clone());
    let dead = DeadLetterEndpoint::new(
        db,
        crate::NAME,
        Arc::new(move |user: &str| coordinators.is_coordinator(user)),
    );
    let mut routes = Routes::builder();
    routes.add_service(StoredThreadServiceServer::new(StoredThreadRpc::new(store.clone())));
    routes.add_service(HistoryServiceServer::new(history));
    routes.add_service(ReportServiceServer::new(reports));
    routes.add_service(dead.into_service());
    routes.routes()
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
