//! Faults on demand at the Graph endpoints.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use hilo_simulators::{Effect, Endpoint, Fault};
use serde_json::json;

use crate::world::{ACCOUNT, NUMBER, PHONE, TOKEN, World, code, wamid};

fn body() -> serde_json::Value {
    json!({"messaging_product": "whatsapp", "to": PHONE, "text": {"body": "hi"}, "biz_opaque_callback_data": "job-1"})
}

#[tokio::test]
async fn any_code_any_status_and_any_answer_can_be_had() {
    let world = World::start().await;
    world.talking().await;
    let refuse = |code, http| Effect::Refuse { code, http, details: None };
    for (effect, expected) in [
        (refuse(131_016, None), (500, 131_016)),
        (refuse(130_429, Some(429)), (429, 130_429)),
        (refuse(4, None), (400, 4)),
        (refuse(131_048, None), (400, 131_048)),
        (Effect::Answer { http: 502, body: "<html>Bad Gateway</html>".to_owned() }, (502, 0)),
    ] {
        world.simulator.fault(Fault::new(Endpoint::Messages, 1, effect));
        let answer = world.send(&body()).await;
        assert_eq!((answer.0.as_u16(), code(&answer)), expected);
        assert_eq!(world.send(&body()).await.0, StatusCode::OK, "the fault met one call");
    }
    world.simulator.fault(Fault::new(Endpoint::Any, 1, refuse(2, None)).lasting());
    assert_eq!(code(&world.call("GET", &format!("/v23.0/{ACCOUNT}/phone_numbers"), None).await), 2);
    assert_eq!(code(&world.send(&body()).await), 2);
    world.simulator.heal(None);
    assert_eq!(code(&world.send(&body()).await), 0);
}

#[tokio::test]
async fn a_hang_after_the_message_was_taken_leaves_only_its_statuses() {
    let world = World::start().await;
    let phone = world.talking().await;
    world.simulator.fault(Fault::new(Endpoint::Messages, 1, Effect::HangAfter { ms: 10, statuses: true }));
    let path = format!("/v23.0/{NUMBER}/messages");
    assert!(world.raw(TOKEN, "POST", &path, Some(&body())).await.is_err(), "no answer");
    world.settled().await;
    let received = phone.received();
    let taken = received.first().expect("the customer has it");
    assert_eq!(world.statuses(&taken.wamid), ["sent", "delivered"]);
    assert!(world.events().iter().any(|event| event["biz_opaque_callback_data"] == "job-1"));
    let row = world.simulator.requests().pop().expect("recorded");
    assert_eq!((row.status, row.wamid.as_deref()), (None, Some(taken.wamid.as_str())));
    assert_eq!(row.fault.as_deref(), Some("hang_after"));
}

#[tokio::test]
async fn a_hang_before_takes_nothing_and_a_silent_message_has_no_status() {
    let world = World::start().await;
    let phone = world.talking().await;
    let path = format!("/v23.0/{NUMBER}/messages");
    world.simulator.fault(Fault::new(Endpoint::Messages, 1, Effect::HangBefore { ms: 10 }));
    assert!(world.raw(TOKEN, "POST", &path, Some(&body())).await.is_err());
    assert!(phone.received().is_empty());
    world.simulator.fault(Fault::new(Endpoint::Messages, 1, Effect::HangAfter { ms: 10, statuses: false }));
    assert!(world.raw(TOKEN, "POST", &path, Some(&body())).await.is_err());
    world.simulator.fault(Fault::new(Endpoint::Messages, 1, Effect::Silent));
    let silent = wamid(&world.send(&body()).await);
    world.settled().await;
    assert_eq!(phone.received().len(), 2);
    assert!(world.statuses(&silent).is_empty());
    assert!(world.events().iter().all(|event| event.get("status").is_none()));
}

#[tokio::test]
async fn an_answer_can_be_slow_and_a_failure_late() {
    let world = World::start().await;
    world.talking().await;
    world.simulator.fault(Fault::new(Endpoint::Messages, 1, Effect::Slow { ms: 200 }));
    let begun = Instant::now();
    assert_eq!(world.send(&body()).await.0, StatusCode::OK);
    assert!(begun.elapsed() >= Duration::from_millis(200), "a lower bound that no load can break");
    let fault =
        Fault::new(Endpoint::Messages, 1, Effect::FailLater { code: 131_049, ms: 5 }).to("+1 650 555 1234");
    world.simulator.fault(fault);
    let id = wamid(&world.send(&body()).await);
    world.settled().await;
    assert_eq!(world.statuses(&id), ["failed"]);
    let failed = world.events().pop().expect("failed");
    assert_eq!(failed["errors"][0]["code"], 131_049);
    assert_eq!(failed["errors"][0]["title"], failed["errors"][0]["message"]);
}
