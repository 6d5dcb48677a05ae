//! WhatsApp through five separate processes, as its people see it: the customer's phone, the agent's desk, the history.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use hilo_end_to_end::chat::{Chat, SOON};
use hilo_end_to_end::dialing::TEMPLATE;
use hilo_end_to_end::installation::Part;
use hilo_end_to_end::subscriber::{Log, Subscriber};
use hilo_end_to_end::{Options, Service};
use hilo_kit::error::reason_of;
use hilo_proto::attention::v1::{
    ChatContent, DeskItem, GetAttentionRequest, SendMessageRequest, chat_content,
};
use hilo_proto::event::v1::AttentionState;
use hilo_proto::history::v1::{SearchThreadsRequest, ThreadMessage};
use hilo_proto::outbound::v1::template_parameter::Value;
use hilo_proto::outbound::v1::{SendTemplate, TemplateComponent, TemplateParameter};
use hilo_simulators::Say;
use hilo_test_support::eventually;
use tonic::Code;

async fn house() -> Chat {
    Chat::start(Options::default()).await.unwrap()
}

/// A house that another system watches.
async fn watched() -> (Chat, Subscriber) {
    let house = house().await;
    let subscriber = Subscriber::start(house.installation.nats_url(), house.installation.prefix());
    (house, subscriber)
}

/// Waits until the desk shows the interaction with this many messages.
async fn grown(house: &Chat, item: &DeskItem, messages: i32) -> DeskItem {
    let id = &item.interaction_id;
    let fits = |found: &DeskItem| found.interaction_id == *id && found.message_count >= messages;
    let found = house.desk.wait_for(&format!("{messages} messages"), SOON, fits).await.unwrap();
    assert_eq!(found.message_count, messages);
    found
}

/// Waits until the message is in this state and the desk has something newer of the interaction.
async fn told(house: &Chat, item: &DeskItem, message: &ThreadMessage, state: &str) -> DeskItem {
    house.becomes(item, &message.message_id, &[state]).await.unwrap();
    let id = &item.interaction_id;
    let newer = |found: &DeskItem| found.interaction_id == *id && found.version > item.version;
    house.desk.wait_for(&format!("the change to {state}"), SOON, newer).await.unwrap()
}

/// What the customer said, these many messages, oldest first.
async fn said(house: &Chat, item: &DeskItem, count: usize) -> Vec<String> {
    let said = house.said(&item.attention_id, count).await.unwrap();
    said.into_iter().map(|one| one.text).collect()
}

