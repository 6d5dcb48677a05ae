//! What Meta refuses, and in which words.

use std::time::Duration;

use axum::http::StatusCode;
use hilo_simulators::{Config, Customer, Number, Refusals, Say, Strangers};
use serde_json::json;

use crate::world::{ACCOUNT, NUMBER, PHONE, TOKEN, World, code, wamid};

#[tokio::test]
async fn a_text_within_the_window_is_taken_and_its_statuses_follow() {
    let world = World::start().await;
    let phone = world.talking().await;
    let answer = world
        .send(
            &json!({"messaging_product": "whatsapp", "recipient_type": "individual", "to": "+1 650 555 1234",
            "type": "text", "text": {"body": "Good morning"}, "biz_opaque_callback_data": "mine"}),
        )
        .await;
    assert_eq!(answer.0, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.1.pointer("/contacts/0"), Some(&json!({"input": "+1 650 555 1234", "wa_id": PHONE})));
    let id = wamid(&answer);
    world.settled().await;
    assert_eq!(world.statuses(&id), ["sent", "delivered"]);
    let status = world.events().into_iter().find(|event| event["id"] == id.as_str()).expect("status");
    assert_eq!(status["biz_opaque_callback_data"], "mine");
    assert_eq!(status["recipient_id"], PHONE);
    assert_eq!(status["recipient_user_id"], phone.user_id());
    let received = phone.received();
    assert_eq!(received.first().map(|sent| sent.body["text"]["body"].clone()), Some(json!("Good morning")));
    assert_eq!(phone.reads().expect("reads"), 1);
    world.settled().await;
    assert_eq!(world.statuses(&id), ["sent", "delivered", "read"]);
}

#[tokio::test]
async fn the_error_body_has_metas_shape() {
    let world = World::start().await;
    world.simulator.customer(Customer::new(PHONE));
    let (status, body) = world.text(PHONE, "hello").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let error = body.get("error").expect("error");
    assert_eq!(error["message"], "(#131047) Re-engagement message");
    assert_eq!(error["type"], "OAuthException");
    assert_eq!(error["code"], 131_047);
    assert_eq!(error["error_data"]["messaging_product"], "whatsapp");
    assert!(error["error_data"]["details"].is_string() && error["fbtrace_id"].is_string());
}

#[tokio::test]
async fn token_path_and_form_are_checked_first() {
    let world = World::start().await;
    world.talking().await;
    let good = json!({"messaging_product": "whatsapp", "to": PHONE, "text": {"body": "hi"}});
    let path = format!("/v23.0/{NUMBER}/messages");
    for token in ["", "wrong", "simulated-access-token-and-more"] {
        let answer = world.call_as(token, "POST", &path, Some(&good)).await;
        assert_eq!((answer.0, code(&answer)), (StatusCode::UNAUTHORIZED, 190), "token {token:?}");
    }
    for (path, body, expected) in [
        ("/v23.0/999/messages".to_owned(), good.clone(), 100),
        (format!("/latest/{NUMBER}/messages"), good.clone(), 2500),
        (format!("/v23.0/{NUMBER}/nothing"), good.clone(), 2500),
        (path.clone(), json!("text"), 100),
        (path.clone(), json!({"to": PHONE, "text": {"body": "hi"}}), 100),
        (path.clone(), json!({"messaging_product": "whatsapp", "text": {"body": "hi"}}), 100),
        (
            path.clone(),
            json!({"messaging_product": "whatsapp", "to": "Ana", "text": {"body": "hi"}}),
            131_009,
        ),
        (path.clone(), json!({"messaging_product": "whatsapp", "to": PHONE, "type": "text"}), 131_008),
        (
            path.clone(),
            json!({"messaging_product": "whatsapp", "to": PHONE, "type": "poem", "poem": {}}),
            131_051,
        ),
        (
            path.clone(),
            json!({"messaging_product": "whatsapp", "to": PHONE, "text": {"body": "x".repeat(4097)}}),
            100,
        ),
        (
            path.clone(),
            json!({"messaging_product": "whatsapp", "to": "+1 555 078 3881", "text": {"body": "me"}}),
            131_021,
        ),
        (
            path.clone(),
            json!({"messaging_product": "whatsapp", "to": PHONE, "type": "image", "image": {"id": "77"}}),
            131_009,
        ),
    ] {
        let answer = world.call("POST", &path, Some(&body)).await;
        assert_eq!(code(&answer), expected, "{path} {body}: {answer:?}");
    }
    assert_eq!(world.simulator.totals().accepted, 0);
    let answer = world.call("POST", &path, Some(&good)).await;
    assert_eq!(answer.0, StatusCode::OK, "{answer:?}");
}

