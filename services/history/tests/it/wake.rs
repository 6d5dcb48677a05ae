//! The wake-up by events: at once, harmless when repeated, dead letters for what is no event.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use hilo_history::domain::Thread;
use hilo_proto::event::v1::{AttentionEvent, Direction, EventType, InteractionSnapshot, InteractionState};
use hilo_proto::internal::v1::dead_letter_service_client::DeadLetterServiceClient;
use hilo_proto::internal::v1::{ListDeadLettersRequest, ReplayDeadLetterRequest};
use hilo_test_support::eventually;

use crate::rights::{Running, running};
use crate::sample;

/// The event of its end.
pub fn event(thread: &Thread) -> Vec<u8> {
    let interaction = InteractionSnapshot {
        interaction_id: thread.head.interaction_id.to_string(),
        version: thread.version,
        state: InteractionState::Ended.into(),
        direction: Direction::Inbound.into(),
        campaign_key: "ventas".into(),
        ..Default::default()
    };
    let event = AttentionEvent {
        r#type: EventType::InteractionEnded.into(),
        attention_id: thread.head.attention_id.to_string(),
        sequence: thread.version,
        occurred_at: Some(hilo_kit::clock::to_proto(sample::at(0))),
        interaction: Some(interaction),
        ..Default::default()
    };
    hilo_proto::json::to_json("hilo.event.v1.AttentionEvent", &event).unwrap()
}