/// Nobody outside saw a number twice or a gap.
async fn events_are_whole(subscriber: &Subscriber, attentions: usize) {
    let all = |log: &Log| log.attentions.len() == attentions;
    subscriber.wait_until("all attentions", SOON, all).await.unwrap();
    subscriber.with(|log| assert!(log.violations.is_empty(), "{:?}", log.violations));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_answered_the_end_closes_it_and_the_next_message_begins_anew() {
    let (house, subscriber) = watched().await;
    let eva = house.customer("51987654321", "Eva Quispe").unwrap();
    eva.writes("Hola, el módem ñandú no enciende 👋").unwrap();
    let item = house.desk.wait_for_offer(&eva.address, SOON).await.unwrap();
    assert_eq!((item.channel.as_str(), item.campaign_key.as_str()), ("whatsapp", "soporte-wa"));
    assert_eq!((item.customer_name.as_str(), item.account_key.as_str()), ("Eva Quispe", "soporte-wa"));
    assert!(item.window_ends_at.is_some());
    let opened = house.agent.open(&item.interaction_id).await.unwrap();
    assert_eq!(opened.messages.first().unwrap().text, "Hola, el módem ñandú no enciende 👋");

    // The answer arrives, and the desk learns what became of it.
    let answer = house.agent.reply(&item.interaction_id, "Buenas tardes, lo revisamos.").await.unwrap();
    let sent = eva.receives("Buenas tardes, lo revisamos.").await.unwrap();
    let item = told(&house, &item, &answer, "delivered").await;
    assert_eq!(eva.phone.reads().unwrap(), 1);
    let item = told(&house, &item, &answer, "read").await;
    let all = house.agent.messages(&item.attention_id).await.unwrap();
    let ours = all.iter().find(|one| one.message_id == answer.message_id).unwrap();
    assert_eq!(ours.whatsapp.as_ref().unwrap().wamid, sent.wamid);

    // The customer goes on in the same interaction.
    eva.writes("Gracias, sigue igual.").unwrap();
    grown(&house, &item, 3).await;

    // The end is the end of both, and the history has the whole.
    let ended = house.agent.end(&item.interaction_id, false).await.unwrap();
    assert_eq!(ended.attention_state, AttentionState::Closed as i32);
    let searches = [
        SearchThreadsRequest { words: "nandu".to_owned(), ..Default::default() },
        SearchThreadsRequest { words: "revisamos".to_owned(), ..Default::default() },
        SearchThreadsRequest { customer: "987654321".to_owned(), ..Default::default() },
    ];
    for search in searches {
        let found = house.agent.find_in_history(search, 1, SOON).await.unwrap();
        let thread = found.first().unwrap();
        assert_eq!(
            (thread.interaction_id.as_str(), thread.channel.as_str()),
            (item.interaction_id.as_str(), "whatsapp")
        );
    }

    // The next message begins a new attention of the same customer.
    eva.writes("Otra consulta").unwrap();
    let next = house.desk.wait_for_offer(&eva.address, SOON).await.unwrap();
    assert_ne!(next.attention_id, item.attention_id);
    let request = GetAttentionRequest { attention_id: next.attention_id.clone() };
    let attention =
        house.agent.attention().get_attention(request).await.unwrap().into_inner().attention.unwrap();
    assert_eq!(attention.state, AttentionState::Open as i32);
    assert_eq!(said(&house, &next, 1).await, ["Otra consulta"]);
    events_are_whole(&subscriber, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn free_text_after_the_window_is_refused_until_the_customer_writes_again() {
    let house = house().await;
    let otto = house.customer("51911111111", "Otto").unwrap();
    otto.says(&Say::text("Escribí ayer").seconds_ago(86_401)).unwrap();
    let item = house.serve(&otto).await.unwrap();
    let refused = house.agent.reply(&item.interaction_id, "Tarde").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_deref()),
        (Code::FailedPrecondition, Some("WINDOW_CLOSED"))
    );

    otto.writes("Sigo aquí").unwrap();
    grown(&house, &item, 2).await;
    house.agent.reply(&item.interaction_id, "A tiempo").await.unwrap();
    otto.receives("A tiempo").await.unwrap();
    assert_eq!(otto.phone.received().len(), 1, "what was refused never went out");
    assert_eq!(house.meta().unwrap().totals().refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_was_read_from_meta_resumes_contact_after_the_window() {
    let house = house().await;
    let otto = house.customer("51911111111", "Otto").unwrap();
    otto.says(&Say::text("Escribí ayer").seconds_ago(86_401)).unwrap();
    let item = house.serve(&otto).await.unwrap();
    house.templates_are(&["hello_world", TEMPLATE]).await.unwrap();
    let value =
        |text: &str| TemplateParameter { name: String::new(), value: Some(Value::Text(text.to_owned())) };
    let body = TemplateComponent {
        r#type: "body".to_owned(),
        parameters: vec![value("Otto"), value("42")],
        ..TemplateComponent::default()
    };
    let template =
        SendTemplate { name: TEMPLATE.to_owned(), language: "en_US".to_owned(), components: vec![body] };
    let request = SendMessageRequest {
        interaction_id: item.interaction_id.clone(),
        request_id: uuid::Uuid::now_v7().to_string(),
        whatsapp: Some(ChatContent {
            kind: Some(chat_content::Kind::Template(template)),
            preview_url: false,
        }),
        ..SendMessageRequest::default()
    };
    let sent = house.agent.attention().send_message(request).await.unwrap().into_inner().message.unwrap();
    eventually("the phone has it", SOON, || async { otto.phone.received().len() == 1 }).await.unwrap();
    let got = otto.phone.received().remove(0);
    assert_eq!(got.body["template"]["components"][0]["parameters"][1]["text"], "42");
    told(&house, &item, &sent, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_survives_the_death_of_its_channel_at_every_step() {
    let (house, subscriber) = watched().await;
    let meta = house.meta().unwrap();
    let (faults, whatsapp) = (house.installation.faults(), Part::Service(Service::WhatsappIngest));
    // Before the commit nobody was answered: Meta tries again. After it only the ledger knows.
    let points = [
        "whatsapp.webhook.before_commit",
        "whatsapp.webhook.after_commit",
        "whatsapp.parse.before_commit",
        "whatsapp.parse.after_commit",
        "whatsapp-ingest.outbox.before_publish",
        "whatsapp-ingest.outbox.after_publish",
    ];
    for (number, point) in points.into_iter().enumerate() {
        let customer = house.customer(&format!("5190000000{number}"), "Cliente").unwrap();
        faults.arm(point).unwrap();
        customer.writes(point).unwrap();
        let stopped = faults.reached(point, SOON).await.unwrap_or_else(|| panic!("nobody came to {point}"));
        assert_eq!(house.installation.service_of(stopped), Some(Service::WhatsappIngest), "{point}");
        if !point.starts_with("whatsapp.webhook") {
            meta.settled(SOON).await.unwrap();
        }
        house.installation.kill(whatsapp).await.unwrap();
        house.installation.start_part(whatsapp).await.unwrap();
        meta.settled(SOON).await.unwrap();
        // What a repeat could add would come before this.
        customer.writes("fin").unwrap();
        let item = house.desk.wait_for_offer(&customer.address, SOON).await.unwrap();
        let item = grown(&house, &item, 2).await;
        assert_eq!(said(&house, &item, 2).await, [point, "fin"]);
    }
    events_are_whole(&subscriber, points.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_survives_the_death_of_its_channel_and_arrives_once() {
    let house = house().await;
    let meta = house.meta().unwrap();
    let (faults, whatsapp) = (house.installation.faults(), Part::Service(Service::WhatsappIngest));
    let eva = house.customer("51987654321", "Eva Quispe").unwrap();
    eva.writes("Hola").unwrap();
    let mut item = house.serve(&eva).await.unwrap();
    // Sent, and not yet acknowledged to the broker, who hands it over again; sent, and the answer to it lost: only Meta's statuses tell.
    for point in ["whatsapp.sender.after_commit", "whatsapp.send.after_request"] {
        faults.arm(point).unwrap();
        let answer = house.agent.reply(&item.interaction_id, point).await.unwrap();
        let stopped = faults.reached(point, SOON).await.unwrap_or_else(|| panic!("nobody came to {point}"));
        assert_eq!(house.installation.service_of(stopped), Some(Service::WhatsappIngest), "{point}");
        // What is killed between its beginning and Meta's receipt stays in doubt, and nobody sends it again.
        eva.receives(point).await.unwrap();
        house.installation.kill(whatsapp).await.unwrap();
        house.installation.start_part(whatsapp).await.unwrap();
        item = told(&house, &item, &answer, "delivered").await;
    }
    // What a repetition could add would come before this.
    house.agent.reply(&item.interaction_id, "fin").await.unwrap();
    eva.receives("fin").await.unwrap();
    assert_eq!(eva.phone.received().len(), 3);
    assert_eq!(meta.totals().accepted, 3);
}
