//! The whole service on a real broker and database, over gRPC: the live desk, rights, stopping.

use std::time::Duration;

use hilo_kit::auth::{Issuer, Keys, ServiceTokens, generate_keys};
use hilo_kit::config::{
    DatabaseConfig, Endpoints, GrpcConfig, NatsConfig, ObjectsConfig, Profile, Secret, TelemetryConfig,
};
use hilo_kit::consumer::Delivery;
use hilo_kit::db::Db;
use hilo_kit::grpc::{self, Bearer};
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::outbox::{HEADER_ID, HEADER_KEY, HEADER_SEQUENCE};
use hilo_proto::attention::v1::attention_service_client::AttentionServiceClient;
use hilo_proto::attention::v1::watch_desk_response::Update;
use hilo_proto::attention::v1::{
    DeskSnapshot, EndInteractionRequest, OpenInteractionRequest, ReleaseInteractionRequest,
    ReopenInteractionRequest, WatchDeskRequest, WatchDeskResponse,
};
use hilo_proto::directory::v1::ApplyDirectoryRequest;
use hilo_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use hilo_proto::event::v1::InteractionState;
use hilo_test_support::{Nats, Postgres};
use prost::Message as _;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::{Mail, THREAD_KEY, fresh};
use crate::config::{Config, Section};
use crate::directory::testing::{apply, directory_of};
use crate::{Listeners, run};

pub(super) type Client = InterceptedService<Channel, Bearer>;
const PATIENCE: Duration = Duration::from_secs(60);

/// The service, its broker and database.
pub(super) struct Rig {
    nats: Nats,
    broker: hilo_kit::nats::Nats,
    keys: Keys,
    url: String,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<Result<(), hilo_kit::Error>>,
    pub(super) db: Db,
}