async fn publish(running: &Running, id: uuid::Uuid, payload: Vec<u8>) {
    let client = async_nats::connect(running.nats.url()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("ce-id", id.to_string());
    let jetstream = async_nats::jetstream::new(client);
    let sent =
        jetstream.publish_with_headers("hilo.attention.v1.ventas.interaction_ended", headers, payload.into());
    sent.await.unwrap().await.unwrap();
}

/// True when the consumer has acknowledged every published event. How many confirmations that makes depends on which events
/// share a batch; what the broker says of events to come lags behind what was published, so the last one is compared.
pub async fn all_acknowledged(running: &Running, consumer: &str) -> bool {
    let client = async_nats::connect(running.nats.url()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("HILO_EVENTS").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let info = stream.consumer_info(consumer).await.unwrap();
    info.delivered.stream_sequence >= last && info.num_ack_pending == 0
}

/// With a sweep every hour nothing but the event brings the thread here.
async fn without_sweep() -> Running {
    let mut running = running().await;
    running.shutdown.begin();
    running.shutdown.drain(Duration::from_secs(60)).await;
    running.config.section.sweep_seconds = 3_600;
    running.shutdown = hilo_kit::lifecycle::Shutdown::new();
    running.url = crate::rights::start(&running.config, &running.shutdown).await;
    running.ready().await;
    running
}

#[tokio::test]
async fn an_event_brings_its_thread_at_once_and_once() {
    let running = without_sweep().await;
    let thread = sample::thread("hola");
    running.fake.end(&thread);
    let id = thread.head.interaction_id;
    let started = Instant::now();
    for _ in 0..3 {
        // Another ce-id each time: what makes it harmless is the thread's version, not the message's identity.
        publish(&running, uuid::Uuid::now_v7(), event(&thread)).await;
    }
    let confirmed = || async { running.fake.confirmed(id) == Some(1) };
    eventually("the thread is confirmed", Duration::from_secs(60), confirmed).await.unwrap();
    println!("confirmed {:?} after its event", started.elapsed());
    let all = || all_acknowledged(&running, "history");
    eventually("the repetitions are handled", Duration::from_secs(60), all).await.unwrap();
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM message")
        .fetch_one(&sqlx::PgPool::connect(&running.database).await.unwrap())
        .await
        .unwrap();
    assert_eq!(stored, 1);
}

#[tokio::test]
async fn a_failing_source_is_asked_again_and_a_poison_event_is_buried() {
    let running = without_sweep().await;
    publish(&running, uuid::Uuid::now_v7(), b"no event".to_vec()).await;
    let thread = sample::thread("hola");
    running.fake.end(&thread);
    running.fake.state.lock().failing_fetches = 3;
    publish(&running, uuid::Uuid::now_v7(), event(&thread)).await;
    let confirmed = || async { running.fake.confirmed(thread.head.interaction_id) == Some(1) };
    eventually("the thread is confirmed", Duration::from_secs(60), confirmed).await.unwrap();
    let pool = sqlx::PgPool::connect(&running.database).await.unwrap();
    let buried = || async {
        let letters: Vec<(String, String)> =
            sqlx::query_as("SELECT consumer, reason FROM kit.dead_letter ORDER BY consumer")
                .fetch_all(&pool)
                .await
                .unwrap();
        // Once for each of the two that read events.
        let expected =
            ["history", "history-reports"].map(|name| (name.to_owned(), "EVENT_MALFORMED".to_owned()));
        letters == expected
    };
    eventually("the poison event is a dead letter", Duration::from_secs(60), buried).await.unwrap();
}

#[tokio::test]
async fn events_out_of_order_leave_the_newest_version() {
    let running = without_sweep().await;
    let old = sample::thread("primera");
    let mut new = old.clone();
    new.version = 3;
    new.head.subject = "segunda vez".into();
    running.fake.end(&new);
    // The newer event first; the older one finds a newer thread already stored.
    publish(&running, uuid::Uuid::now_v7(), event(&new)).await;
    publish(&running, uuid::Uuid::now_v7(), event(&old)).await;
    let both = || all_acknowledged(&running, "history");
    eventually("both events are handled", Duration::from_secs(60), both).await.unwrap();
    let pool = sqlx::PgPool::connect(&running.database).await.unwrap();
    let (version, subject): (i64, String) =
        sqlx::query_as("SELECT version, subject FROM thread").fetch_one(&pool).await.unwrap();
    assert_eq!((version, subject.as_str()), (3, "segunda vez"));
    assert_eq!(running.fake.confirmed(old.head.interaction_id), Some(3));
}

/// The thread itself is malformed: the event becomes a dead letter, which an operator replays once the cause is gone.
#[tokio::test]
async fn a_dead_letter_is_listed_and_its_replay_keeps_the_thread() {
    let running = without_sweep().await;
    let thread = sample::thread("hola");
    let id = thread.head.interaction_id;
    running.fake.end(&thread);
    running.fake.state.lock().malformed.insert(id);
    publish(&running, uuid::Uuid::now_v7(), event(&thread)).await;
    let tokens = hilo_kit::auth::ServiceTokens::new(&running.fake.auth(), "test");
    let client = DeadLetterServiceClient::new(hilo_kit::grpc::internal(&running.url, &tokens).unwrap());
    let list = || {
        let mut client = client.clone();
        async move {
            client
                .list_dead_letters(ListDeadLettersRequest::default())
                .await
                .unwrap()
                .into_inner()
                .dead_letters
        }
    };
    let listed = || async { list().await.len() == 1 };
    eventually("the dead letter is listed", Duration::from_secs(60), listed).await.unwrap();
    let letter = list().await.remove(0);
    assert_eq!((letter.service.as_str(), letter.reason.as_str()), ("history", "THREAD_MALFORMED"));
    assert!(!letter.detail.contains("ejemplo.pe"), "no content in the detail");
    running.fake.state.lock().malformed.clear();
    let replay = ReplayDeadLetterRequest { dead_letter_id: letter.dead_letter_id };
    client.clone().replay_dead_letter(replay).await.unwrap();
    let confirmed = || async { running.fake.confirmed(id) == Some(1) };
    eventually("the replay keeps the thread", Duration::from_secs(60), confirmed).await.unwrap();
    let settled = || async { list().await.is_empty() };
    eventually("the dead letter is settled", Duration::from_secs(60), settled).await.unwrap();
}
