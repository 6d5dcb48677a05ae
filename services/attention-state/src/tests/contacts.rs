//! Contacts over gRPC: who may see and change them, against which version.

use hilo_kit::auth::{Verifier, generate_keys};
use hilo_kit::grpc::{Bearer, Server, channel};
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::Subjects;
use hilo_proto::contact::v1::contact_service_client::ContactServiceClient;
use hilo_proto::contact::v1::contact_service_server::ContactServiceServer;
use hilo_proto::contact::v1::{Contact, GetContactRequest, UpdateContactRequest};
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::{House, Mail};
use crate::transport::contact_rpc::ContactRpc;

type Client = ContactServiceClient<InterceptedService<Channel, Bearer>>;

/// The service of a house on a free port, and a client per user.
async fn serve(house: &House, shutdown: &Shutdown) -> impl Fn(&str) -> Client + use<> {
    hilo_kit::install_crypto();
    let keys = generate_keys().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut routes = tonic::service::Routes::builder();
    routes.add_service(ContactServiceServer::new(ContactRpc::new(
        house.db.clone(),
        Subjects::new("hilo").unwrap(),
    )));
    let verifier = Verifier::new(&keys.auth_config("hilo")).unwrap();
    let server = Server::new(listener, Readiness::new()).add_routes(routes.routes()).authenticate(verifier);
    tokio::spawn(server.serve(shutdown.clone()));
    move |user: &str| {
        let issuer = hilo_kit::auth::Issuer::new(keys.signing_key.expose(), "hilo").unwrap();
        let issued =
            issuer.issue(user, hilo_kit::clock::wall(), std::time::Duration::from_secs(600)).unwrap();
        ContactServiceClient::new(InterceptedService::new(channel(&url).unwrap(), Bearer(issued.token)))
    }
}

/// Deleting `AND version = $2` from `contact::update` turns the second half red (tried: the stale change is written).
#[tokio::test]
async fn a_contact_is_seen_where_it_wrote_and_changed_against_its_version() {
    let house = House::open().await;
    let shutdown = Shutdown::new();
    let client = serve(&house, &shutdown).await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let contact_id: uuid::Uuid = sqlx::query_scalar("SELECT contact_id FROM contact.contact")
        .fetch_one(house.db.pool())
        .await
        .unwrap();
    let get = GetContactRequest { contact_id: contact_id.to_string() };
    assert_eq!(client("rosa").get_contact(get.clone()).await.unwrap_err().code(), Code::NotFound);
    let junk = GetContactRequest { contact_id: "7".into() };
    assert_eq!(client("ana").get_contact(junk).await.unwrap_err().code(), Code::InvalidArgument);
    let contact = client("ana").get_contact(get).await.unwrap().into_inner().contact.unwrap();
    assert_eq!((contact.name.as_str(), contact.version), ("Eva Quispe", 1));
    let changed = Contact { company: "Textil Lima".into(), vip: true, ..contact.clone() };
    let update =
        |contact: &Contact| UpdateContactRequest { contact: Some(contact.clone()), ..Default::default() };
    assert_eq!(client("rosa").update_contact(update(&changed)).await.unwrap_err().code(), Code::NotFound);
    let after = client("ana").update_contact(update(&changed)).await.unwrap().into_inner().contact.unwrap();
    assert_eq!((after.version, after.vip, after.company.as_str()), (2, true, "Textil Lima"));
    let stale =
        client("ana").update_contact(update(&Contact { name: "Otra".into(), ..contact })).await.unwrap_err();
    assert_eq!(hilo_kit::error::reason_of(&stale).as_deref(), Some("STALE_VERSION"));
    let bad = Contact { name: "x\ny".into(), company: "y".repeat(300), ..after };
    assert_eq!(client("ana").update_contact(update(&bad)).await.unwrap_err().code(), Code::InvalidArgument);
    shutdown.begin();
}
