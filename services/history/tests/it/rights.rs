//! The service as a whole over gRPC: who reads what, what is refused, health.

use hilo_history::domain::Thread;
use hilo_history::{HistoryConfig, Listeners};
use hilo_kit::auth::Issuer;
use hilo_kit::config::{
    DatabaseConfig, Endpoints, GrpcConfig, NatsConfig, ObjectsConfig, Profile, ServiceConfig, TelemetryConfig,
};
use hilo_kit::error::{Error, reason_of};
use hilo_kit::grpc::{self, Bearer};
use hilo_kit::lifecycle::{Drain, Shutdown};
use hilo_proto::history::v1::history_service_client::HistoryServiceClient;
use hilo_proto::history::v1::{ExportThreadsRequest, GetThreadRequest, SearchThreadsRequest};
use hilo_test_support::{Nats, eventually};
use std::time::Duration;
use time::OffsetDateTime;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::fake::Fake;
use crate::sample;

/// A running history with everything around it.
pub struct Running {
    pub fake: Fake,
    pub nats: Nats,
    pub url: String,
    pub database: String,
    pub shutdown: Shutdown,
    pub config: hilo_history::Config,
    _folder: tempfile::TempDir,
}

type Client = HistoryServiceClient<InterceptedService<Channel, Bearer>>;

/// Starts history on real parts.
pub async fn running() -> Running {
    let (fake, nats, database) =
        (Fake::start().await, Nats::start().await.unwrap(), sample::database().await);
    let folder = tempfile::tempdir().unwrap();
    let grpc = GrpcConfig { listen: "127.0.0.1:0".parse().unwrap() };
    let mut section = HistoryConfig::new(grpc, DatabaseConfig::new(database.clone()));
    section.sweep_seconds = 1;
    let config = ServiceConfig {
        nats: NatsConfig { url: nats.url(), ..NatsConfig::default() },
        telemetry: TelemetryConfig::default(),
        auth: fake.auth(),
        objects: ObjectsConfig { path: folder.path().join("objects"), ..ObjectsConfig::default() },
        endpoints: Endpoints { attention_state: fake.url(), ..Endpoints::default() },
        profile: Profile::Embedded,
        section,
    };
    let shutdown = Shutdown::new();
    let url = start(&config, &shutdown).await;
    Running { fake, nats, url, database, shutdown, config, _folder: folder }
}

/// Starts one more replica; its address.
pub async fn start(config: &hilo_history::Config, shutdown: &Shutdown) -> String {
    let listeners = Listeners::bind(config).await.unwrap();
    let url = format!("http://{}", listeners.grpc.local_addr().unwrap());
    let (config, stop) = (config.clone(), shutdown.clone());
    shutdown.spawn("history", async move { hilo_history::run(config, listeners, stop).await.unwrap() });
    url
}

impl Running {
    /// A client with a token of this user.
    pub fn client(&self, user: &str) -> Client {
        let issuer = Issuer::new(self.fake.keys.signing_key.expose(), "hilo").unwrap();
        let issued = issuer.issue(user, OffsetDateTime::now_utc(), Duration::from_secs(600)).unwrap();
        let channel = InterceptedService::new(grpc::channel(&self.url).unwrap(), Bearer(issued.token));
        HistoryServiceClient::new(channel)
    }

    /// Ends threads and waits until history has confirmed them.
    pub async fn keep(&self, threads: &[Thread]) {
        for thread in threads {
            self.fake.end(thread);
        }
        let all =
            || async { threads.iter().all(|one| self.fake.confirmed(one.head.interaction_id).is_some()) };
        eventually("history confirmed the threads", Duration::from_secs(120), all).await.unwrap();
    }

    /// Waits until the directory was read.
    pub async fn ready(&self) {
        let client = self.client("coco");
        let answers = || {
            let mut client = client.clone();
            async move { client.search_threads(SearchThreadsRequest::default()).await.is_ok() }
        };
        eventually("history is ready", Duration::from_secs(60), answers).await.unwrap();
    }
}

fn in_campaign(key: &str) -> Thread {
    let mut thread = sample::thread("secreto");
    thread.head.campaign_key = key.into();
    thread
}

async fn found(running: &Running, user: &str, request: SearchThreadsRequest) -> Result<Vec<String>, Status> {
    let answer = running.client(user).search_threads(request).await?.into_inner();
    let mut found: Vec<_> = answer.threads.into_iter().map(|one| one.campaign_key).collect();
    found.sort();
    Ok(found)
}

