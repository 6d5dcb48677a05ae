//! Signatures, retries, copies, order, batches.

use std::collections::HashSet;

use hilo_simulators::{Config, Customer, Say, Shape, Simulator, signature};
use serde_json::Value;

use crate::world::{NUMBER, PHONE, SECRET, World, wamid};

/// Pauses that a test can wait for: a day of Meta's passes in 86 ms.
fn hurry(simulator: &Simulator) {
    simulator.behave(|behaviour| behaviour.retry.time_scale = 1_000_000.0);
}

#[tokio::test]
async fn every_post_is_signed_over_its_raw_bytes() {
    let world = World::start().await;
    let phone = world.simulator.customer(Customer::new(PHONE).named("Jürgen 👍"));
    phone.says(NUMBER, &Say::text("Grüße/👍")).expect("says");
    world.settled().await;
    world.simulator.behave(|behaviour| behaviour.delivery.escape = false);
    phone.says(NUMBER, &Say::text("Grüße/👍")).expect("says");
    world.settled().await;
    let got = world.inbox.got.lock().clone();
    assert_eq!(got.len(), 2);
    for one in &got {
        assert_eq!(one.signature, signature(SECRET, &one.body));
    }
    let escaped: Vec<bool> = got.iter().map(|one| one.body.is_ascii()).collect();
    assert_eq!(escaped, [true, false], "as Meta escapes, and plain");
    let texts: HashSet<String> =
        world.events().iter().map(|event| event["text"]["body"].to_string()).collect();
    assert_eq!(texts.len(), 1, "both mean the same: {texts:?}");
}

#[tokio::test]
async fn the_handshake_wants_its_challenge_back_and_only_loopback_is_called() {
    let mut config = Config::default();
    let world = World::start().await;
    assert!(world.simulator.subscribe("app-1", "http://10.1.2.3/hook").await.is_err());
    assert!(world.simulator.subscribe("app-2", "http://127.0.0.1:1/hook").await.is_err());
    config.apps.first_mut().expect("one").verify_token = "other".to_owned();
    let callback = world.simulator.base_url().replace("http://", "http://localhost@");
    assert!(Simulator::start(config).await.expect("starts").subscribe("app-1", &callback).await.is_err());
}

#[tokio::test]
async fn what_is_not_answered_with_200_comes_again_and_nothing_is_lost() {
    let world = World::start().await;
    hurry(&world.simulator);
    *world.inbox.answers.lock() = vec![503, 500, 201, 302, 200];
    let phone = world.simulator.customer(Customer::new(PHONE));
    let id = phone.says(NUMBER, &Say::text("hello")).expect("says");
    world.settled().await;
    let bodies: HashSet<Vec<u8>> = world.inbox.got.lock().iter().map(|got| got.body.to_vec()).collect();
    assert_eq!((world.inbox.got.lock().len(), bodies.len()), (5, 1), "the same bytes until 200");
    let attempts = world.simulator.attempts();
    let statuses: Vec<_> = attempts.iter().map(|row| (row.attempt, row.status)).collect();
    assert_eq!(statuses, [(1, Some(503)), (2, Some(500)), (3, Some(201)), (4, Some(302)), (5, Some(200))]);
    assert!(attempts.iter().all(|row| row.events == [id.clone()]));
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_given_up_after_the_time_and_that_is_written_down() {
    let world = World::start().await;
    hurry(&world.simulator);
    world.simulator.behave(|behaviour| behaviour.retry.give_up_ms = 10_000);
    *world.inbox.answers.lock() = vec![500; 100];
    world.simulator.customer(Customer::new(PHONE)).says(NUMBER, &Say::text("hello")).expect("says");
    world.settled().await;
    // 1, 2 and 4 s of Meta's time fit into 10 s, the pause of 8 s no longer does.
    assert_eq!(world.simulator.attempts().len(), 4);
    assert_eq!(world.simulator.totals().given_up, 1);
}

#[tokio::test]
async fn order_is_kept_unless_it_is_shuffled() {
    let world = World::start().await;
    let phone = world.simulator.customer(Customer::new(PHONE));
    let says = |count: usize| -> Vec<String> {
        (0..count).map(|i| phone.says(NUMBER, &Say::text(&format!("{i}"))).expect("says")).collect()
    };
    let ids = |world: &World| -> Vec<String> {
        world.events().iter().filter_map(|event| Some(event.get("id")?.as_str()?.to_owned())).collect()
    };
    let sent = says(20);
    world.settled().await;
    assert_eq!(ids(&world), sent);

    world.inbox.got.lock().clear();
    world.simulator.behave(|behaviour| {
        behaviour.delivery.shuffle = true;
        behaviour.delivery.hold = true;
    });
    let sent = says(20);
    world.simulator.behave(|behaviour| behaviour.delivery.hold = false);
    world.settled().await;
    let came = ids(&world);
    assert_ne!(came, sent, "twenty of them in the very same order");
    assert_eq!(came.iter().collect::<HashSet<_>>(), sent.iter().collect::<HashSet<_>>());
}

#[tokio::test]
async fn events_kept_back_come_in_batches_of_every_shape_and_in_copies() {
    let world = World::start().await;
    let phone = world.simulator.customer(Customer::new(PHONE));
    for shape in [Shape::Arrays, Shape::Changes, Shape::Entries] {
        world.inbox.got.lock().clear();
        world.simulator.behave(|behaviour| {
            behaviour.delivery.hold = true;
            behaviour.delivery.batch = 10;
            behaviour.delivery.copies = 3;
            behaviour.delivery.shape = shape;
        });
        for i in 0..25 {
            phone.says(NUMBER, &Say::text(&format!("{i}"))).expect("says");
        }
        assert!(world.inbox.got.lock().is_empty(), "nothing comes while it is held");
        world.simulator.behave(|behaviour| behaviour.delivery.hold = false);
        world.settled().await;
        assert_eq!(world.inbox.got.lock().len(), 9, "{shape:?}: three POSTs, three times each");
        let events = world.events();
        let ids: HashSet<&str> =
            events.iter().filter_map(|event| event.get("id").and_then(Value::as_str)).collect();
        assert_eq!((events.len(), ids.len()), (75, 25), "{shape:?}");
    }
}

#[tokio::test]
async fn statuses_can_be_told_late_twice_and_in_any_order() {
    let world = World::start().await;
    let phone = world.talking().await;
    world.simulator.behave(|behaviour| {
        behaviour.statuses.sent_ms = Some(60);
        behaviour.statuses.delivered_ms = Some(30);
        behaviour.statuses.read_ms = Some(1);
        behaviour.statuses.copies = 2;
    });
    let id = wamid(&world.text(PHONE, "hi").await);
    world.settled().await;
    assert_eq!(world.statuses(&id), ["read", "read", "delivered", "delivered", "sent", "sent"]);
    assert!(world.simulator.tell_status(&id, "failed", Some(131_049)).expect("known"));
    world.settled().await;
    assert_eq!(world.statuses(&id).pop().as_deref(), Some("failed"));
    assert!(world.simulator.tell_status("wamid.none", "read", None).is_err());
    assert_eq!(phone.received().len(), 1);
}
