//! The public port in front of real gRPC servers: streams both ways, trailers, gRPC-web, refusals, callers who leave.
#![expect(clippy::unwrap_used, reason = "a step that fails ends its test")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use hilo::front::{self, Backends};
use hilo_kit::grpc::{PlainHttp, Server};
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::Shutdown;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_response::MessageResponse};

const PATIENCE: Duration = Duration::from_secs(60);

/// A front with one real service behind attention-state's names and nothing behind the others.
struct House {
    front: SocketAddr,
    readiness: Readiness,
    shutdown: Shutdown,
    /// Goes on while the front stops.
    service: Shutdown,
    /// Bound and never listening, so that nobody else gets the port of the parts that are missing.
    _nobody: TcpSocket,
}

/// Answers every link with its own path and query.
struct Echo;

impl PlainHttp for Echo {
    fn answer(&self, request: http::Request<()>) -> BoxFuture<'static, http::Response<tonic::body::Body>> {
        let text = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let body = tonic::body::Body::new(Full::new(Bytes::from(text)));
        async move { http::Response::builder().header("x-content-type-options", "nosniff").body(body).unwrap() }
            .boxed()
    }
}

impl House {
    async fn start() -> Self {
        hilo_kit::install_crypto();
        let (shutdown, stop, readiness) = (Shutdown::new(), Shutdown::new(), Readiness::new());
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = TcpSocket::new_v4().unwrap();
        nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (real, dead) = (service.local_addr().unwrap(), nobody.local_addr().unwrap());
        let server = Server::new(service, readiness.clone())
            .plain_http(hilo_kit::download::PREFIX, std::sync::Arc::new(Echo));
        let service = stop.clone();
        service.spawn("service", async move { server.serve(stop).await.unwrap() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = listener.local_addr().unwrap();
        let backends = Backends { attention_state: real, routing: dead, history: dead };
        shutdown.spawn("front", front::serve(listener, backends, shutdown.clone()));
        Self { front, readiness, shutdown, service, _nobody: nobody }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.front)).unwrap().connect().await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.drain(PATIENCE).await;
        self.service.drain(PATIENCE).await;
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("in time")
}

#[tokio::test]
async fn a_server_stream_arrives_message_by_message_and_ends_with_the_front() {
    let house = House::start().await;
    let condition = house.readiness.condition("test");
    let mut client = HealthClient::new(house.channel().await);
    let request = HealthCheckRequest { service: "readiness".into() };
    let mut states = in_time(client.watch(request)).await.unwrap().into_inner();
    let mut seen = async |wanted: ServingStatus| {
        while in_time(states.next()).await.expect("still open").unwrap().status() != wanted {}
    };
    seen(ServingStatus::NotServing).await;
    condition.set(true);
    seen(ServingStatus::Serving).await;
    condition.set(false);
    seen(ServingStatus::NotServing).await;
    // The stream never ends by itself, its service goes on; the front must not wait for it.
    house.shutdown.begin();
    in_time(async { while let Some(Ok(_)) = states.next().await {} }).await;
    house.stop().await;
}

#[tokio::test]
async fn both_directions_stream() {
    let house = House::start().await;
    let mut client = ServerReflectionClient::new(house.channel().await);
    let (questions, receiver) = tokio::sync::mpsc::channel(4);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = in_time(client.server_reflection_info(outgoing)).await.unwrap().into_inner();
    // Each answer comes before the next question is asked.
    for _ in 0..3 {
        let question = MessageRequest::ListServices(String::new());
        questions
            .send(ServerReflectionRequest { host: String::new(), message_request: Some(question) })
            .await
            .unwrap();
        let answer = in_time(answers.next()).await.unwrap().unwrap();
        assert!(matches!(answer.message_response, Some(MessageResponse::ListServicesResponse(_))));
    }
    drop(questions);
    assert!(in_time(answers.next()).await.is_none());
    house.stop().await;
}

#[tokio::test]
async fn a_status_with_details_passes_and_missing_parts_are_said() {
    let house = House::start().await;
    let channel = house.channel().await;
    let unknown = HealthCheckRequest { service: "no-such".into() };
    let status = in_time(HealthClient::new(channel.clone()).check(unknown)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let code = async |path: &'static str| {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(path);
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
        let request = tonic::Request::new(HealthCheckRequest { service: String::new() });
        in_time(client.unary(request, path, codec)).await.unwrap_err().code()
    };
    assert_eq!(code("/hilo.routing.v1.RoutingService/Heartbeat").await, Code::Unavailable);
    assert_eq!(code("/hilo.internal.v1.DirectoryFeedService/GetDirectory").await, Code::Unimplemented);
    assert_eq!(code("/hilo.nothing.v1.Nothing/Do").await, Code::Unimplemented);
    house.stop().await;
}

/// gRPC-web (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md) over HTTP/1.1, as a browser speaks it.
#[tokio::test]
async fn grpc_web_over_http_1_is_answered_with_its_trailers_in_the_body() {
    let house = House::start().await;
    let stream = TcpStream::connect(house.front).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = |method: &str| {
        http::Request::builder()
            .method(method)
            .uri("/grpc.health.v1.Health/Check")
            .header("host", house.front.to_string())
            .header("origin", "https://desk.example")
    };
    let preflight = request("OPTIONS")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,authorization,x-grpc-web")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let answer = in_time(sender.send_request(preflight)).await.unwrap();
    assert!(answer.status().is_success());
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    answer.into_body().collect().await.unwrap();

    // One message: flag 0, length 0.
    let call = request("POST")
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(Full::new(Bytes::from_static(&[0, 0, 0, 0, 0])))
        .unwrap();
    let answer = in_time(sender.send_request(call)).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/grpc-web+proto");
    let body = in_time(answer.into_body().collect()).await.unwrap().to_bytes();
    // A message with status SERVING (field 1, value 1), then a frame with flag 0x80: the trailers.
    assert_eq!(&body[..7], &[0, 0, 0, 0, 2, 8, 1]);
    assert_eq!(body[7], 0x80);
    assert!(String::from_utf8_lossy(&body[12..]).contains("grpc-status:0"));
    house.stop().await;
}

#[tokio::test]
async fn many_streams_of_one_caller_do_not_wait_for_each_other() {
    let house = House::start().await;
    let channel = house.channel().await;
    let mut open = Vec::new();
    for _ in 0..400 {
        let request = HealthCheckRequest { service: "liveness".into() };
        let mut stream =
            in_time(HealthClient::new(channel.clone()).watch(request)).await.unwrap().into_inner();
        in_time(stream.next()).await.unwrap().unwrap();
        open.push(stream);
    }
    let answer =
        in_time(HealthClient::new(channel).check(HealthCheckRequest { service: "liveness".into() })).await;
    assert_eq!(answer.unwrap().into_inner().status(), ServingStatus::Serving);
    drop(open);
    house.stop().await;
}

/// HTTP/2 without TLS and prior knowledge by hyper itself, for headers that tonic would not send.
#[tokio::test]
async fn headers_of_the_connection_are_not_passed_on() {
    let house = House::start().await;
    let stream = TcpStream::connect(house.front).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/grpc.health.v1.Health/Check", house.front))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(&[0, 0, 0, 0, 0])))
        .unwrap();
    let answer = in_time(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let collected = in_time(answer.into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    house.stop().await;
}

/// Signed links come from a browser's address bar: HTTP/1.1, no token, no gRPC about them.
#[tokio::test]
async fn links_to_files_pass_as_plain_http() {
    let house = House::start().await;
    let stream = TcpStream::connect(house.front).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut get = async |path: &str| {
        let request = http::Request::get(path).header("host", house.front.to_string());
        let answer =
            in_time(sender.send_request(request.body(Full::new(Bytes::new())).unwrap())).await.unwrap();
        let (head, body) = answer.into_parts();
        (head, in_time(body.collect()).await.unwrap().to_bytes())
    };
    let link = "/files/v1/abc/informe%20%C3%B1.pdf?show=inline&sig=x";
    let (head, body) = get(link).await;
    assert_eq!((head.status.as_u16(), body.as_ref()), (200, link.as_bytes()));
    assert_eq!(head.headers["x-content-type-options"], "nosniff");
    assert!(!head.headers.contains_key("grpc-status"));
    // Anything else stays what it was.
    let (head, _) = get("/files/other").await;
    assert_eq!(head.headers["grpc-status"], "12");
    house.stop().await;
}
