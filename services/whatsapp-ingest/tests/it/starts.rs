//! The service becomes ready, declares its streams, answers what it has, and stops cleanly; its configuration is checked first.

use hilo_kit::config::load_from;
use hilo_kit::grpc;
use hilo_proto::internal::v1::dead_letter_service_client::DeadLetterServiceClient;
use hilo_proto::internal::v1::handover_service_client::HandoverServiceClient;
use hilo_proto::internal::v1::{ListDeadLettersRequest, ListKnownRequest};
use hilo_test_support::eventually;
use hilo_whatsapp_ingest::WhatsappConfig;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::rig::{DEADLINE, Rig, Setup};

async fn health(url: &str, service: &str) -> Option<ServingStatus> {
    let mut client = HealthClient::new(grpc::channel(url).ok()?);
    let request = HealthCheckRequest { service: service.to_owned() };
    Some(client.check(grpc::with_deadline(request, DEADLINE)).await.ok()?.into_inner().status())
}

#[tokio::test]
async fn it_starts_on_real_parts_and_stops() {
    let mut rig = Rig::start(Setup::default()).await;
    let url = rig.grpc.clone();
    let ready = || async { health(&url, "readiness").await == Some(ServingStatus::Serving) };
    eventually("whatsapp-ingest is ready", DEADLINE, ready).await.unwrap();
    assert_eq!(health(&url, "liveness").await, Some(ServingStatus::Serving));

    let internal = grpc::internal(&url, &rig.tokens).unwrap();
    let mut dead = DeadLetterServiceClient::new(internal.clone());
    let letters = dead.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap().into_inner();
    assert!(letters.dead_letters.is_empty());
    let mut anonymous = DeadLetterServiceClient::new(grpc::channel(&url).unwrap());
    let refused = anonymous.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut known = HandoverServiceClient::new(internal);
    let request = ListKnownRequest { consumer: "whatsapp-sender".into(), ..ListKnownRequest::default() };
    assert!(known.list_known(request).await.unwrap().into_inner().known_ids.is_empty());
    rig.stop().await;
}

#[test]
fn its_configuration_is_checked_as_a_whole() {
    let yaml = "whatsapp-ingest: { grpc: { listen: nowhere }, database: { url: mysql://x }, other: {} }";
    let refused = load_from::<WhatsappConfig>(hilo_whatsapp_ingest::NAME, Some(yaml), []).unwrap_err();
    let fields: Vec<_> = refused.violations().iter().map(|one| one.field.clone()).collect();
    for field in
        ["auth.service_secret", "auth.verify_key", "whatsapp-ingest.grpc.listen", "whatsapp-ingest.other"]
    {
        assert!(fields.iter().any(|found| found == field), "{field} in {fields:?}");
    }
    let yaml = "whatsapp-ingest: { grpc: { listen: '127.0.0.1:0' }, database: { url: mysql://x }, \
        webhook: { listen: '127.0.0.1:0', max_body_bytes: 1000000 }, graph: { base_url: 'http://graph.facebook.com' }, \
        sender: { pair_burst: 0 } }";
    let refused = load_from::<WhatsappConfig>(hilo_whatsapp_ingest::NAME, Some(yaml), []).unwrap_err();
    let fields: Vec<_> = refused.violations().iter().map(|one| one.field.clone()).collect();
    for field in ["database.url", "webhook.max_body_bytes", "graph.base_url", "sender.pair_burst"] {
        assert!(
            fields.iter().any(|found| found == &format!("whatsapp-ingest.{field}")),
            "{field} in {fields:?}"
        );
    }
}
