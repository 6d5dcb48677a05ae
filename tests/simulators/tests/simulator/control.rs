//! The control API: what the handle can do, over HTTP.

use axum::http::StatusCode;
use hilo_simulators::{Config, Customer, Number, Say};
use serde_json::json;

use crate::world::{NUMBER, PHONE, World, code, wamid};

#[tokio::test]
async fn a_conversation_can_be_played_by_http_alone() {
    let world = World::start().await;
    let post = async |path: &str, body: serde_json::Value| world.call_as("", "POST", path, Some(&body)).await;
    let (status, ana) = post("/sim/customers", json!({"phone": "+1 650 555 1234", "name": "Ana"})).await;
    assert_eq!((status, &ana["phone"]), (StatusCode::OK, &json!(PHONE)));
    let (_, said) = post(&format!("/sim/customers/{PHONE}/messages"), json!({"text": "hello"})).await;
    assert!(said["wamid"].is_string(), "{said}");
    let picture = json!({"kind": "image", "with": {"image": {"caption": "Look"}}});
    post(&format!("/sim/customers/{PHONE}/messages?number={NUMBER}"), picture).await;
    let answer = world.text(PHONE, "good morning").await;
    world.settled().await;
    let (_, read) = post(&format!("/sim/customers/{PHONE}/read"), json!({})).await;
    assert_eq!(read, json!({"read": 1}));
    world.settled().await;
    assert_eq!(world.statuses(&wamid(&answer)), ["sent", "delivered", "read"]);
    let (_, chat) = world.call_as("", "GET", &format!("/sim/customers/{PHONE}/messages"), None).await;
    assert_eq!(chat.as_array().map(Vec::len), Some(3), "{chat}");
    assert_eq!(chat[2]["received"]["body"]["text"]["body"], "good morning");
    let (_, overview) = world.call_as("", "GET", "/sim", None).await;
    assert_eq!(
        (&overview["customers"], &overview["totals"]["accepted"]),
        (&json!(1), &json!(1)),
        "{overview}"
    );
}

#[tokio::test]
async fn behaviour_faults_clock_and_record_are_within_reach() {
    let world = World::start().await;
    world.talking().await;
    let (status, after) =
        world.call_as("", "PATCH", "/sim/behaviour", Some(&json!({"statuses": {"read_ms": 50}}))).await;
    assert_eq!((status, &after["statuses"]["read_ms"]), (StatusCode::OK, &json!(50)));
    let (status, _) = world.call_as("", "PATCH", "/sim/behaviour", Some(&json!({"nothing": 1}))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let fault = json!({"on": "messages", "effect": "refuse", "code": 131_016, "times": 1});
    let (status, _) = world.call_as("", "POST", "/sim/faults", Some(&fault)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(code(&world.text(PHONE, "hi").await), 131_016);
    assert_eq!(code(&world.text(PHONE, "hi").await), 0);
    world.call_as("", "POST", "/sim/clock", Some(&json!({"advance_ms": 86_400_000}))).await;
    assert_eq!(code(&world.text(PHONE, "hi").await), 131_047);
    world.settled().await;
    let (_, requests) = world.call_as("", "GET", "/sim/record/requests?after=1", None).await;
    assert_eq!(requests.as_array().map(Vec::len), Some(2), "{requests}");
    let (_, attempts) = world.call_as("", "GET", "/sim/record/attempts", None).await;
    assert_eq!(attempts.as_array().map(Vec::len), Some(4), "hello, sent, delivered, read: {attempts}");
    let (status, _) = world.call_as("", "GET", "/sim/record/dreams", None).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, kinds) = world.call_as("", "GET", "/sim/kinds", None).await;
    assert!(kinds["messages"].as_array().is_some_and(|kinds| kinds.len() > 30), "{kinds}");
    let told = json!({"kind": "account_update", "with": {"event": "DISABLED_UPDATE"}});
    assert_eq!(world.call_as("", "POST", "/sim/notices", Some(&told)).await.0, StatusCode::OK);
    let (status, _) = world.call_as("", "POST", "/sim/customers", Some(&json!({"name": "nobody"}))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_restart_keeps_chats_and_windows_where_a_file_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("phones.json");
    let config = || Config { keep: Some(file.clone()), ..Config::default() };
    let world = World::with(config()).await;
    let phone = world.simulator.customer(Customer::new(PHONE).named("Ana"));
    phone.says(NUMBER, &Say::text("hello")).expect("said");
    let answer = world.text(PHONE, "good morning").await;
    world.settled().await;
    drop(world);

    let world = World::with(config()).await;
    let chat = format!("/sim/customers/{PHONE}/messages");
    let (_, chat) = world.call_as("", "GET", &chat, None).await;
    assert_eq!(chat[0]["said"]["text"], "hello");
    assert_eq!(chat[1]["received"]["wamid"], json!(wamid(&answer)));
    assert_eq!(chat[1]["received"]["statuses"].as_array().map(Vec::len), Some(2), "{chat}");
    assert_eq!(code(&world.text(PHONE, "still there?").await), 0, "the window is still open");
    drop(world);

    std::fs::write(&file, "not ours").expect("written");
    let refused = hilo_simulators::Simulator::start(config()).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("damaged")));
    assert_eq!(std::fs::read_to_string(&file).expect("file"), "not ours");
}

#[tokio::test]
async fn a_number_can_be_added_and_replaced_while_it_runs() {
    let world = World::start().await;
    let number = |name: &str| Number {
        phone_number_id: "777".to_owned(),
        verified_name: name.to_owned(),
        ..Number::default()
    };
    for name in ["one", "two"] {
        let body = serde_json::to_value(number(name)).expect("json");
        assert_eq!(world.call_as("", "POST", "/sim/numbers", Some(&body)).await.0, StatusCode::OK);
    }
    let (_, overview) = world.call_as("", "GET", "/sim", None).await;
    let names: Vec<_> =
        overview["numbers"].as_array().into_iter().flatten().map(|one| &one["verified_name"]).collect();
    assert_eq!(names, ["Lucky Shrub", "two"]);
    let foreign = json!({"phone_number_id": "778", "app": "nobody"});
    assert_eq!(world.call_as("", "POST", "/sim/numbers", Some(&foreign)).await.0, StatusCode::BAD_REQUEST);
}
