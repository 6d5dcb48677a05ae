//! The customers: every documented kind, identities, phones that are off.

use hilo_simulators::fixtures::{Family, find, kinds};
use hilo_simulators::{Config, Customer, Say, Template};
use serde_json::{Value, json};

use crate::world::{NUMBER, PHONE, World, array, code, wamid};

/// Paths of all fields, without the values.
fn paths(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| paths(value, &format!("{at}/{name}"), out)),
        Value::Array(rows) => {
            rows.iter().enumerate().for_each(|(i, row)| paths(row, &format!("{at}/{i}"), out))
        }
        _ => out.push(at.to_owned()),
    }
}

fn shape(value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    paths(value, "", &mut out);
    out.sort();
    out
}

#[tokio::test]
async fn every_kind_of_message_is_posted_in_the_shape_of_its_fixture() {
    let world = World::start().await;
    let phone = world.simulator.customer(Customer::new(PHONE));
    for kind in kinds(Family::Message) {
        world.inbox.got.lock().clear();
        phone.change(|customer| customer.hides_phone = kind == "system_user_id_changed");
        let id = phone.says(NUMBER, &Say::kind(kind)).expect(kind);
        world.settled().await;
        let fixture = find(Family::Message, kind).expect(kind);
        let body = world.bodies().pop().expect(kind);
        assert_eq!(shape(&body), shape(&fixture.payload), "{kind}");
        assert_eq!(body.pointer("/entry/0/changes/0/value/messages/0/id"), Some(&json!(id)), "{kind}");
    }
}

#[tokio::test]
async fn every_notice_is_posted_as_its_field() {
    let world = World::start().await;
    for kind in kinds(Family::Notice) {
        world.inbox.got.lock().clear();
        world.simulator.notice(NUMBER, kind, &Value::Null).expect(kind);
        world.settled().await;
        let fixture = find(Family::Notice, kind).expect(kind);
        let body = world.bodies().pop().expect(kind);
        assert_eq!(shape(&body), shape(&fixture.payload), "{kind}");
        assert_eq!(body.pointer("/entry/0/changes"), fixture.payload.pointer("/entry/0/changes"), "{kind}");
    }
}

#[tokio::test]
async fn statuses_have_the_shape_of_their_fixtures() {
    let world = World::start().await;
    let phone = world.talking().await;
    let text = json!({"messaging_product": "whatsapp", "to": PHONE, "text": {"body": "hi"}, "biz_opaque_callback_data": "x"});
    let id = wamid(&world.send(&text).await);
    world.settled().await;
    phone.reads().expect("reads");
    world.simulator.tell_status(&id, "played", None).expect("known");
    world.simulator.tell_status(&id, "failed", Some(131_049)).expect("known");
    world.settled().await;
    let all: Vec<Value> = world.bodies().into_iter().filter(|body| body.to_string().contains(&id)).collect();
    assert_eq!(all.len(), 5);
    for (body, kind) in all.iter().zip(["sent", "delivered", "read", "played", "failed"]) {
        let fixture = find(Family::Status, kind).expect(kind);
        assert_eq!(shape(body), shape(&fixture.payload), "{kind}");
    }
}

#[tokio::test]
async fn with_a_username_the_phone_is_hidden_and_the_user_id_is_the_way_back() {
    let world = World::start().await;
    let parent = Some("US.ENT.11815799212886844830".to_owned());
    let phone = world.simulator.customer(Customer {
        parent_user_id: parent.clone(),
        ..Customer::new(PHONE).named("Pablo M.").with_username("pablomorales")
    });
    phone.says(NUMBER, &Say::text("who am I?")).expect("says");
    world.settled().await;
    let body = world.bodies().pop().expect("one");
    assert!(!body.to_string().contains(PHONE), "{body}");
    let value = body.pointer("/entry/0/changes/0/value").cloned().expect("value");
    assert_eq!(value["contacts"][0]["profile"]["username"], "pablomorales");
    assert_eq!(value["messages"][0]["from_parent_user_id"], json!(parent));

    let to_id =
        json!({"messaging_product": "whatsapp", "recipient": phone.user_id(), "text": {"body": "hello"}});
    let answer = world.send(&to_id).await;
    assert_eq!(
        answer.1["contacts"][0],
        json!({"input": phone.user_id(), "user_id": phone.user_id()}),
        "{answer:?}"
    );
    world.settled().await;
    let delivered = world.bodies().pop().expect("delivered");
    let fixture = find(Family::Status, "delivered_without_phone").expect("fixture");
    let without_pricing =
        |body: &Value| shape(body).into_iter().filter(|path| !path.contains("pricing")).collect::<Vec<_>>();
    assert_eq!(without_pricing(&delivered), without_pricing(&fixture.payload));
    let template = json!({"messaging_product": "whatsapp", "recipient": "US.0", "type": "template",
        "template": {"name": "hello_world", "language": {"code": "en_US"}}});
    assert_eq!(code(&world.send(&template).await), 131_026, "nobody has that id");
    world.simulator.put_template(Template {
        category: "AUTHENTICATION".to_owned(),
        ..Config::default().templates.first().cloned().expect("one")
    });
    let template = json!({"messaging_product": "whatsapp", "recipient": phone.user_id(), "type": "template",
        "template": {"name": "hello_world", "language": {"code": "en_US"}}});
    assert_eq!(code(&world.send(&template).await), 131_062, "authentication needs the phone number");
}