impl Rig {
    pub(super) async fn start() -> Self {
        hilo_kit::install_crypto();
        let database = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
        crate::migrate(&database).await.unwrap();
        let db = Db::connect(&DatabaseConfig::new(database.clone())).await.unwrap();
        apply(&db, &super::whatsapp_rig::directory()).await;
        let nats = Nats::start().await.unwrap();
        let broker_config = NatsConfig { url: nats.url(), ..NatsConfig::default() };
        let broker = hilo_kit::nats::Nats::connect(&broker_config).await.unwrap();
        let keys = generate_keys().unwrap();
        let config = Config {
            nats: broker_config,
            telemetry: TelemetryConfig::default(),
            auth: keys.auth_config("hilo"),
            objects: ObjectsConfig::default(),
            endpoints: Endpoints { email_ingest: "http://127.0.0.1:9".into(), ..Endpoints::default() },
            profile: Profile::Embedded,
            section: Section {
                grpc: GrpcConfig { listen: "127.0.0.1:0".parse().unwrap() },
                database: DatabaseConfig::new(database),
                signing_key: keys.signing_key.clone(),
                thread_key: Secret::new(String::from_utf8(THREAD_KEY.to_vec()).unwrap()),
                public_url: String::new(),
                purge_after_seconds: crate::config::DEFAULT_PURGE_AFTER,
            },
        };
        let listeners = Listeners::bind(&config).await.unwrap();
        let url = format!("http://{}", listeners.grpc.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let running = tokio::spawn(run(config, listeners, shutdown.clone()));
        let rig = Self { nats, broker, keys, url, shutdown, running, db };
        rig.ready().await;
        rig
    }

    /// Waits until the service says it is ready: consumers confirmed, broker connected.
    async fn ready(&self) {
        let channel = grpc::channel(&self.url).unwrap();
        hilo_test_support::eventually("the service is ready", PATIENCE, || {
            let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
            async move {
                let request = tonic_health::pb::HealthCheckRequest { service: "readiness".into() };
                health.check(request).await.is_ok_and(|answer| answer.into_inner().status == 1)
            }
        })
        .await
        .unwrap();
    }

    fn token(&self, user: &str, ttl: Duration) -> String {
        let issuer = Issuer::new(self.keys.signing_key.expose(), "hilo").unwrap();
        issuer.issue(user, hilo_kit::clock::wall(), ttl).unwrap().token
    }

    fn channel(&self, token: String) -> Client {
        InterceptedService::new(grpc::channel(&self.url).unwrap(), Bearer(token))
    }

    pub(super) fn desk(&self, user: &str) -> AttentionServiceClient<Client> {
        AttentionServiceClient::new(self.channel(self.token(user, Duration::from_secs(600))))
    }

    pub(super) async fn watch(&self, user: &str) -> (Streaming<WatchDeskResponse>, DeskSnapshot) {
        self.watch_channel(user, "email").await
    }

    pub(super) async fn watch_channel(
        &self,
        user: &str,
        channel: &str,
    ) -> (Streaming<WatchDeskResponse>, DeskSnapshot) {
        let request = WatchDeskRequest { channel: channel.into() };
        let mut stream = self.desk(user).watch_desk(request).await.unwrap().into_inner();
        let Some(Update::Snapshot(snapshot)) = next(&mut stream).await.unwrap().update else {
            panic!("a snapshot first")
        };
        (stream, snapshot)
    }

    /// A stream of a token that ends soon; it has lasted long enough for the first answer.
    async fn watch_shortly(&self, user: &str) -> Streaming<WatchDeskResponse> {
        for seconds in [2, 10, 50] {
            let channel = self.channel(self.token(user, Duration::from_secs(seconds)));
            let request = WatchDeskRequest { channel: "email".into() };
            let Ok(answer) = AttentionServiceClient::new(channel).watch_desk(request).await else { continue };
            let mut stream = answer.into_inner();
            if next(&mut stream).await.is_ok() {
                return stream;
            }
        }
        panic!("no token lasted until the first answer")
    }

    pub(super) async fn publish(&self, mail: &Mail) {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(HEADER_ID, mail.delivery_id.to_string());
        headers.insert(HEADER_KEY, mail.conversation.to_string());
        headers.insert(HEADER_SEQUENCE, mail.number.to_string());
        let payload = mail.envelope().encode_to_vec();
        self.broker.publish("hilo.inbound.email.soporte-mail".into(), headers, payload.into()).await.unwrap();
    }

    /// Publishes what a channel service would.
    pub(super) async fn hand_over(&self, delivery: &Delivery) {
        let mut headers = async_nats::HeaderMap::new();
        for name in [HEADER_ID, HEADER_KEY, HEADER_SEQUENCE] {
            if let Some(value) = delivery.header(name) {
                headers.insert(name, value);
            }
        }
        let subject = delivery.subject().to_owned();
        self.broker.publish(subject, headers, delivery.payload().clone()).await.unwrap();
    }

    pub(super) async fn stop(self) {
        self.shutdown.begin();
        tokio::time::timeout(PATIENCE, self.running).await.expect("stops in time").unwrap().unwrap();
    }
}

pub(super) async fn next(
    stream: &mut Streaming<WatchDeskResponse>,
) -> Result<WatchDeskResponse, tonic::Status> {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("an update comes in time")?;
    message.ok_or_else(|| tonic::Status::ok("the stream ended"))
}

/// Waits for an update that fits, leaving out all others; a desk that only shows signs of life does not hold it for ever.
pub(super) async fn until<T>(
    stream: &mut Streaming<WatchDeskResponse>,
    mut fits: impl FnMut(&Update) -> Option<T>,
) -> T {
    let found = async {
        loop {
            if let Some(found) = next(stream).await.unwrap().update.as_ref().and_then(&mut fits) {
                return found;
            }
        }
    };
    tokio::time::timeout(3 * PATIENCE, found).await.expect("the update that fits comes in time")
}

/// The answer the stream ends with.
async fn ended(stream: &mut Streaming<WatchDeskResponse>) -> tonic::Status {
    let end = async {
        loop {
            if let Err(status) = next(stream).await {
                return status;
            }
        }
    };
    tokio::time::timeout(3 * PATIENCE, end).await.expect("the stream ends in time")
}

pub(super) fn item(update: &Update) -> Option<hilo_proto::attention::v1::DeskItem> {
    match update {
        Update::Item(item) => Some(item.clone()),
        Update::Snapshot(_) | Update::Removal(_) | Update::Counters(_) | Update::Alive(_) => None,
    }
}

pub(super) fn removal(update: &Update) -> Option<String> {
    match update {
        Update::Removal(removal) => Some(removal.interaction_id.clone()),
        Update::Snapshot(_) | Update::Item(_) | Update::Counters(_) | Update::Alive(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_reaches_the_desks_and_opening_takes_it_from_the_others() {
    let rig = Rig::start().await;
    let (mut ana, snapshot) = rig.watch("ana").await;
    assert!(snapshot.items.is_empty());
    let (mut luis, _) = rig.watch("luis").await;
    let (mut rosa, _) = rig.watch("rosa").await;
    rig.publish(&Mail::from("eva@cliente.example")).await;
    let queued = until(&mut ana, item).await;
    assert_eq!((queued.state(), queued.subject.as_str()), (InteractionState::Queued, "No llegó mi pedido"));
    // The item and the counters come in any order.
    let (mut shown, mut counted) = (false, None);
    until(&mut luis, |update| {
        match update {
            Update::Item(_) => shown = true,
            Update::Counters(counters) => counted = Some((counters.open, counters.queued)),
            Update::Snapshot(_) | Update::Removal(_) | Update::Alive(_) => {}
        }
        (shown && counted == Some((0, 1))).then_some(())
    })
    .await;
    let open = OpenInteractionRequest { interaction_id: queued.interaction_id.clone(), request_id: fresh() };
    rig.desk("ana").open_interaction(open.clone()).await.unwrap();
    assert_eq!(until(&mut luis, removal).await, queued.interaction_id);
    let mine =
        until(&mut ana, |update| item(update).filter(|one| one.state() == InteractionState::Open)).await;
    assert!(mine.version > queued.version);
    let status = rig.desk("luis").open_interaction(open).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(hilo_kit::error::reason_of(&status).as_deref(), Some("ALREADY_TAKEN"));
    let release =
        ReleaseInteractionRequest { interaction_id: queued.interaction_id.clone(), request_id: fresh() };
    rig.desk("ana").release_interaction(release).await.unwrap();
    until(&mut luis, item).await;
    // Another campaign saw nothing of it.
    rig.publish(&Mail { account: "ventas-mail".into(), ..Mail::from("otto@cliente.example") }).await;
    assert_eq!(until(&mut rosa, item).await.campaign_key, "ventas");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_its_rights_and_the_service() {
    let rig = Rig::start().await;
    let mut stream = rig.watch_shortly("ana").await;
    assert_eq!(ended(&mut stream).await.code(), Code::Unauthenticated);
    // Luis leaves the campaign, then the house.
    let (mut luis, _) = rig.watch("luis").await;
    rig.publish(&Mail::from("eva@cliente.example")).await;
    until(&mut luis, item).await;
    let tokens = ServiceTokens::new(&rig.keys.auth_config("hilo"), "test");
    let mut directory = DirectoryServiceClient::new(rig.channel(tokens.token().unwrap()));
    let without = directory_of(&[("soporte", &["ana"]), ("ventas", &["rosa", "luis"])], "");
    directory
        .apply_directory(ApplyDirectoryRequest { yaml: without, dry_run: false, prune: true })
        .await
        .unwrap();
    // He is no member any more.
    until(&mut luis, |update| match update {
        Update::Snapshot(snapshot) => snapshot.items.is_empty().then_some(()),
        Update::Item(_) | Update::Removal(_) | Update::Counters(_) | Update::Alive(_) => None,
    })
    .await;
    let gone = directory_of(&[("soporte", &["ana"]), ("ventas", &["rosa"])], "");
    directory
        .apply_directory(ApplyDirectoryRequest { yaml: gone, dry_run: false, prune: true })
        .await
        .unwrap();
    assert_eq!(ended(&mut luis).await.code(), Code::Unauthenticated);
    let (mut ana, _) = rig.watch("ana").await;
    rig.shutdown.begin();
    assert_eq!(ended(&mut ana).await.code(), Code::Unavailable);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_lost_everything_is_healed_and_desks_take_a_new_snapshot() {
    let mut rig = Rig::start().await;
    let (mut ana, _) = rig.watch("ana").await;
    rig.publish(&Mail::from("eva@cliente.example")).await;
    let first = until(&mut ana, item).await;
    rig.nats.kill_9().unwrap();
    rig.nats.wipe().unwrap();
    // While the broker is away agents work on: the claim needs only the database.
    let open = OpenInteractionRequest { interaction_id: first.interaction_id.clone(), request_id: fresh() };
    rig.desk("ana").open_interaction(open).await.unwrap();
    rig.nats.restart().await.unwrap();
    until(&mut ana, |update| {
        let shown = match update {
            Update::Snapshot(snapshot) => snapshot.items.first().map(|item| item.state()),
            Update::Item(item) => Some(item.state()),
            Update::Removal(_) | Update::Counters(_) | Update::Alive(_) => None,
        };
        shown.filter(|state| *state == InteractionState::Open)
    })
    .await;
    let end = EndInteractionRequest {
        interaction_id: first.interaction_id.clone(),
        close_attention: false,
        request_id: fresh(),
    };
    rig.desk("ana").end_interaction(end).await.unwrap();
    // The item is removed, or the snapshot that follows the new reader's start comes without it.
    until(&mut ana, |update| match update {
        Update::Removal(removal) => (removal.interaction_id == first.interaction_id).then_some(()),
        Update::Snapshot(snapshot) => snapshot.items.is_empty().then_some(()),
        Update::Item(_) | Update::Counters(_) | Update::Alive(_) => None,
    })
    .await;
    rig.stop().await;
}

/// A client that reads nothing loses no other's updates, and finds the newest state when it reads again.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_desk_gets_a_new_snapshot_and_holds_up_nobody() {
    let rig = Rig::start().await;
    let (mut slow, _) = rig.watch("ana").await;
    let (mut quick, _) = rig.watch("luis").await;
    rig.publish(&Mail::from("eva@cliente.example").id("m1@x")).await;
    until(&mut quick, item).await;
    // Many changes of one item, each a little over what buffers on the way hold together.
    let subject = "ñ".repeat(900);
    for n in 0..1_200 {
        let mail = Mail::from("eva@cliente.example").answers(&["m1@x"]).subject(&subject);
        rig.publish(&mail.with(|email| email.text = format!("{n} {}", "x".repeat(100)))).await;
    }
    let last = |update: &Update| item(update).filter(|one| one.message_count == 1_201);
    until(&mut quick, last).await;
    until(&mut slow, |update| match update {
        Update::Snapshot(snapshot) => {
            snapshot.items.first().map(|item| item.message_count).filter(|n| *n == 1_201)
        }
        Update::Item(item) => Some(item.message_count).filter(|n| *n == 1_201),
        Update::Removal(_) | Update::Counters(_) | Update::Alive(_) => None,
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_ids_and_strangers_are_refused() {
    let rig = Rig::start().await;
    let reopen = ReopenInteractionRequest { interaction_id: fresh(), request_id: fresh() };
    assert_eq!(rig.desk("ana").reopen_interaction(reopen.clone()).await.unwrap_err().code(), Code::NotFound);
    let mut anonymous = AttentionServiceClient::new(grpc::channel(&rig.url).unwrap());
    assert_eq!(anonymous.reopen_interaction(reopen.clone()).await.unwrap_err().code(), Code::Unauthenticated);
    let tokens = ServiceTokens::new(&rig.keys.auth_config("hilo"), "routing");
    let mut service = AttentionServiceClient::new(rig.channel(tokens.token().unwrap()));
    assert_eq!(service.reopen_interaction(reopen).await.unwrap_err().code(), Code::PermissionDenied);
    let watch = WatchDeskRequest { channel: "fax".into() };
    assert_eq!(rig.desk("ana").watch_desk(watch).await.unwrap_err().code(), Code::InvalidArgument);
    let contacts: i64 =
        sqlx::query_scalar("SELECT count(*) FROM contact.contact").fetch_one(rig.db.pool()).await.unwrap();
    assert_eq!(contacts, 0);
    rig.stop().await;
}