#[tokio::test]
async fn everybody_reads_his_own_campaigns_and_not_a_byte_more() {
    let running = running().await;
    let threads = ["ventas", "soporte", "cerrada"].map(in_campaign);
    running.keep(&threads).await;
    running.ready().await;
    let expected: [(&str, &[&str]); 4] = [
        ("ana", &["ventas"]),
        ("luis", &["soporte"]),
        ("rita", &["soporte", "ventas"]),
        ("coco", &["cerrada", "soporte", "ventas"]),
    ];
    for (user, campaigns) in expected {
        assert_eq!(
            found(&running, user, SearchThreadsRequest::default()).await.unwrap(),
            campaigns,
            "{user}"
        );
        let words = SearchThreadsRequest { words: "secreto".into(), ..Default::default() };
        assert_eq!(found(&running, user, words).await.unwrap(), campaigns, "{user}");
        for thread in &threads {
            let key = &thread.head.campaign_key;
            let mine = campaigns.contains(&key.as_str());
            let named = SearchThreadsRequest { campaign_key: key.clone(), ..Default::default() };
            assert_eq!(found(&running, user, named).await.unwrap().len(), usize::from(mine), "{user} {key}");
            let id = GetThreadRequest {
                interaction_id: thread.head.interaction_id.to_string(),
                ..Default::default()
            };
            match running.client(user).get_thread(id).await {
                Ok(answer) => assert_eq!((mine, answer.into_inner().thread.unwrap().version), (true, 1)),
                Err(status) => {
                    assert!(!mine, "{user} {key}: {status}");
                    assert_eq!(
                        (status.code(), reason_of(&status).as_deref()),
                        (Code::NotFound, Some("THREAD_NOT_FOUND"))
                    );
                }
            }
        }
    }
    for (user, code) in
        [("mona", Code::PermissionDenied), ("gone", Code::Unauthenticated), ("nobody", Code::Unauthenticated)]
    {
        let refused = found(&running, user, SearchThreadsRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{user}");
        let id = GetThreadRequest {
            interaction_id: threads[0].head.interaction_id.to_string(),
            ..Default::default()
        };
        assert_eq!(running.client(user).get_thread(id).await.unwrap_err().code(), code, "{user}");
    }
    let mut anonymous = HistoryServiceClient::new(grpc::channel(&running.url).unwrap());
    let refused = anonymous.search_threads(SearchThreadsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn bad_requests_name_their_fields_and_pages_go_on() {
    let running = running().await;
    let threads: Vec<_> = (0..5).map(|_| in_campaign("ventas")).collect();
    running.keep(&threads).await;
    running.ready().await;
    let mut client = running.client("ana");
    let request = SearchThreadsRequest {
        words: "¡!".into(),
        ended_from: "ayer".into(),
        page_size: 2,
        direction: 0,
        ..Default::default()
    };
    let refused = Error::from(client.search_threads(request).await.unwrap_err());
    assert_eq!(refused.reason(), "INVALID_SEARCH");
    let fields: Vec<_> = refused.violations().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["words", "ended_from"]);
    for (request, field) in [
        (SearchThreadsRequest { page_size: 201, ..Default::default() }, "page_size"),
        (SearchThreadsRequest { direction: 9, ..Default::default() }, "direction"),
        (SearchThreadsRequest { page_token: "x".into(), ..Default::default() }, "page_token"),
    ] {
        let refused = Error::from(client.search_threads(request).await.unwrap_err());
        assert_eq!(refused.violations()[0].field, field);
    }
    let bad_id = GetThreadRequest { interaction_id: "5804".into(), ..Default::default() };
    assert_eq!(client.get_thread(bad_id).await.unwrap_err().code(), Code::InvalidArgument);

    let mut request = SearchThreadsRequest { words: "secreto".into(), page_size: 2, ..Default::default() };
    let mut sizes = Vec::new();
    loop {
        let answer = client.search_threads(request.clone()).await.unwrap().into_inner();
        sizes.push(answer.threads.len());
        if answer.next_page_token.is_empty() {
            break;
        }
        let other = SearchThreadsRequest { page_token: answer.next_page_token.clone(), ..Default::default() };
        let refused = client.search_threads(other).await.unwrap_err();
        assert_eq!(reason_of(&refused).as_deref(), Some("PAGE_TOKEN_MISMATCH"));
        request.page_token = answer.next_page_token;
    }
    assert_eq!(sizes, [2, 2, 1]);
    let fields = [("motivo".to_owned(), "x".to_owned())].into();
    let unknown = SearchThreadsRequest { form_values: fields, ..Default::default() };
    let refused = Error::from(client.search_threads(unknown.clone()).await.unwrap_err());
    assert_eq!(refused.violations()[0].field, "form_values[motivo]");
    let refused = Error::from(
        client.search_threads(SearchThreadsRequest { customer: "ab".into(), ..unknown }).await.unwrap_err(),
    );
    assert_eq!(refused.violations()[0].field, "customer", "a part of two letters");
    for (request, field) in [
        (ExportThreadsRequest::default(), "search"),
        (ExportThreadsRequest { search: Some(Default::default()), format: 99 }, "format"),
        (
            ExportThreadsRequest {
                search: Some(SearchThreadsRequest { tag: " ".into(), ..Default::default() }),
                format: 0,
            },
            "tag",
        ),
    ] {
        let refused = Error::from(client.export_threads(request).await.unwrap_err());
        assert_eq!(refused.violations()[0].field, field);
    }
}

#[tokio::test]
async fn html_is_sanitised_again_at_output() {
    let running = running().await;
    let mut thread = in_campaign("ventas");
    thread.messages[0].html = "<b>hola</b><script>alert(1)</script><img src=https://espia.example/x>".into();
    running.keep(std::slice::from_ref(&thread)).await;
    running.ready().await;
    let id =
        GetThreadRequest { interaction_id: thread.head.interaction_id.to_string(), ..Default::default() };
    let answer = running.client("ana").get_thread(id).await.unwrap().into_inner().thread.unwrap();
    assert_eq!(answer.messages[0].html, "<b>hola</b><img>");
}

#[tokio::test]
async fn it_stops_cleanly_with_work_in_flight() {
    let running = running().await;
    running.ready().await;
    for n in 0..200 {
        running.fake.end(&sample::thread(&format!("texto {n}")));
    }
    let first = || async { running.fake.state.lock().fetches > 0 };
    eventually("work has begun", Duration::from_secs(60), first).await.unwrap();
    running.shutdown.begin();
    assert_eq!(running.shutdown.drain(Duration::from_secs(60)).await, Drain::Clean);
    assert!(!running.shutdown.failed());
}
