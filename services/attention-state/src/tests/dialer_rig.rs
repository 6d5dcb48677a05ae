//! Fixtures of the tests of dialers: an approved template, a dialer with rows, its runner, reports of the channel.

use std::collections::BTreeSet;
use std::sync::Arc;

use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::nats::Subjects;
use hilo_kit::outbox::{HEADER_ID, HEADER_KEY, HEADER_SEQUENCE};
use hilo_proto::attention::v1::{Template, TemplatePart};
use hilo_proto::delivery::v1::{DeliveryEnvelope, SendState};
use hilo_proto::dialer::v1 as wire;
use hilo_proto::internal::v1::{ReportTemplatesRequest, ReportedTemplate};
use prost::Message as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{House, THREAD_KEY, fresh, whatsapp_rig};
use crate::attention::envelope::Post;
use crate::dialer::{Dialers, Runner, Step};
use crate::directory::{Access, Role};
use crate::templates;

/// A house with the template `aviso` of two variables, approved for `chat-wa`.
pub(super) async fn house() -> House {
    let house = whatsapp_rig::house().await;
    approve(&house, "APPROVED", &["1", "2"]).await;
    house
}

pub(super) async fn approve(house: &House, status: &str, variables: &[&str]) {
    let body = TemplatePart {
        r#type: "BODY".into(),
        text: "Pedido {{1}} de {{2}} listo.".into(),
        variables: variables.iter().map(|one| (*one).to_owned()).collect(),
        ..TemplatePart::default()
    };
    let template =
        Template { name: "aviso".into(), language: "es".into(), parts: vec![body], ..Template::default() };
    let request = ReportTemplatesRequest {
        account_key: "chat-wa".into(),
        read_at: Some(hilo_kit::clock::to_proto(OffsetDateTime::now_utc())),
        templates: vec![ReportedTemplate { template: Some(template), status: status.into() }],
    };
    assert!(templates::report(&house.db, request).await.unwrap().stored);
}

pub(super) fn who(roles: &[Role], campaigns: &[&str]) -> Access {
    Access {
        user_key: "susana".into(),
        name: "Susana".into(),
        active: true,
        roles: roles.iter().copied().collect::<BTreeSet<_>>(),
        member_of: Vec::new(),
        campaigns: campaigns.iter().map(|key| (*key).to_owned()).collect(),
    }
}

/// Supervisor of the campaign `chat`.
pub(super) fn susana() -> Access {
    who(&[Role::Supervisor], &["chat"])
}

pub(super) fn dialers(house: &House) -> Dialers {
    Dialers::new(house.db.clone())
}

pub(super) fn wanted() -> wire::CreateDialerRequest {
    wire::CreateDialerRequest {
        request_id: fresh(),
        name: "Avisos de entrega".into(),
        campaign_key: "chat".into(),
        template_name: "aviso".into(),
        template_language: "es".into(),
        per_minute: 4_800,
        ..wire::CreateDialerRequest::default()
    }
}

/// A dialer that nobody has started.
pub(super) async fn draft(house: &House) -> Uuid {
    let made = dialers(house).create(susana(), wanted()).await.unwrap();
    made.dialer.unwrap().dialer_id.parse().unwrap()
}

pub(super) fn csv(numbers: &[&str]) -> Vec<u8> {
    let rows: String = numbers.iter().map(|number| format!("+{number},17,Eva\n")).collect();
    format!("number,1,2\n{rows}").into_bytes()
}

pub(super) async fn import(
    house: &House,
    dialer: Uuid,
    csv: Vec<u8>,
    skip_bad: bool,
) -> Result<wire::ImportRowsResponse, hilo_kit::Error> {
    let request =
        wire::ImportRowsRequest { dialer_id: dialer.to_string(), request_id: fresh(), csv, skip_bad };
    dialers(house).import(susana(), request).await
}

/// A dialer that runs over these numbers; its first rows are all due at once, however fast the machine is: it has missed a
/// second of its pace (80 a second), which is made up for.
pub(super) async fn running(house: &House, numbers: &[&str]) -> Uuid {
    let dialer = draft(house).await;
    import(house, dialer, csv(numbers), false).await.unwrap();
    let request = wire::StartDialerRequest { dialer_id: dialer.to_string() };
    dialers(house).start(susana(), request).await.unwrap();
    sqlx::query("UPDATE dialer.dialer SET next_at = now() - interval '1 second' WHERE dialer_id = $1")
        .bind(dialer)
        .execute(house.db.pool())
        .await
        .unwrap();
    dialer
}

pub(super) fn post() -> Post {
    Post {
        subjects: Arc::new(Subjects::new("hilo").unwrap()),
        thread_key: Arc::new(THREAD_KEY.to_vec()),
        objects: None,
    }
}

/// One look of a runner at a dialer.
pub(super) async fn step(house: &House, dialer: Uuid) -> Step {
    Runner::new(house.db.clone(), post()).step(dialer).await.unwrap()
}

/// State and reasons of every row in order.
pub(super) async fn rows(house: &House, dialer: Uuid) -> Vec<wire::Row> {
    let request = wire::ListRowsRequest { dialer_id: dialer.to_string(), ..wire::ListRowsRequest::default() };
    dialers(house).rows(susana(), request).await.unwrap().rows
}

pub(super) async fn row(house: &House, dialer: Uuid) -> wire::Row {
    rows(house, dialer).await.into_iter().next().unwrap()
}

pub(super) async fn life(house: &House, dialer: Uuid) -> (wire::DialerState, String) {
    let request = wire::GetDialerRequest { dialer_id: dialer.to_string() };
    let dialer = dialers(house).get(susana(), request).await.unwrap().dialer.unwrap();
    (dialer.state(), dialer.state_reason)
}

/// What the channel says of a send.
pub(super) fn report(send: &str, state: SendState, change: impl FnOnce(&mut DeliveryEnvelope)) -> Delivery {
    let mut envelope = DeliveryEnvelope {
        report_id: fresh(),
        send_id: send.into(),
        account_key: "chat-wa".into(),
        state: state.into(),
        provider_message_id: format!("wamid.{send}"),
        ..DeliveryEnvelope::default()
    };
    change(&mut envelope);
    let headers = vec![
        (HEADER_ID.to_owned(), envelope.report_id.clone()),
        (HEADER_KEY.to_owned(), fresh()),
        (HEADER_SEQUENCE.to_owned(), "1".to_owned()),
    ];
    Delivery::new("hilo.delivery.whatsapp.chat-wa", headers, envelope.encode_to_vec())
}

pub(super) async fn reported(house: &House, send: &str, state: SendState) {
    reported_as(house, send, state, |_| {}).await;
}

pub(super) async fn reported_as(
    house: &House,
    send: &str,
    state: SendState,
    change: impl FnOnce(&mut DeliveryEnvelope),
) {
    for outcome in house.delivery.handle(&[report(send, state, change)]).await {
        assert!(matches!(outcome, Outcome::Ack), "{outcome:?}");
    }
}

/// Id of the newest send.
pub(super) async fn last_send(house: &House) -> String {
    whatsapp_rig::outbound(house).await.pop().unwrap().0.send_id
}

pub(super) async fn sql(house: &House, text: &'static str) {
    sqlx::raw_sql(text).execute(house.db.pool()).await.unwrap();
}

/// States of the attentions by number, with how many interactions each has.
pub(super) async fn attentions(house: &House) -> Vec<(String, i32)> {
    sqlx::query_as("SELECT state, interaction_count FROM attention.attention ORDER BY number")
        .fetch_all(house.db.pool())
        .await
        .unwrap()
}
