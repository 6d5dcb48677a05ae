//! Reports of the running service: events from the broker, rights, bad input, the CSV, and the consumer's conformance.

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use hilo_history::report::consumer::{self, Recorder};
use hilo_history::store::Store;
use hilo_kit::auth::Issuer;
use hilo_kit::conformance::{self, Candidate, Parts};
use hilo_kit::consumer::{BatchHandler, ConsumerSpec};
use hilo_kit::db::Db;
use hilo_kit::error::{Error, reason_of};
use hilo_kit::grpc::{self, Bearer};
use hilo_kit::nats::{Nats, StreamKind};
use hilo_kit::outbox::OutboxRow;
use hilo_proto::event::v1::{
    AttentionEvent, Direction, EventType, InteractionSnapshot, InteractionState, MessageSummary,
};
use hilo_proto::report::v1::report_service_client::ReportServiceClient;
use hilo_proto::report::v1::*;
use hilo_test_support::{Postgres, eventually};
use time::OffsetDateTime;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::events::{Dice, made_up};
use crate::naive;
use crate::rights::{Running, running};
use crate::wake::all_acknowledged;

type Client = ReportServiceClient<InterceptedService<Channel, Bearer>>;

fn client(running: &Running, user: &str) -> Client {
    let issuer = Issuer::new(running.fake.keys.signing_key.expose(), "hilo").unwrap();
    let issued = issuer.issue(user, OffsetDateTime::now_utc(), Duration::from_secs(600)).unwrap();
    let channel = InterceptedService::new(grpc::channel(&running.url).unwrap(), Bearer(issued.token));
    ReportServiceClient::new(channel)
}

fn query(group_by: &[ReportGrouping]) -> Option<ReportQuery> {
    let filter =
        ReportFilter { from_date: "2025-12-30".into(), to_date: "2026-01-30".into(), ..Default::default() };
    let group_by = group_by.iter().map(|one| i32::from(*one)).collect();
    Some(ReportQuery { filter: Some(filter), group_by, ..Default::default() })
}