#[tokio::test]
async fn the_window_closes_24_hours_after_the_customers_own_time() {
    let world = World::start().await;
    let phone = world.simulator.customer(Customer::new(PHONE));
    phone.says(NUMBER, &Say::text("old").seconds_ago(86_401)).expect("says");
    assert_eq!(code(&world.text(PHONE, "too late").await), 131_047);
    phone.says(NUMBER, &Say::text("younger").seconds_ago(80_000)).expect("says");
    assert_eq!(world.text(PHONE, "in time").await.0, StatusCode::OK);
    world.simulator.advance(Duration::from_secs(6_401));
    assert_eq!(code(&world.text(PHONE, "too late again").await), 131_047);
    let template = json!({"messaging_product": "whatsapp", "to": PHONE, "type": "template",
        "template": {"name": "hello_world", "language": {"code": "en_US"}}});
    let answer = world.send(&template).await;
    assert_eq!(answer.1.pointer("/messages/0/message_status"), Some(&json!("accepted")), "{answer:?}");
    assert_eq!(code(&world.text(PHONE, "a template opens no window").await), 131_047);
}

#[tokio::test]
async fn templates_must_exist_be_approved_and_be_filled_in() {
    let world = World::start().await;
    world.simulator.customer(Customer::new(PHONE));
    let template = |name: &str, language: &str, texts: &[&str]| {
        let parameters: Vec<_> = texts.iter().map(|text| json!({"type": "text", "text": text})).collect();
        json!({"messaging_product": "whatsapp", "to": PHONE, "type": "template", "template": {"name": name,
            "language": {"code": language}, "components": [{"type": "body", "parameters": parameters}]}})
    };
    assert_eq!(code(&world.send(&template("order_update", "en_US", &["Ana", "7"])).await), 0);
    let missing = world.send(&template("nothing", "en_US", &[])).await;
    assert_eq!((missing.0, code(&missing)), (StatusCode::NOT_FOUND, 132_001));
    assert_eq!(code(&world.send(&template("order_update", "de_DE", &["Ana", "7"])).await), 132_001);
    assert_eq!(code(&world.send(&template("not_yet", "en_US", &[])).await), 132_001);
    assert_eq!(code(&world.send(&template("order_update", "en_US", &["Ana"])).await), 132_000);
}

#[tokio::test]
async fn what_the_customer_decides_is_refused_at_once_or_told_later() {
    let world = World::start().await;
    let phone = world.talking().await;
    assert_eq!(code(&world.text("4915100000000", "who?").await), 131_026);
    phone.change(|customer| customer.identity = Some("new".to_owned()));
    let careful = json!({"messaging_product": "whatsapp", "to": PHONE, "text": {"body": "hi"},
        "recipient_identity_key_hash": "old"});
    assert_eq!(code(&world.send(&careful).await), 137_000);

    world.simulator.behave(|behaviour| behaviour.refusals = Refusals::Status);
    let answer = world.text("4915100000000", "who?").await;
    assert_eq!(answer.0, StatusCode::OK, "{answer:?}");
    world.settled().await;
    let failed = world.events().into_iter().find(|event| event["status"] == "failed").expect("failed");
    assert_eq!(failed["id"], wamid(&answer).as_str());
    assert_eq!(failed["errors"][0]["code"], 131_026);
    assert_eq!(failed["recipient_id"], "4915100000000");
}

#[tokio::test]
async fn strangers_may_be_adopted_for_load() {
    let world = World::start().await;
    world.simulator.behave(|behaviour| behaviour.strangers = Strangers::Adopt);
    assert_eq!(code(&world.text("4915100000000", "free text still needs a window").await), 131_047);
}

#[tokio::test]
async fn a_pair_may_have_45_at_once_and_every_excess_is_written_down() {
    let world = World::start().await;
    world.talking().await;
    world.simulator.behave(|behaviour| {
        behaviour.pace.per_number_per_second = 1_000;
        // An hour instead of six seconds: the test may be as slow as it likes.
        behaviour.pace.pair_every_ms = 3_600_000;
    });
    for i in 0..45 {
        assert_eq!(world.text(PHONE, &format!("{i}")).await.0, StatusCode::OK, "message {i}");
    }
    let answer = world.text(PHONE, "one too many").await;
    assert_eq!((answer.0, code(&answer)), (StatusCode::BAD_REQUEST, 131_056));
    let violations = world.simulator.violations();
    assert_eq!(violations.len(), 1);
    assert_eq!(violations.first().map(|row| row.limit.code()), Some(131_056));
    assert_eq!((world.simulator.totals().accepted, world.simulator.totals().violations), (45, 1));
}

