//! The gRPC server as clients and Kubernetes see it: health, identity, deadlines, the web, stopping; and what rests on
//! it: directory cache, hand-over look-up, dead letters.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::auth::{self, Issuer, Keys, ServiceTokens, Verifier, generate_keys};
use hilo_kit::config::Endpoints;
use hilo_kit::consumer::{DeadLetter, DeadLetterSink, Delivery};
use hilo_kit::dead::{DeadLetterEndpoint, DeadLetters};
use hilo_kit::directory::DirectoryCache;
use hilo_kit::error::reason_of;
use hilo_kit::grpc::{self, Bearer, Server, with_deadline};
use hilo_kit::health::Readiness;
use hilo_kit::inbox;
use hilo_kit::lifecycle::{Drain, Shutdown};
use hilo_kit::nats::{Bucket, StreamKind};
use hilo_kit::outbox::{GrpcPeer, HandoverEndpoint, HandoverPeer};
use hilo_proto::directory::v1 as directory;
use hilo_proto::internal::v1 as internal;
use hilo_proto::internal::v1::dead_letter_service_client::DeadLetterServiceClient;
use hilo_proto::internal::v1::directory_feed_service_server::{
    DirectoryFeedService, DirectoryFeedServiceServer,
};
use hilo_test_support::eventually;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use uuid::Uuid;

use crate::parts::{DEADLINE, database, parts};

/// A feed whose version is set by the test; `slow` makes it hang.
#[derive(Clone, Default)]
struct Feed {
    version: Arc<Mutex<i64>>,
    slow: bool,
}

#[tonic::async_trait]
impl DirectoryFeedService for Feed {
    async fn get_directory(
        &self,
        request: Request<internal::GetDirectoryRequest>,
    ) -> Result<Response<internal::GetDirectoryResponse>, Status> {
        auth::require_service(&request)?;
        if self.slow {
            std::future::pending::<()>().await;
        }
        let version = *self.version.lock();
        let changed = request.get_ref().known_version != version;
        let account = directory::Account { key: format!("account-{version}"), ..Default::default() };
        let directory = changed
            .then(|| directory::Directory { accounts: vec![account], ..directory::Directory::default() });
        Ok(Response::new(internal::GetDirectoryResponse {
            version,
            changed,
            directory,
            revoked_token_ids: vec![],
        }))
    }
}

struct Served {
    url: String,
    address: std::net::SocketAddr,
    keys: Keys,
    readiness: Readiness,
    shutdown: Shutdown,
}

impl Served {
    async fn start(routes: Routes) -> Self {
        let keys = generate_keys().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::new(), Shutdown::new());
        let server = Server::new(listener, readiness.clone())
            .authenticate(Verifier::new(&keys.auth_config("hilo")).unwrap())
            .stop_cap(Duration::from_secs(1))
            .add_routes(routes);
        let stop = shutdown.clone();
        shutdown.spawn("server", async move { server.serve(stop).await.unwrap() });
        Self { url: format!("http://{address}"), address, keys, readiness, shutdown }
    }

    fn tokens(&self) -> ServiceTokens {
        ServiceTokens::new(&self.keys.auth_config("hilo"), "tester")
    }

    async fn health(&self, service: &str) -> ServingStatus {
        let mut client = HealthClient::new(grpc::channel(&self.url).unwrap());
        let request = with_deadline(HealthCheckRequest { service: service.into() }, DEADLINE);
        client.check(request).await.unwrap().into_inner().status()
    }
}