#[tokio::test]
async fn a_new_number_is_a_new_user_id_and_a_recycled_number_reaches_its_new_owner() {
    let world = World::start().await;
    let mut ana = world.talking().await;
    let old = ana.user_id().to_owned();
    let new = ana.changes_number(NUMBER, "12195555358").expect("changes");
    world.settled().await;
    let system = world.events().pop().expect("system");
    assert_eq!(system["from"], PHONE);
    assert_eq!(system["system"]["wa_id"], "12195555358");
    assert_eq!(
        (&system["system"]["previous_user_id"], &system["system"]["user_id"]),
        (&json!(old), &json!(new))
    );
    assert_eq!(code(&world.text(PHONE, "nobody has this number").await), 131_026);
    assert_eq!(code(&world.text("12195555358", "the window moved along").await), 0);

    let stranger = world.simulator.customer(Customer::new(PHONE).named("Bob"));
    assert_ne!(stranger.user_id(), old);
    assert_eq!(code(&world.text(PHONE, "Bob never wrote").await), 131_047);
    let third = world.simulator.customer(Customer::new(PHONE).named("Carla"));
    third.says(NUMBER, &Say::text("mine now")).expect("says");
    assert_eq!(code(&world.text(PHONE, "whoever has the number last").await), 0);
    assert_eq!((ana.received().len(), stranger.received().len(), third.received().len()), (1, 0, 1));
}

#[tokio::test]
async fn a_whatsapp_id_may_differ_from_the_phone_number() {
    let world = World::start().await;
    let ana = world
        .simulator
        .customer(Customer { wa_id: Some("551187654321".to_owned()), ..Customer::new("5511987654321") });
    ana.says(NUMBER, &Say::text("Olá")).expect("says");
    world.settled().await;
    assert_eq!(world.events().pop().expect("message")["from"], "551187654321");
    for to in ["+55 11 98765-4321", "551187654321"] {
        let (_, answer) = world.text(to, "Bom dia").await;
        assert_eq!(answer["contacts"][0], json!({"input": to, "wa_id": "551187654321"}), "{answer}");
    }
    world.settled().await;
    assert_eq!(world.events().pop().expect("status")["recipient_id"], "551187654321");
}

#[tokio::test]
async fn a_phone_that_is_off_gets_it_later_and_a_blocked_business_never_learns() {
    let world = World::start().await;
    let phone = world.talking().await;
    phone.switch(false).expect("off");
    let id = wamid(&world.text(PHONE, "later").await);
    world.settled().await;
    assert_eq!(world.statuses(&id), ["sent"]);
    phone.switch(true).expect("on");
    world.settled().await;
    assert_eq!(world.statuses(&id), ["sent", "delivered"]);
    phone.change(|customer| customer.blocks = true);
    let id = wamid(&world.text(PHONE, "hello?").await);
    world.settled().await;
    assert_eq!(world.statuses(&id), ["sent"]);
    phone.change(|customer| (customer.blocks, customer.hides_reading) = (false, true));
    assert!(!world.simulator.tell_status(&id, "read", None).expect("known"), "reading is hidden");
}

#[tokio::test]
async fn what_is_said_carries_what_it_was_given() {
    let world = World::start().await;
    let phone = world.simulator.customer(Customer::new(PHONE));
    let first = phone.says(NUMBER, &Say::text("one").at(1_700_000_000)).expect("says");
    for say in [
        Say::text("two").replying_to("wamid.ours"),
        Say::react(&first, "❤️"),
        Say::unreact(&first),
        Say::edit(&first, "uno"),
        Say::revoke(&first),
        Say::tap("wamid.ours", "yes", "Yes"),
        Say::kind("image").caption("Look"),
        Say::text("one").id(&first).at(1_700_000_000),
    ] {
        phone.says(NUMBER, &say).expect("says");
    }
    world.settled().await;
    let events = world.events();
    let at = |i: usize, pointer: &str| {
        events.get(i).and_then(|event| event.pointer(pointer)).cloned().unwrap_or_default()
    };
    assert_eq!(at(0, "/timestamp"), "1700000000");
    assert_eq!((at(1, "/context/id"), at(1, "/context/from")), (json!("wamid.ours"), Value::Null));
    assert_eq!((at(2, "/reaction/message_id"), at(2, "/reaction/emoji")), (json!(first), json!("❤️")));
    assert!(events.get(3).is_some_and(|event| event["reaction"].get("emoji").is_none()));
    assert_eq!(
        (at(4, "/edit/original_message_id"), at(4, "/edit/message/text/body")),
        (json!(first), json!("uno"))
    );
    assert_eq!(at(5, "/revoke/original_message_id"), json!(first));
    assert_eq!(at(6, "/interactive/button_reply/id"), "yes");
    assert_eq!(at(7, "/image/caption"), "Look");
    assert_eq!(events.first(), events.get(8), "the same message again");
    assert_eq!(array(&world.bodies().pop().unwrap_or_default(), "entry").len(), 1);
}
