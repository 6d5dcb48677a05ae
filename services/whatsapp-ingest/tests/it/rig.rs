//! A running service with everything around it: its own database and broker, a stand-in for attention-state's directory and one
//! for the Graph API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::HeaderMap;
use hilo_kit::auth::{Keys, ServiceTokens, generate_keys};
use hilo_kit::config::{
    DatabaseConfig, Endpoints, GrpcConfig, NatsConfig, ObjectsConfig, Profile, TelemetryConfig,
};
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::{Nats as Broker, StreamKind};
use hilo_kit::objects::Objects;
use hilo_kit::outbox::{HEADER_ID, HEADER_KEY, HEADER_SEQUENCE};
use hilo_proto::delivery::v1::DeliveryEnvelope;
use hilo_proto::directory::v1::Account;
use hilo_proto::inbound::v1::{InboundEnvelope, InboundWhatsApp, inbound_envelope};
use hilo_proto::internal::v1::ReportTemplatesRequest;
use hilo_proto::outbound::v1::OutboundEnvelope;
use hilo_test_support::{Nats, Postgres, Reader, eventually};
use hilo_whatsapp_ingest::config::{GraphConfig, MediaConfig, SenderConfig, TemplatesConfig, WebhookConfig};
use hilo_whatsapp_ingest::domain::signature::sign;
use hilo_whatsapp_ingest::{Config, Listeners, WhatsappConfig};
use prost::Message as _;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::feed::Feed;
use crate::graph::Graph;
pub use crate::make::{account, change, said, send, told, webhook};

pub const DEADLINE: Duration = Duration::from_secs(60);
pub const APP_SECRET: &str = "an app secret";
pub const OTHER_SECRET: &str = "the secret of another app";
pub const VERIFY_TOKEN: &str = "a verify token";
pub const ACCESS_TOKEN: &str = "an access token";
/// Meta's id of the number that most tests use.
pub const NUMBER: &str = "106540352242922";
pub const CUSTOMER: &str = "51987654321";

/// What a test wants to be different.
pub struct Setup {
    pub accounts: Vec<Account>,
    pub secrets: Vec<(&'static str, &'static str)>,
    pub sender: SenderConfig,
    pub reply_seconds: u64,
    pub directory_seconds: u64,
    pub media: MediaConfig,
    /// True: attention-state takes no reports of templates.
    pub reports_refused: bool,
    pub database_url: Option<String>,
    /// The Graph API to call instead of the stand-in.
    pub graph: Option<String>,
    /// False: the service runs, but never becomes ready (no directory).
    pub ready: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            accounts: vec![account("ventas", NUMBER, "app")],
            secrets: vec![
                ("app", APP_SECRET),
                ("other-app", OTHER_SECRET),
                ("verify", VERIFY_TOKEN),
                ("token", ACCESS_TOKEN),
            ],
            sender: quick(),
            reply_seconds: 30,
            directory_seconds: 1,
            media: MediaConfig { retry_seconds: 0.02, ..MediaConfig::default() },
            reports_refused: false,
            database_url: None,
            graph: None,
            ready: true,
        }
    }
}

/// Short waits, no pace towards one customer.
pub fn quick() -> SenderConfig {
    SenderConfig {
        doubt_seconds: 1,
        pair_seconds: 0.001,
        pair_burst: 1000,
        retry_seconds: 0.05,
        ..SenderConfig::default()
    }
}

/// Everything around the service, and the service while it runs.
pub struct Rig {
    pub nats: Nats,
    pub broker: Broker,
    pub db: Db,
    pub graph: Graph,
    pub webhook: String,
    pub grpc: String,
    pub tokens: ServiceTokens,
    pub http: reqwest::Client,
    config: Config,
    secrets: tempfile::TempDir,
    around: Shutdown,
    accounts: Feed,
    running: Option<(Shutdown, tokio::task::JoinHandle<Result<(), Error>>)>,
    inbound: Reader,
    delivery: Reader,
}