async fn publish(running: &Running, events: &[AttentionEvent]) {
    let client = async_nats::connect(running.nats.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    for event in events {
        let name = event.r#type().as_str_name().trim_start_matches("EVENT_TYPE_").to_lowercase();
        let campaign = if event.campaign_key.is_empty() { "ventas" } else { &event.campaign_key };
        let payload = hilo_proto::json::to_json("hilo.event.v1.AttentionEvent", event).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", Uuid::new_v4().to_string());
        let subject = format!("hilo.attention.v1.{campaign}.{name}");
        jetstream.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    }
}

/// Waits until every published event is in the figures.
async fn counted(running: &Running) {
    let all = || all_acknowledged(running, "history-reports");
    eventually("the events are counted", Duration::from_secs(60), all).await.unwrap();
}

async fn interactions(running: &Running, user: &str) -> i64 {
    let answer = client(running, user).get_volumes(GetVolumesRequest { query: query(&[]) }).await.unwrap();
    answer.into_inner().rows.iter().map(|row| row.interactions).sum()
}

#[tokio::test]
async fn events_become_figures_within_the_rights_of_the_caller() {
    let running = running().await;
    running.ready().await;
    let events = made_up(&mut Dice(5), 30);
    publish(&running, &events).await;
    publish(&running, &events[..40]).await;
    let expected = naive::interactions(&events);
    let of = |campaigns: &[&str]| {
        expected.iter().filter(|one| campaigns.contains(&one.campaign.as_str())).count() as i64
    };
    let all = of(&["ventas", "soporte", "cerrada"]);
    counted(&running).await;
    assert_eq!(interactions(&running, "coco").await, all);
    assert_eq!(interactions(&running, "rita").await, of(&["ventas", "soporte"]));
    for (user, reason) in [("ana", "ROLE_REQUIRED"), ("mona", "ROLE_REQUIRED"), ("gone", "UNAUTHENTICATED")] {
        let asked = GetVolumesRequest { query: query(&[]) };
        let refused = client(&running, user).get_volumes(asked).await.unwrap_err();
        assert_eq!(reason_of(&refused).as_deref(), Some(reason), "{user}");
        let asked = ExportReportRequest { kind: ReportKind::Volumes.into(), query: query(&[]) };
        let refused = client(&running, user).export_report(asked).await.unwrap_err();
        assert_eq!(reason_of(&refused).as_deref(), Some(reason), "{user}");
    }
}

async fn csv(running: &Running, user: &str, kind: ReportKind) -> Vec<String> {
    let group_by = [ReportGrouping::Day, ReportGrouping::Campaign, ReportGrouping::Agent];
    let request = ExportReportRequest { kind: kind.into(), query: query(&group_by) };
    let mut stream = client(running, user).export_report(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.message().await.unwrap() {
        bytes.extend(piece.chunk);
    }
    String::from_utf8(bytes).unwrap().split_terminator("\r\n").map(str::to_owned).collect()
}

#[tokio::test]
async fn the_csv_holds_the_same_rows_as_the_pages() {
    let running = running().await;
    running.ready().await;
    let events = made_up(&mut Dice(11), 40);
    publish(&running, &events).await;
    let all = naive::interactions(&events).len() as i64;
    counted(&running).await;
    assert_eq!(interactions(&running, "coco").await, all);
    let group_by = [ReportGrouping::Day, ReportGrouping::Campaign, ReportGrouping::Agent];
    let mut expected = vec!["date,campaign_key,agent_key,received,sent,pending,failed,unknown".to_owned()];
    let mut asked = query(&group_by).unwrap();
    asked.page_size = 3;
    loop {
        let request = GetMessagesRequest { query: Some(asked.clone()) };
        let answer = client(&running, "rita").get_messages(request).await.unwrap().into_inner();
        for row in answer.rows {
            let group = row.group.unwrap();
            expected.push(format!(
                "{},{},{},{},{},{},{},{}",
                group.date,
                group.campaign_key,
                group.agent_key,
                row.received,
                row.sent,
                row.pending,
                row.failed,
                row.unknown
            ));
        }
        if answer.next_page_token.is_empty() {
            break;
        }
        asked.page_token = answer.next_page_token;
    }
    assert!(expected.len() > 5);
    assert_eq!(csv(&running, "rita", ReportKind::Messages).await, expected);
    for kind in 1..=8 {
        let kind = ReportKind::try_from(kind).unwrap();
        assert!(csv(&running, "coco", kind).await.len() > 1, "{kind:?}");
    }
}

#[tokio::test]
async fn bad_questions_name_their_fields() {
    let running = running().await;
    running.ready().await;
    let mut client = client(&running, "rita");
    let mut wrong = query(&[]).unwrap();
    wrong.group_by = vec![9];
    wrong.page_size = -1;
    let filter = wrong.filter.as_mut().unwrap();
    filter.states = vec![0];
    filter.conditions = vec![7];
    filter.direction = 5;
    filter.to_date = "2025-01-01".into();
    let request = GetStatesRequest { query: Some(wrong) };
    let refused = Error::from(client.get_states(request).await.unwrap_err());
    let fields: Vec<_> = refused.violations().iter().map(|one| one.field.as_str()).collect();
    let expected = [
        "query.filter.states",
        "query.filter.conditions",
        "query.group_by",
        "query.filter.direction",
        "query.filter.to_date",
        "query.page_size",
    ];
    assert_eq!((refused.reason(), fields.as_slice()), ("INVALID_REPORT", expected.as_slice()));
    let refused = Error::from(client.get_orphaned(GetOrphanedRequest { query: None }).await.unwrap_err());
    assert_eq!(refused.violations().len(), 2, "both days are required");
    let mut other = query(&[]).unwrap();
    other.page_token = "x".into();
    let refused = client.get_messages(GetMessagesRequest { query: Some(other) }).await.unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some("PAGE_TOKEN_INVALID"));
    let none = ExportReportRequest { kind: 0, query: query(&[]) };
    let refused = Error::from(client.export_report(none).await.unwrap_err());
    assert_eq!(refused.violations()[0].field, "kind");
}

struct Reports;

fn attention(key: u32) -> Uuid {
    Uuid::from_u128(0x1000 + u128::from(key))
}

fn row(id: Uuid, key: Uuid, sequence: i64, payload: Vec<u8>) -> OutboxRow {
    OutboxRow {
        id,
        stream: StreamKind::Events,
        subject: "hilo.attention.v1.ventas.message_received".to_owned(),
        key,
        sequence,
        headers: vec![("ce-id".to_owned(), id.to_string())],
        payload,
    }
}

/// The message's id is its event's; the fact keeps it, so effects can be told apart.
fn event_id(key: Uuid, sequence: i64) -> Uuid {
    Uuid::from_u128(key.as_u128() << 32 | u128::try_from(sequence).unwrap())
}

#[async_trait]
impl Candidate for Reports {
    fn spec(&self) -> ConsumerSpec {
        consumer::spec()
    }

    async fn migrate(&self, database_url: &str) -> Result<(), Error> {
        hilo_history::migrate(database_url).await
    }

    fn handler(&self, db: Db, _: Nats) -> Arc<dyn BatchHandler> {
        Arc::new(Recorder::new(Store::new(db)))
    }

    fn message(&self, key: u32, sequence: i64) -> OutboxRow {
        let key = attention(key);
        let id = event_id(key, sequence);
        let interaction = InteractionSnapshot {
            interaction_id: key.to_string(),
            state: InteractionState::Queued.into(),
            direction: Direction::Inbound.into(),
            campaign_key: "ventas".into(),
            ordinal: 1,
            ..Default::default()
        };
        let event = AttentionEvent {
            r#type: EventType::MessageReceived.into(),
            attention_id: key.to_string(),
            sequence,
            occurred_at: Some(hilo_kit::clock::to_proto(crate::sample::at(sequence))),
            interaction: Some(interaction),
            message: Some(MessageSummary { message_id: id.to_string(), ..Default::default() }),
            ..Default::default()
        };
        row(id, key, sequence, hilo_proto::json::to_json("hilo.event.v1.AttentionEvent", &event).unwrap())
    }

    fn poison(&self) -> OutboxRow {
        row(Uuid::from_u128(0xBAD), Uuid::from_u128(0xBAD), 1, b"{\"sequence\":[]}".to_vec())
    }

    async fn effects(&self, db: &Db) -> Result<Vec<Uuid>, Error> {
        let all = sqlx::query_scalar("SELECT message_id FROM report_event ORDER BY attention_id, sequence");
        Ok(all.fetch_all(db.pool()).await?)
    }
}

#[tokio::test]
async fn the_reader_of_events_conforms() {
    // The brokers of all checks live until the end.
    let brokers = tokio::sync::Mutex::new(Vec::new());
    let parts = || async {
        let nats = hilo_test_support::Nats::start().await.unwrap();
        let database_url = Postgres::shared().await.unwrap().fresh_database().await.unwrap();
        let parts = Parts { database_url, nats_url: nats.url() };
        brokers.lock().await.push(nats);
        parts
    };
    conformance::run(&Reports, parts).await.unwrap();
}
