//! What an operator relies on: stopping within the cap, quiet logs, health, reflection and gRPC-web on the one port.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says where")]

use std::time::{Duration, Instant};

use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::{Installation, Options, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

const SOON: Duration = Duration::from_secs(60);
/// The services' own hard cap is 25 s; below Kubernetes' default grace of 30 s.
const GRACE: Duration = Duration::from_secs(28);
const SECRET_WORDS: [&str; 3] = ["zarzaparrilla", "secretisima@cliente.example", "Asunto-Confidencial"];

#[tokio::test(flavor = "multi_thread")]
async fn logs_hold_no_bodies_subjects_or_addresses_and_every_service_stops_in_time() {
    let installation = Installation::start(Options::default()).await.unwrap();
    let agent = installation.login("agente-0").await.unwrap();
    let _present = agent.be_present().await.unwrap();
    let desk = agent.watch();
    let [word, address, subject] = SECRET_WORDS;
    customer::send(installation.smtp(), &Mail::new(address, installation.support_address(), subject, word))
        .await
        .unwrap();
    let item = desk.wait_for_offer(address, SOON).await.unwrap();
    agent.open(&item.interaction_id).await.unwrap();
    let message = agent.reply(&item.interaction_id, word).await.unwrap();
    let arrived = |mail: &hilo_end_to_end::sink::Received| mail.message_id == message.internet_message_id;
    installation.sink().wait_for("the reply", SOON, arrived).await.unwrap();

    // The desk's stream stays open: a client that never leaves must not hold a service.
    for service in Service::ALL {
        let begun = Instant::now();
        let status = installation.terminate(service, GRACE).await.unwrap();
        assert!(status.success(), "{} ended with {status}", service.name());
        println!("{} stopped in {:.1?}", service.name(), begun.elapsed());
    }
    for service in Service::ALL {
        let log =
            std::fs::read_to_string(installation.folder().join(format!("{}.log", service.name()))).unwrap();
        assert!(log.lines().count() > 1, "{} logs something", service.name());
        for word in SECRET_WORDS {
            assert!(!log.contains(word), "{} logged {word}", service.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_and_reflection_answer_on_every_services_port() {
    let installation = Installation::start(Options::default()).await.unwrap();
    for service in Service::ALL {
        let url = installation.endpoint(service);
        let names = reflected(&url).await;
        assert!(names.iter().any(|name| name == "grpc.health.v1.Health"), "{}: {names:?}", service.name());
        let answer = grpc_web(url.trim_start_matches("http://"), "/grpc.health.v1.Health/Check").await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("application/grpc-web"),
            "{}: {answer}",
            service.name()
        );
    }
    let answer = grpc_web(
        installation.endpoint(Service::AttentionState).trim_start_matches("http://"),
        "/hilo.identity.v1.IdentityService/WhoAmI",
    )
    .await;
    assert!(answer.contains("grpc-status: 16") || answer.contains("grpc-status:16"), "{answer}");
}

async fn reflected(url: &str) -> Vec<String> {
    let channel = tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
    let mut client = ServerReflectionClient::new(channel);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        client.server_reflection_info(futures::stream::iter([request])).await.unwrap().into_inner();
    match answers.message().await.unwrap() {
        Some(ServerReflectionResponse {
            message_response: Some(MessageResponse::ListServicesResponse(list)),
            ..
        }) => list.service.into_iter().map(|service| service.name).collect(),
        other => panic!("{other:?}"),
    }
}

/// An empty message by gRPC-web over HTTP/1.1, as a browser sends it; the whole answer as text.
async fn grpc_web(address: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\ncontent-length: 5\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[0; 5]).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