impl Rig {
    pub async fn start(setup: Setup) -> Self {
        hilo_kit::install_crypto();
        let url = match setup.database_url {
            Some(url) => url,
            None => Postgres::shared().await.unwrap().fresh_database().await.unwrap(),
        };
        hilo_whatsapp_ingest::migrate(&url).await.unwrap();
        let nats = Nats::start().await.unwrap();
        let keys = generate_keys().unwrap();
        let around = Shutdown::new();
        let accounts = Feed::of(setup.accounts);
        accounts.refuse_reports(setup.reports_refused);
        let attention_state = match setup.ready {
            true => accounts.serve(&keys, &around).await,
            false => "http://127.0.0.1:9".to_owned(),
        };
        let secrets = tempfile::tempdir().unwrap();
        for (name, value) in &setup.secrets {
            std::fs::write(secrets.path().join(name), value).unwrap();
        }
        let graph = Graph::default();
        let base_url = match setup.graph {
            Some(base_url) => base_url,
            None => graph.serve().await,
        };
        let graph_config = GraphConfig { base_url, reply_seconds: setup.reply_seconds };
        let folder = secrets.path().to_owned();
        let mut config = config(&url, &nats, &keys, attention_state, folder, graph_config, setup.sender);
        config.section.webhook.directory_seconds = setup.directory_seconds;
        config.section.media = setup.media;
        config.objects.path = secrets.path().join("objects");
        let broker = Broker::connect(&config.nats).await.unwrap();
        let streams = [StreamKind::Inbound, StreamKind::Outbound, StreamKind::Delivery];
        broker.ensure_streams(&streams).await.unwrap();
        let mut rig = Self {
            db: Db::connect(&DatabaseConfig::new(url)).await.unwrap(),
            tokens: ServiceTokens::new(&config.auth, "test"),
            http: reqwest::Client::builder().build().unwrap(),
            nats,
            inbound: Reader::of(&broker.subjects().stream(StreamKind::Inbound)),
            delivery: Reader::of(&broker.subjects().stream(StreamKind::Delivery)),
            broker,
            graph,
            webhook: String::new(),
            grpc: String::new(),
            config,
            secrets,
            around,
            accounts,
            running: None,
        };
        rig.run().await;
        if setup.ready {
            rig.wait_until_it_takes_webhooks().await;
        }
        rig
    }