#[tokio::test]
async fn a_number_over_its_throughput_gets_130429() {
    let world = World::start().await;
    let phone = world.talking().await;
    // No room at all, so that no clock decides; the sliding second has tests of its own.
    world.simulator.behave(|behaviour| behaviour.pace.per_number_per_second = 0);
    let answer = world.text(PHONE, "no room").await;
    assert_eq!((answer.0, code(&answer)), (StatusCode::BAD_REQUEST, 130_429));
    assert_eq!(world.simulator.violations().first().map(|row| row.number.clone()).as_deref(), Some(NUMBER));
    world.simulator.behave(|behaviour| behaviour.pace.enforce = false);
    assert_eq!(world.text(PHONE, "watched, not refused").await.0, StatusCode::OK);
    assert_eq!((phone.received().len(), world.simulator.violations().len()), (1, 2));
    assert!(world.simulator.peak(NUMBER) >= 1);
}

#[tokio::test]
async fn reading_and_typing_need_a_message_of_this_number() {
    let world = World::start().await;
    let phone = world.simulator.customer(Customer::new(PHONE));
    let first = phone.says(NUMBER, &Say::text("one").seconds_ago(10)).expect("says");
    let second = phone.says(NUMBER, &Say::text("two")).expect("says");
    let read = |id: &str, typing: serde_json::Value| json!({"messaging_product": "whatsapp", "status": "read", "message_id": id, "typing_indicator": typing});
    let answer = world.send(&read(&second, json!({"type": "text"}))).await;
    assert_eq!(answer.1, json!({"success": true}), "{answer:?}");
    for id in [&first, &second] {
        assert!(world.simulator.said(id).is_some_and(|said| said.read_at_ms.is_some()), "{id}");
    }
    assert!(world.simulator.said(&second).is_some_and(|said| said.typing_until_ms.is_some()));
    assert_eq!(code(&world.send(&read("wamid.unknown", json!({"type": "text"}))).await), 131_009);
    assert_eq!(code(&world.send(&read(&second, json!({"type": "dance"}))).await), 131_009);
    let requests = world.simulator.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|row| row.kind.is_none() && row.wamid.is_none()));
}

#[tokio::test]
async fn templates_and_numbers_are_listed_in_pages() {
    let world = World::start().await;
    world.simulator.add_number(Number { phone_number_id: "2".to_owned(), ..Number::default() });
    let (_, page) = world.call("GET", &format!("/v23.0/{ACCOUNT}/message_templates?limit=2"), None).await;
    assert_eq!(page["data"].as_array().map(Vec::len), Some(2), "{page}");
    let next = page["paging"]["next"].as_str().expect("next page");
    let (_, page) = world.call("GET", next, None).await;
    assert_eq!(page["data"][0]["name"], "not_yet", "{page}");
    assert!(page["paging"].get("next").is_none());
    let path = format!("/v23.0/{ACCOUNT}/message_templates?status=APPROVED&fields=name,status");
    let (_, approved) = world.call("GET", &path, None).await;
    assert_eq!(approved["data"].as_array().map(Vec::len), Some(2), "{approved}");
    assert!(approved["data"][0].get("components").is_none());
    let (_, numbers) = world.call("GET", &format!("/v23.0/{ACCOUNT}/phone_numbers"), None).await;
    assert_eq!(numbers["data"].as_array().map(Vec::len), Some(2), "{numbers}");
    let (_, number) = world.call("GET", &format!("/v23.0/{NUMBER}?fields=quality_rating"), None).await;
    assert_eq!(number, json!({"id": NUMBER, "quality_rating": "GREEN"}));
    assert_eq!(code(&world.call("GET", "/v23.0/555/message_templates", None).await), 100);
}

#[tokio::test]
async fn an_app_cannot_use_what_is_another_apps() {
    let mut config = Config::default();
    let mut other = config.apps.first().expect("one").clone();
    (other.id, other.access_token) = ("app-2".to_owned(), "other-token".to_owned());
    config.apps.push(other);
    let world = World::with(config).await;
    world.talking().await;
    let body = json!({"messaging_product": "whatsapp", "to": PHONE, "text": {"body": "hi"}});
    let path = format!("/v23.0/{NUMBER}/messages");
    assert_eq!(code(&world.call_as("other-token", "POST", &path, Some(&body)).await), 100);
    assert_eq!(code(&world.call_as(TOKEN, "POST", &path, Some(&body)).await), 0);
    for list in ["message_templates", "phone_numbers"] {
        let path = format!("/v23.0/{ACCOUNT}/{list}");
        assert_eq!(code(&world.call_as("other-token", "GET", &path, None).await), 100, "{list}");
        assert_eq!(code(&world.call_as(TOKEN, "GET", &path, None).await), 0, "{list}");
    }
}