fn feed_routes(feed: Feed) -> Routes {
    Routes::new(DirectoryFeedServiceServer::new(feed))
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_readiness_and_liveness_does_not() {
    let served = Served::start(Routes::default()).await;
    let condition = served.readiness.condition("database");
    eventually("not ready", DEADLINE, || async {
        served.health("readiness").await == ServingStatus::NotServing
    })
    .await
    .unwrap();
    assert_eq!(served.health("liveness").await, ServingStatus::Serving);
    assert_eq!(served.health("").await, ServingStatus::Serving);
    condition.set(true);
    eventually("ready", DEADLINE, || async { served.health("readiness").await == ServingStatus::Serving })
        .await
        .unwrap();
    assert_eq!(served.shutdown.drain(DEADLINE).await, Drain::Clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_call_meets_its_deadline_and_cannot_hold_up_the_stop() {
    let served = Served::start(feed_routes(Feed { slow: true, ..Feed::default() })).await;
    let channel = grpc::internal(&served.url, &served.tokens()).unwrap();
    let mut client = internal::directory_feed_service_client::DirectoryFeedServiceClient::new(channel);
    let request = with_deadline(internal::GetDirectoryRequest::default(), Duration::from_millis(200));
    let code = client.get_directory(request).await.unwrap_err().code();
    assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?}");
    let hanging = tokio::spawn(async move {
        client
            .get_directory(with_deadline(internal::GetDirectoryRequest::default(), Duration::from_secs(60)))
            .await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let drain = served.shutdown.drain(DEADLINE).await;
    assert_eq!(drain, Drain::Clean, "cut at the server's own cap");
    let cut = tokio::time::timeout(DEADLINE, hanging).await.expect("the connection was cut");
    assert!(cut.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_who_their_token_says() {
    let served = Served::start(feed_routes(Feed::default())).await;
    let call = |bearer: Option<String>| {
        let url = served.url.clone();
        async move {
            let channel = grpc::channel(&url).unwrap();
            let request = with_deadline(internal::GetDirectoryRequest::default(), DEADLINE);
            let mut client =
                internal::directory_feed_service_client::DirectoryFeedServiceClient::new(channel.clone());
            match bearer {
                None => client.get_directory(request).await,
                Some(token) => {
                    internal::directory_feed_service_client::DirectoryFeedServiceClient::with_interceptor(
                        channel,
                        Bearer(token),
                    )
                    .get_directory(request)
                    .await
                }
            }
        }
    };
    assert_eq!(call(None).await.unwrap_err().code(), Code::Unauthenticated);
    let forged = call(Some("a.b.c".into())).await.unwrap_err();
    assert_eq!(
        (forged.code(), reason_of(&forged).as_deref()),
        (Code::Unauthenticated, Some("UNAUTHENTICATED"))
    );
    let issuer = Issuer::new(served.keys.signing_key.expose(), "hilo").unwrap();
    let user = issuer.issue("ana", time::OffsetDateTime::now_utc(), Duration::from_secs(60)).unwrap();
    let denied = call(Some(user.token)).await.unwrap_err();
    assert_eq!(
        (denied.code(), reason_of(&denied).as_deref()),
        (Code::PermissionDenied, Some("SERVICE_REQUIRED"))
    );
    call(Some(served.tokens().token().unwrap())).await.unwrap();
    served.shutdown.drain(DEADLINE).await;
}

/// Sends one HTTP/1.1 request that asks to close after it, and reads the whole answer.
async fn http(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .expect("the server closes")
        .unwrap();
    String::from_utf8_lossy(&answer).to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_get_in_by_grpc_web_and_see_the_status() {
    let served = Served::start(feed_routes(Feed::default())).await;
    let preflight = http(
        served.address,
        "OPTIONS /hilo.internal.v1.DirectoryFeedService/GetDirectory HTTP/1.1\r\nhost: h\r\nconnection: close\r\norigin: http://desk\r\n\
         access-control-request-method: POST\r\naccess-control-request-headers: authorization,x-grpc-web\r\n\r\n",
    )
    .await;
    assert!(preflight.starts_with("http/1.1 200"), "{preflight}");
    assert!(preflight.contains("access-control-allow-headers: authorization,x-grpc-web"), "{preflight}");
    let call = http(
        served.address,
        "POST /hilo.internal.v1.DirectoryFeedService/GetDirectory HTTP/1.1\r\nhost: h\r\nconnection: close\r\norigin: http://desk\r\n\
         content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0",
    )
    .await;
    assert!(call.contains("grpc-status: 16"), "anonymous: {call}");
    assert!(call.contains("access-control-expose-headers: grpc-status"), "{call}");
    served.shutdown.drain(DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_fresh_at_once_after_a_ping_and_survives_an_outage() {
    let parts = parts().await;
    let feed = Feed::default();
    *feed.version.lock() = 1;
    let served = Served::start(feed_routes(feed.clone())).await;
    let endpoints = Endpoints { attention_state: served.url.clone(), ..Endpoints::default() };
    let cache = DirectoryCache::start(&endpoints, &served.tokens(), &parts.nats, &parts.shutdown).unwrap();
    tokio::time::timeout(DEADLINE, cache.loaded()).await.unwrap();
    assert!(cache.current().account("account-1").is_some());
    *feed.version.lock() = 2;
    let bucket = parts.nats.ensure_bucket(Bucket::Directory, Duration::ZERO).await.unwrap();
    bucket.put("version", "2".into()).await.unwrap();
    eventually("the new version", DEADLINE, || async { cache.current().version() == 2 }).await.unwrap();
    served.shutdown.drain(DEADLINE).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(cache.current().account("account-2").is_some(), "the last one stays");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_learns_what_its_reader_has_taken() {
    let (db, _) = database().await;
    let served = Served::start(Routes::new(HandoverEndpoint::new(db.clone()).into_service())).await;
    let peer = GrpcPeer::new(grpc::internal(&served.url, &served.tokens()).unwrap(), "attention-intake");
    let ids = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    db.transaction(move |tx| Box::pin(async move { inbox::take(tx, "attention-intake", &ids[..1]).await }))
        .await
        .unwrap();
    bury(&db, ids[1]).await;
    let known = peer.known(&ids).await.unwrap();
    assert_eq!(known, [ids[0], ids[1]].into(), "taken or dead-lettered, not the unknown one");
    served.shutdown.drain(DEADLINE).await;
}

async fn bury(db: &hilo_kit::db::Db, id: Uuid) {
    let headers = vec![(hilo_kit::outbox::HEADER_ID.to_owned(), id.to_string())];
    let letter = DeadLetter {
        consumer: "attention-intake".into(),
        stream: StreamKind::Inbound,
        delivery: Delivery::new("hilo.inbound.email.ventas", headers, "payload"),
        reason: "UNDECODABLE".into(),
        detail: "could not be decoded".into(),
        attempts: 3,
    };
    DeadLetters::new(db.clone()).bury(&letter).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_list_show_replay_and_drop_dead_letters() {
    let (db, _) = database().await;
    let coordinator: hilo_kit::dead::IsCoordinator = Arc::new(|user| user == "coco");
    let endpoint = DeadLetterEndpoint::new(db.clone(), "attention-state", coordinator);
    let served = Served::start(Routes::new(endpoint.into_service())).await;
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for id in &ids {
        bury(&db, *id).await;
    }
    let issuer = Issuer::new(served.keys.signing_key.expose(), "hilo").unwrap();
    let as_user = |user: &str| {
        let token =
            issuer.issue(user, time::OffsetDateTime::now_utc(), Duration::from_secs(60)).unwrap().token;
        DeadLetterServiceClient::with_interceptor(grpc::channel(&served.url).unwrap(), Bearer(token))
    };
    let denied =
        as_user("ana").list_dead_letters(internal::ListDeadLettersRequest::default()).await.unwrap_err();
    assert_eq!(reason_of(&denied).as_deref(), Some("ROLE_REQUIRED"));

    let mut client = as_user("coco");
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = internal::ListDeadLettersRequest { page_size: 2, page_token, include_settled: false };
        let page = client.list_dead_letters(request).await.unwrap().into_inner();
        listed.extend(page.dead_letters);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let found: Vec<Uuid> = listed.iter().rev().map(|letter| letter.message_id.parse().unwrap()).collect();
    assert_eq!(found, ids, "newest first, across pages");
    let id = listed[0].dead_letter_id.clone();
    let shown =
        client.get_dead_letter(internal::GetDeadLetterRequest { dead_letter_id: id.clone() }).await.unwrap();
    assert_eq!(shown.get_ref().payload.as_slice(), b"payload");
    let drop_request = || internal::DropDeadLetterRequest { dead_letter_id: id.clone() };
    client.drop_dead_letter(drop_request()).await.unwrap();
    let twice = client.drop_dead_letter(drop_request()).await.unwrap_err();
    assert_eq!(
        (twice.code(), reason_of(&twice).as_deref()),
        (Code::FailedPrecondition, Some("DEAD_LETTER_SETTLED"))
    );
    let replayed = internal::ReplayDeadLetterRequest { dead_letter_id: listed[1].dead_letter_id.clone() };
    client.replay_dead_letter(replayed).await.unwrap();
    let bad = client
        .get_dead_letter(internal::GetDeadLetterRequest { dead_letter_id: "x".into() })
        .await
        .unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
    served.shutdown.drain(DEADLINE).await;
}
