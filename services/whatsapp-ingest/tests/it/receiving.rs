//! From a webhook to INBOUND: order, identities, kinds, and one bad entry that sinks nobody.

use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use serde_json::json;

use crate::rig::{CUSTOMER, NUMBER, OTHER_SECRET, Rig, Setup, account, said, webhook};

#[tokio::test]
async fn a_text_arrives_with_who_wrote_it_and_when() {
    let mut rig = Rig::start(Setup::default()).await;
    let mut text = said("wamid.1", "hola, ¿están?");
    text["context"] = json!({ "id": "wamid.0", "from": "15550783881" });
    assert_eq!(rig.post(&webhook(NUMBER, vec![text], vec![])).await, 200);
    let (envelope, item) = rig.inbound().await;
    assert_eq!((envelope.account_key.as_str(), envelope.sequence), ("ventas", 1));
    assert!(envelope.received_at.is_some() && !envelope.ledger_id.is_empty());
    assert_eq!(item.sent_at.map(|at| at.seconds), Some(1_749_416_383));
    let customer = item.customer.unwrap();
    assert_eq!((customer.wa_id.as_str(), customer.phone.as_str()), (CUSTOMER, "+51987654321"));
    assert_eq!(customer.profile_name, "Ana");
    assert_eq!(item.context.map(|context| context.wamid).as_deref(), Some("wamid.0"));
    let Some(Kind::Text(text)) = item.kind else { panic!("{:?}", item.kind) };
    assert_eq!(text.body, "hola, ¿están?");
}

#[tokio::test]
async fn a_batch_of_fifty_with_an_unknown_kind_arrives_whole_and_in_order() {
    let mut rig = Rig::start(Setup::default()).await;
    let mut messages: Vec<_> = (1..=50).map(|n| said(&format!("wamid.{n}"), &format!("n. {n}"))).collect();
    messages[16] = json!({ "from": CUSTOMER, "id": "wamid.17", "timestamp": "1749416383", "type": "hologram",
        "hologram": { "id": "7" } });
    assert_eq!(rig.post(&webhook(NUMBER, messages, vec![])).await, 200);
    for n in 1..=50 {
        let (envelope, item) = rig.inbound().await;
        assert_eq!((envelope.sequence, item.wamid.as_str()), (n, format!("wamid.{n}").as_str()));
        if n == 17 {
            let Some(Kind::Placeholder(placeholder)) = item.kind else { panic!("{:?}", item.kind) };
            assert_eq!(placeholder.r#type, "hologram");
        }
    }
}

#[tokio::test]
async fn one_customer_is_one_thread_per_account_and_another_one_is_another() {
    let accounts = vec![account("ventas", NUMBER, "app"), account("soporte", "222", "other-app")];
    let mut rig = Rig::start(Setup { accounts, ..Setup::default() }).await;
    assert_eq!(rig.post(&webhook(NUMBER, vec![said("wamid.1", "a")], vec![])).await, 200);
    let (first, _) = rig.inbound().await;
    assert_eq!(rig.post(&webhook(NUMBER, vec![said("wamid.2", "b")], vec![])).await, 200);
    let (second, _) = rig.inbound().await;
    assert_eq!((&second.conversation_key, second.sequence), (&first.conversation_key, 2));
    let other = json!({ "from": "51911111111", "id": "wamid.3", "timestamp": "1", "type": "text", "text": { "body": "c" } });
    let mut body = webhook(NUMBER, vec![other], vec![]);
    body["entry"][0]["changes"][0]["value"]["contacts"] = json!([]);
    assert_eq!(rig.post(&body).await, 200);
    let (third, _) = rig.inbound().await;
    assert!(third.conversation_key != first.conversation_key && third.sequence == 1);
    assert_eq!(rig.post_signed(&webhook("222", vec![said("wamid.1", "d")], vec![]), OTHER_SECRET).await, 200);
    let (fourth, _) = rig.inbound().await;
    assert_eq!(fourth.account_key, "soporte");
    assert_ne!(fourth.conversation_key, first.conversation_key);
}

#[tokio::test]
async fn a_number_that_passes_to_another_person_begins_another_thread() {
    let mut rig = Rig::start(Setup::default()).await;
    let by = |wamid: &str, from: Option<&str>, user: Option<&str>| {
        let mut message = json!({ "id": wamid, "timestamp": "1", "type": "text", "text": { "body": "x" } });
        if let Some(from) = from {
            message["from"] = json!(from);
        }
        if let Some(user) = user {
            message["from_user_id"] = json!(user);
        }
        let mut body = webhook(NUMBER, vec![message], vec![]);
        body["entry"][0]["changes"][0]["value"]["contacts"] = json!([]);
        body
    };
    let mut keys = Vec::new();
    let steps = [
        by("wamid.1", None, Some("PE.1")),
        by("wamid.2", Some(CUSTOMER), Some("PE.1")),
        by("wamid.3", Some(CUSTOMER), None),
        by("wamid.4", Some(CUSTOMER), Some("PE.2")),
        by("wamid.5", None, Some("PE.1")),
    ];
    for body in steps {
        assert_eq!(rig.post(&body).await, 200);
        keys.push(rig.inbound().await.0.conversation_key);
    }
    assert!(keys[0] == keys[1] && keys[1] == keys[2], "the same person, with and without his number");
    assert_ne!(keys[3], keys[0], "his number came with another person");
    assert_eq!(keys[4], keys[0]);
}

#[tokio::test]
async fn a_change_of_number_that_meta_tells_of_keeps_the_thread() {
    let mut rig = Rig::start(Setup::default()).await;
    assert_eq!(rig.post(&webhook(NUMBER, vec![said("wamid.1", "a")], vec![])).await, 200);
    let (before, _) = rig.inbound().await;
    let system = json!({ "from": CUSTOMER, "id": "wamid.2", "timestamp": "2", "type": "system",
        "system": { "type": "user_changed_number", "wa_id": "51922222222", "body": "changed" } });
    assert_eq!(rig.post(&webhook(NUMBER, vec![system], vec![])).await, 200);
    let (notice, item) = rig.inbound().await;
    assert_eq!(notice.conversation_key, before.conversation_key);
    let Some(Kind::System(system)) = item.kind else { panic!("{:?}", item.kind) };
    assert_eq!(system.new_identity.map(|new| new.wa_id).as_deref(), Some("51922222222"));
    let mut new = webhook(NUMBER, vec![], vec![]);
    new["entry"][0]["changes"][0]["value"]["contacts"] = json!([]);
    new["entry"][0]["changes"][0]["value"]["messages"] = json!([{ "from": "51922222222", "id": "wamid.3", "timestamp": "3", "type": "text", "text": { "body": "b" } }]);
    assert_eq!(rig.post(&new).await, 200);
    let (after, _) = rig.inbound().await;
    assert_eq!((after.conversation_key, after.sequence), (before.conversation_key, 3));
}
