//! The service on real parts: it becomes ready, declares its streams, answers what it has and refuses what it has not,
//! stops cleanly.

use std::time::Duration;

use hilo_kit::auth::{ServiceTokens, generate_keys};
use hilo_kit::config::{
    DatabaseConfig, Endpoints, GrpcConfig, NatsConfig, ObjectsConfig, Profile, ServiceConfig,
    TelemetryConfig, load_from,
};
use hilo_kit::grpc;
use hilo_kit::lifecycle::{Drain, Shutdown};
use hilo_proto::internal::v1::dead_letter_service_client::DeadLetterServiceClient;
use hilo_proto::internal::v1::handover_service_client::HandoverServiceClient;
use hilo_proto::internal::v1::{ListDeadLettersRequest, ListKnownRequest};
use hilo_test_support::{Nats, Postgres, eventually};
use hilo_whatsapp_ingest::{Config, Listeners, WhatsappConfig};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

async fn health(url: &str, service: &str) -> Option<ServingStatus> {
    let mut client = HealthClient::new(grpc::channel(url).ok()?);
    let request = HealthCheckRequest { service: service.to_owned() };
    Some(client.check(grpc::with_deadline(request, Duration::from_secs(2))).await.ok()?.into_inner().status())
}

#[tokio::test]
async fn it_starts_on_real_parts_and_stops() {
    hilo_kit::install_crypto();
    let nats = Nats::start().await.unwrap();
    let database = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
    hilo_whatsapp_ingest::migrate(&database).await.unwrap();
    let keys = generate_keys().unwrap();
    let config: Config = ServiceConfig {
        nats: NatsConfig { url: nats.url(), ..NatsConfig::default() },
        telemetry: TelemetryConfig::default(),
        auth: keys.auth_config("hilo"),
        objects: ObjectsConfig::default(),
        endpoints: Endpoints::default(),
        profile: Profile::Embedded,
        section: WhatsappConfig {
            grpc: GrpcConfig { listen: "127.0.0.1:0".parse().unwrap() },
            database: DatabaseConfig::new(database),
        },
    };
    let listeners = Listeners::bind(&config).await.unwrap();
    let url = format!("http://{}", listeners.grpc.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let (running, stop) = (config.clone(), shutdown.clone());
    let service = tokio::spawn(hilo_whatsapp_ingest::run(running, listeners, stop));

    let ready = || async { health(&url, "readiness").await == Some(ServingStatus::Serving) };
    eventually("whatsapp-ingest is ready", Duration::from_secs(60), ready).await.unwrap();
    assert_eq!(health(&url, "liveness").await, Some(ServingStatus::Serving));
    let jetstream = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    for stream in ["HILO_INBOUND", "HILO_OUTBOUND", "HILO_DELIVERY", "HILO_DEAD"] {
        jetstream.get_stream(stream).await.unwrap();
    }

    let internal = grpc::internal(&url, &ServiceTokens::new(&config.auth, "test")).unwrap();
    let mut dead = DeadLetterServiceClient::new(internal.clone());
    let letters = dead.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap().into_inner();
    assert!(letters.dead_letters.is_empty());
    let mut anonymous = DeadLetterServiceClient::new(grpc::channel(&url).unwrap());
    let refused = anonymous.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut absent = HandoverServiceClient::new(internal);
    assert_eq!(absent.list_known(ListKnownRequest::default()).await.unwrap_err().code(), Code::Unimplemented);

    shutdown.begin();
    assert_eq!(shutdown.drain(Duration::from_secs(20)).await, Drain::Clean);
    service.await.unwrap().unwrap();
}

#[test]
fn its_configuration_is_checked_as_a_whole() {
    let yaml = "whatsapp-ingest: { grpc: { listen: nowhere }, database: { url: mysql://x }, webhook: {} }";
    let refused = load_from::<WhatsappConfig>(hilo_whatsapp_ingest::NAME, Some(yaml), []).unwrap_err();
    let fields: Vec<_> = refused.violations().iter().map(|one| one.field.clone()).collect();
    for field in
        ["auth.service_secret", "auth.verify_key", "whatsapp-ingest.grpc.listen", "whatsapp-ingest.webhook"]
    {
        assert!(fields.iter().any(|found| found == field), "{field} in {fields:?}");
    }
}