    /// Starts the service on new ports.
    pub async fn run(&mut self) {
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.webhook = format!("http://{}/webhook", webhook.local_addr().unwrap());
        self.grpc = format!("http://{}", grpc.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let listeners = Listeners { grpc, webhook };
        let service = hilo_whatsapp_ingest::run(self.config.clone(), listeners, shutdown.clone());
        self.running = Some((shutdown, tokio::spawn(service)));
    }

    /// Waits until there is a secret to check webhooks with: an unsigned one is then not 503 but 401.
    pub async fn wait_until_it_takes_webhooks(&self) {
        let takes = || async {
            let answer = self.http.post(&self.webhook).body("x").send().await;
            answer.is_ok_and(|answer| answer.status() == 401)
        };
        eventually("webhooks are taken", DEADLINE, takes).await.unwrap();
    }

    /// Stops the service; it must end cleanly.
    pub async fn stop(&mut self) {
        if let Some((shutdown, running)) = self.running.take() {
            shutdown.begin();
            tokio::time::timeout(DEADLINE, running).await.expect("stopped in time").unwrap().unwrap();
        }
    }

    /// The next version of the directory.
    pub fn set_accounts(&self, accounts: Vec<Account>) {
        self.accounts.set(accounts);
    }

    pub fn set_secret(&self, name: &str, value: &str) {
        std::fs::write(self.secrets.path().join(name), value).unwrap();
    }

    /// Posts a webhook signed as Meta signs; its status.
    pub async fn post(&self, body: &Value) -> u16 {
        self.post_signed(body, APP_SECRET).await
    }

    pub async fn post_signed(&self, body: &Value, secret: &str) -> u16 {
        self.post_bytes(body.to_string().into_bytes(), secret).await
    }

    pub async fn post_bytes(&self, body: Vec<u8>, secret: &str) -> u16 {
        let signature = sign(secret.as_bytes(), &body).unwrap();
        let request = self.http.post(&self.webhook).header("X-Hub-Signature-256", signature).body(body);
        request.send().await.unwrap().status().as_u16()
    }

    /// The next item handed over.
    pub async fn inbound(&mut self) -> (InboundEnvelope, InboundWhatsApp) {
        let payload = self
            .inbound
            .next(self.broker.jetstream(), DEADLINE)
            .await
            .unwrap()
            .expect("an item is handed over");
        let envelope = InboundEnvelope::decode(payload).unwrap();
        let Some(inbound_envelope::Content::Whatsapp(item)) = envelope.content.clone() else {
            panic!("no WhatsApp item")
        };
        (envelope, item)
    }

    /// Reports of templates, oldest first.
    pub fn reports(&self) -> Vec<ReportTemplatesRequest> {
        self.accounts.reports()
    }

    /// From now on attention-state takes reports of templates.
    pub fn take_reports(&self) {
        self.accounts.refuse_reports(false);
    }

    /// The object store of the service.
    pub async fn objects(&self) -> Objects {
        Objects::open(&self.config.objects).await.unwrap()
    }

    /// True when no report comes for a moment.
    pub async fn nothing_reported(&mut self) -> bool {
        self.delivery.next(self.broker.jetstream(), Duration::from_millis(1500)).await.unwrap().is_none()
    }

    /// The next report, but for those that only say that this machine was too slow for a lease; then the message goes out later.
    pub async fn report(&mut self) -> DeliveryEnvelope {
        loop {
            let payload =
                self.delivery.next(self.broker.jetstream(), DEADLINE).await.unwrap().expect("a report");
            let report = DeliveryEnvelope::decode(payload).unwrap();
            if !["LEASE_LOST", "LEDGER_AWAY"].contains(&report.reason.as_str()) {
                return report;
            }
        }
    }

    /// Publishes a send as attention-state's relay does; the message's id is not the send's.
    pub async fn publish(&self, send: &OutboundEnvelope) {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_ID, Uuid::now_v7().to_string());
        headers.insert(HEADER_KEY, send.conversation_key.as_str());
        headers.insert(HEADER_SEQUENCE, send.sequence.to_string());
        let subject =
            self.broker.subjects().handover(StreamKind::Outbound, "whatsapp", &send.account_key).unwrap();
        self.broker.publish(subject, headers, send.encode_to_vec().into()).await.unwrap();
    }

    /// A number out of the database.
    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(self.db.pool()).await.unwrap()
    }

    /// Waits until a query answers this number. A session that died with its server is no answer.
    pub async fn counts(&self, query: &'static str, expected: i64) {
        let what = format!("{query} = {expected}");
        let answer = || sqlx::query_scalar::<_, i64>(query).fetch_one(self.db.pool());
        eventually(&what, DEADLINE, || async { answer().await.ok() == Some(expected) }).await.unwrap();
    }

    /// Waits until everything that came was parsed.
    pub async fn parsed(&self) {
        self.counts("SELECT count(*) FROM whatsapp.parse_queue", 0).await;
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some((shutdown, running)) = self.running.take() {
            shutdown.begin();
            running.abort();
        }
        self.around.begin();
    }
}

fn config(
    url: &str,
    nats: &Nats,
    keys: &Keys,
    attention_state: String,
    secrets: PathBuf,
    graph: GraphConfig,
    sender: SenderConfig,
) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        nats: NatsConfig { url: nats.url(), ..NatsConfig::default() },
        telemetry: TelemetryConfig::default(),
        auth: keys.auth_config("hilo"),
        objects: ObjectsConfig::default(),
        endpoints: Endpoints { attention_state, ..Endpoints::default() },
        profile: Profile::Embedded,
        section: WhatsappConfig {
            grpc: GrpcConfig { listen: any },
            database: DatabaseConfig::new(url),
            webhook: WebhookConfig::new(any),
            secrets: Some(secrets),
            graph,
            sender,
            media: MediaConfig::default(),
            templates: TemplatesConfig { retry_seconds: 0.05, ..TemplatesConfig::default() },
        },
    }
}
