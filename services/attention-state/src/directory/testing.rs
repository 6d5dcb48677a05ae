//! For tests of this crate: a fresh database with the schema, the example directory, and a server on a free port.

use std::sync::Arc;

use hilo_kit::auth::{Issuer, Keys, ServiceTokens, Verifier, generate_keys};
use hilo_kit::config::{AuthConfig, DatabaseConfig};
use hilo_kit::db::Db;
use hilo_kit::grpc::{self, Bearer, Server};
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::Subjects;
use hilo_proto::directory::v1::directory_service_server::DirectoryServiceServer;
use hilo_proto::identity::v1::identity_service_server::IdentityServiceServer;
use hilo_proto::internal::v1::assignment_service_server::AssignmentServiceServer;
use hilo_proto::internal::v1::directory_feed_service_server::DirectoryFeedServiceServer;
use hilo_proto::internal::v1::queue_service_server::QueueServiceServer;
use hilo_test_support::Postgres;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::announce::Announcer;
use super::apply::{Admin, Mode, Outcome};
use crate::identity::Identity;
use crate::identity::password::Hasher;
use crate::transport::assignment_rpc::AssignmentRpc;
use crate::transport::directory_feed_rpc::DirectoryFeedRpc;
use crate::transport::directory_rpc::DirectoryRpc;
use crate::transport::identity_rpc::IdentityRpc;
use crate::transport::queue_rpc::QueueRpc;

/// The example of README.md, which is thereby known to be right.
pub(crate) fn example() -> String {
    let readme = include_str!("README.md");
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    yaml.to_owned()
}

/// A fresh database with the schema.
pub(crate) async fn database() -> Db {
    let url = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
    hilo_kit::db::migrate(&url, &sqlx::migrate!("./migrations")).await.unwrap();
    Db::connect(&DatabaseConfig::new(url)).await.unwrap()
}

/// Changes the directory without a broker.
pub(crate) fn admin(db: &Db) -> Admin {
    Admin::new(db.clone(), Hasher::default(), Announcer::new(None))
}

/// Applies a text that must be right.
pub(crate) async fn apply(db: &Db, yaml: &str) -> Outcome {
    let outcome = admin(db)
        .apply(yaml.to_owned(), Mode { prune: true, ..Mode::default() }, "service:test".to_owned())
        .await
        .unwrap();
    assert_eq!(outcome.errors, [], "the directory must be right");
    outcome
}

/// Email campaigns `name: [members]`, each with one account, and users for all members.
pub(crate) fn directory_of(campaigns: &[(&str, &[&str])], more: &str) -> String {
    let mut users: Vec<&str> = campaigns.iter().flat_map(|(_, members)| members.iter().copied()).collect();
    users.sort_unstable();
    users.dedup();
    let mut yaml = String::from("accounts:\n");
    for (key, _) in campaigns {
        yaml += &format!("  - {{key: {key}-mail, channel: email, address: {key}@ejemplo.pe}}\n");
    }
    yaml += "campaigns:\n";
    for (key, members) in campaigns {
        yaml += &format!(
            "  - {{key: {key}, name: {key}, channel: email, accounts: [{key}-mail], members: [{}], \
             assignment_mode: round_robin{more}}}\n",
            members.join(", ")
        );
    }
    yaml += "users:\n";
    for user in users {
        yaml += &format!("  - {{key: {user}, name: {user}, roles: [agent]}}\n");
    }
    yaml
}

/// The RPCs of this module on a free port.
pub(crate) struct Served {
    pub db: Db,
    pub keys: Keys,
    pub url: String,
    pub announcer: Announcer,
    shutdown: Shutdown,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// A channel that carries a token.
pub(crate) type Client = InterceptedService<Channel, Bearer>;

impl Served {
    pub(crate) async fn start() -> Self {
        Self::configured(|auth| auth).await
    }

    /// With another verification of tokens than that by the keys alone.
    pub(crate) async fn configured(change: impl FnOnce(AuthConfig) -> AuthConfig) -> Self {
        hilo_kit::install_crypto();
        let db = database().await;
        let keys = generate_keys().unwrap();
        let announcer = Announcer::new(None);
        let issuer = Arc::new(Issuer::new(keys.signing_key.expose(), "hilo").unwrap());
        let admin = Admin::new(db.clone(), Hasher::default(), announcer.clone());
        let identity = Identity::new(db.clone(), issuer, Hasher::default(), announcer.clone());
        let mut routes = Routes::builder();
        routes.add_service(DirectoryServiceServer::new(DirectoryRpc::new(db.clone(), admin)));
        routes.add_service(DirectoryFeedServiceServer::new(DirectoryFeedRpc::new(db.clone())));
        routes.add_service(IdentityServiceServer::new(IdentityRpc::new(db.clone(), identity)));
        let subjects = Subjects::new("hilo").unwrap();
        routes.add_service(AssignmentServiceServer::new(AssignmentRpc::new(db.clone(), subjects)));
        routes.add_service(QueueServiceServer::new(QueueRpc::new(db.clone())));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let server = Server::new(listener, Readiness::new())
            .add_routes(routes.routes())
            .authenticate(Verifier::new(&change(keys.auth_config("hilo"))).unwrap());
        let stop = shutdown.clone();
        tokio::spawn(async move { server.serve(stop).await });
        Self { db, keys, url, announcer, shutdown }
    }

    /// A channel with any token.
    pub(crate) fn with_token(&self, token: &str) -> Client {
        InterceptedService::new(grpc::channel(&self.url).unwrap(), Bearer(token.to_owned()))
    }

    /// A channel without a token.
    pub(crate) fn anonymous(&self) -> Channel {
        grpc::channel(&self.url).unwrap()
    }

    /// A channel of a service.
    pub(crate) fn service(&self) -> Client {
        let tokens = ServiceTokens::new(&self.keys.auth_config("hilo"), "routing");
        self.with_token(&tokens.token().unwrap())
    }

    /// A channel of a user, without signing in.
    pub(crate) fn user(&self, key: &str) -> Client {
        let issuer = Issuer::new(self.keys.signing_key.expose(), "hilo").unwrap();
        let issued = issuer.issue(key, hilo_kit::clock::wall(), std::time::Duration::from_secs(600)).unwrap();
        self.with_token(&issued.token)
    }
}
