//! WhatsApp through five separate processes, as its people see it: the customer's phone, the agent's desk, the history.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::time::{Duration, Instant};

use hilo_end_to_end::installation::Part;
use hilo_end_to_end::subscriber::Subscriber;
use hilo_end_to_end::{Agent, Desk, Installation, Options, Service};
use hilo_kit::error::reason_of;
use hilo_proto::attention::v1::{
    ChatContent, DeskItem, GetAttentionRequest, ListTemplatesRequest, SendMessageRequest, chat_content,
};
use hilo_proto::event::v1::{AttentionState, Direction};
use hilo_proto::history::v1::{SearchThreadsRequest, ThreadMessage};
use hilo_proto::outbound::v1::template_parameter::Value;
use hilo_proto::outbound::v1::{SendTemplate, TemplateComponent, TemplateParameter};
use hilo_simulators::{File, Phone, Say, Sent};
use hilo_test_support::eventually;
use tonic::Code;

const SOON: Duration = Duration::from_secs(60);

struct House {
    installation: Installation,
    subscriber: Subscriber,
    agent: Agent,
    desk: Desk,
    _present: hilo_end_to_end::agent::Presence,
}

async fn house() -> House {
    let installation = Installation::start(Options { whatsapp: true, ..Options::default() }).await.unwrap();
    let subscriber = Subscriber::start(installation.nats_url(), installation.prefix());
    let agent = installation.login("agente-0").await.unwrap();
    let present = agent.be_present().await.unwrap();
    let desk = agent.watch_whatsapp();
    House { installation, subscriber, agent, desk, _present: present }
}

/// A customer with a phone.
struct Customer {
    phone: Phone,
    number: String,
    /// As the desk shows it.
    address: String,
}

impl Customer {
    fn says(&self, say: &Say) -> String {
        self.phone.says(&self.number, say).unwrap()
    }

    fn writes(&self, text: &str) -> String {
        self.says(&Say::text(text))
    }

    /// Waits until the text has arrived on the phone.
    async fn receives(&self, text: &str) -> Sent {
        let started = Instant::now();
        let body = |sent: &Sent| sent.body.pointer("/text/body").is_some_and(|body| body == text);
        loop {
            let received = self.phone.received();
            assert!(received.iter().filter(|sent| body(sent)).count() <= 1, "it came twice: {received:?}");
            if let Some(sent) = received.into_iter().find(body) {
                return sent;
            }
            assert!(started.elapsed() < SOON, "the phone did not get: {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl House {
    fn customer(&self, digits: &str, name: &str) -> Customer {
        Customer {
            phone: self.installation.phone(digits, name).unwrap(),
            number: self.installation.whatsapp_number(),
            address: format!("+{digits}"),
        }
    }

    async fn offer(&self, customer: &Customer) -> DeskItem {
        self.desk.wait_for_offer(&customer.address, SOON).await.unwrap()
    }

    /// Waits until the interaction has this many messages.
    async fn grown(&self, item: &DeskItem, messages: i32) -> DeskItem {
        let id = &item.interaction_id;
        let fits = |found: &DeskItem| found.interaction_id == *id && found.message_count >= messages;
        let found = self.desk.wait_for(&format!("{messages} messages"), SOON, fits).await.unwrap();
        assert_eq!(found.message_count, messages);
        found
    }

    /// Waits until the desk has something newer of the interaction and the message is in this state.
    async fn told(&self, item: &DeskItem, message: &ThreadMessage, state: &str) -> DeskItem {
        let started = Instant::now();
        loop {
            let all = self.agent.messages(&item.attention_id).await.unwrap();
            let now = all.iter().find(|one| one.message_id == message.message_id).unwrap();
            if now.delivery_state == state {
                break;
            }
            assert!(started.elapsed() < SOON, "{} instead of {state}", now.delivery_state);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let id = &item.interaction_id;
        let newer = |found: &DeskItem| found.interaction_id == *id && found.version > item.version;
        self.desk.wait_for(&format!("the change to {state}"), SOON, newer).await.unwrap()
    }

    /// What the customer said in an attention, oldest first.
    async fn said(&self, attention_id: &str) -> Vec<String> {
        let inbound = Direction::Inbound as i32;
        let all = self.agent.all_messages(attention_id).await.unwrap();
        all.into_iter().filter(|one| one.direction == inbound).map(|one| one.text).collect()
    }

    /// Nobody outside saw a number twice or a gap.
    async fn events_are_whole(&self, attentions: usize) {
        let all = |log: &hilo_end_to_end::subscriber::Log| log.attentions.len() == attentions;
        self.subscriber.wait_until("all attentions", SOON, all).await.unwrap();
        self.subscriber.with(|log| assert!(log.violations.is_empty(), "{:?}", log.violations));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_answered_the_end_closes_it_and_the_next_message_begins_anew() {
    let house = house().await;
    let eva = house.customer("51987654321", "Eva Quispe");
    eva.writes("Hola, el módem ñandú no enciende 👋");
    let item = house.offer(&eva).await;
    assert_eq!((item.channel.as_str(), item.campaign_key.as_str()), ("whatsapp", "soporte-wa"));
    assert_eq!((item.customer_name.as_str(), item.account_key.as_str()), ("Eva Quispe", "soporte-wa"));
    assert!(item.window_ends_at.is_some());
    let opened = house.agent.open(&item.interaction_id).await.unwrap();
    assert_eq!(opened.messages.first().unwrap().text, "Hola, el módem ñandú no enciende 👋");

    // The answer arrives, and the desk learns what became of it.
    let answer = house.agent.reply(&item.interaction_id, "Buenas tardes, lo revisamos.").await.unwrap();
    let sent = eva.receives("Buenas tardes, lo revisamos.").await;
    let item = house.told(&item, &answer, "delivered").await;
    assert_eq!(eva.phone.reads().unwrap(), 1);
    let item = house.told(&item, &answer, "read").await;
    let all = house.agent.messages(&item.attention_id).await.unwrap();
    let ours = all.iter().find(|one| one.message_id == answer.message_id).unwrap();
    assert_eq!(ours.whatsapp.as_ref().unwrap().wamid, sent.wamid);

    // The customer goes on in the same interaction.
    eva.writes("Gracias, sigue igual.");
    house.grown(&item, 3).await;

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
    eva.writes("Otra consulta");
    let next = house.offer(&eva).await;
    assert_ne!(next.attention_id, item.attention_id);
    let request = GetAttentionRequest { attention_id: next.attention_id.clone() };
    let attention =
        house.agent.attention().get_attention(request).await.unwrap().into_inner().attention.unwrap();
    assert_eq!(attention.state, AttentionState::Open as i32);
    assert_eq!(house.said(&next.attention_id).await, ["Otra consulta"]);
    house.events_are_whole(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn free_text_after_the_window_is_refused_until_the_customer_writes_again() {
    let house = house().await;
    let otto = house.customer("51911111111", "Otto");
    otto.says(&Say::text("Escribí ayer").seconds_ago(86_401));
    let item = house.offer(&otto).await;
    house.agent.open(&item.interaction_id).await.unwrap();
    let refused = house.agent.reply(&item.interaction_id, "Tarde").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_deref()),
        (Code::FailedPrecondition, Some("WINDOW_CLOSED"))
    );

    otto.writes("Sigo aquí");
    house.grown(&item, 2).await;
    house.agent.reply(&item.interaction_id, "A tiempo").await.unwrap();
    otto.receives("A tiempo").await;
    assert_eq!(otto.phone.received().len(), 1, "what was refused never went out");
    assert_eq!(house.installation.meta().unwrap().totals().refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_was_read_from_meta_resumes_contact_after_the_window() {
    let house = house().await;
    let otto = house.customer("51911111111", "Otto");
    otto.says(&Say::text("Escribí ayer").seconds_ago(86_401));
    let item = house.offer(&otto).await;
    house.agent.open(&item.interaction_id).await.unwrap();
    let listed = || async {
        let request = ListTemplatesRequest {
            campaign_key: item.campaign_key.clone(),
            ..ListTemplatesRequest::default()
        };
        let answer = house.agent.attention().list_templates(request).await.unwrap().into_inner();
        let mut names: Vec<String> = answer.templates.into_iter().map(|one| one.name).collect();
        names.sort();
        names == ["hello_world", "order_update"]
    };
    eventually("the approved ones of Meta, and no other", SOON, listed).await.unwrap();
    let value =
        |text: &str| TemplateParameter { name: String::new(), value: Some(Value::Text(text.to_owned())) };
    let body = TemplateComponent {
        r#type: "body".to_owned(),
        parameters: vec![value("Otto"), value("42")],
        ..TemplateComponent::default()
    };
    let template = SendTemplate {
        name: "order_update".to_owned(),
        language: "en_US".to_owned(),
        components: vec![body],
    };
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
    house.told(&item, &sent, "delivered").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_batch_that_comes_twenty_times_at_once_is_each_message_once() {
    let house = house().await;
    let eva = house.customer("51987654321", "Eva Quispe");
    let meta = house.installation.meta().unwrap();
    meta.behave(|behaviour| {
        behaviour.delivery.hold = true;
        behaviour.delivery.batch = 10;
        behaviour.delivery.copies = 20;
    });
    let mut texts: Vec<String> = (0..10).map(|number| format!("mensaje {number}")).collect();
    for text in &texts {
        eva.writes(text);
    }
    meta.behave(|behaviour| behaviour.delivery.hold = false);
    meta.settled(SOON).await.unwrap();
    let answered = meta.attempts();
    let taken = answered.iter().filter(|one| one.status == Some(200) && one.events.len() == 10).count();
    assert_eq!(taken, 20, "{answered:?}");

    // What a repeat could add would come before this.
    eva.writes("fin");
    meta.settled(SOON).await.unwrap();
    texts.push("fin".to_owned());
    let item = house.offer(&eva).await;
    let item = house.grown(&item, 11).await;
    house.agent.open(&item.interaction_id).await.unwrap();
    assert_eq!(house.said(&item.attention_id).await, texts);
    house.events_are_whole(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_taken_while_the_broker_is_down_and_nothing_is_lost() {
    let house = house().await;
    let meta = house.installation.meta().unwrap();
    let customers: Vec<Customer> =
        (0..3).map(|number| house.customer(&format!("5190000000{number}"), "Cliente")).collect();
    house.installation.kill(Part::Nats).await.unwrap();
    for round in 0..3 {
        for customer in &customers {
            customer.writes(&format!("sin broker {round}"));
        }
    }
    meta.settled(SOON).await.unwrap();
    let attempts = meta.attempts();
    assert_eq!(attempts.len(), 9);
    assert!(attempts.iter().all(|one| one.status == Some(200)), "{attempts:?}");

    house.installation.start_part(Part::Nats).await.unwrap();
    for customer in &customers {
        let item = house.offer(customer).await;
        let item = house.grown(&item, 3).await;
        assert_eq!(house.said(&item.attention_id).await, ["sin broker 0", "sin broker 1", "sin broker 2"]);
        house.agent.open(&item.interaction_id).await.unwrap();
        house.agent.reply(&item.interaction_id, "Recibido").await.unwrap();
        customer.receives("Recibido").await;
    }
    house.events_are_whole(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_survives_the_death_of_its_channel_at_every_step() {
    let house = house().await;
    let meta = house.installation.meta().unwrap();
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
        let customer = house.customer(&format!("5190000000{number}"), "Cliente");
        faults.arm(point).unwrap();
        customer.writes(point);
        let stopped = faults.reached(point, SOON).await.unwrap_or_else(|| panic!("nobody came to {point}"));
        assert_eq!(house.installation.service_of(stopped), Some(Service::WhatsappIngest), "{point}");
        if !point.starts_with("whatsapp.webhook") {
            meta.settled(SOON).await.unwrap();
        }
        house.installation.kill(whatsapp).await.unwrap();
        house.installation.start_part(whatsapp).await.unwrap();
        meta.settled(SOON).await.unwrap();
        // What a repeat could add would come before this.
        customer.writes("fin");
        let item = house.offer(&customer).await;
        let item = house.grown(&item, 2).await;
        assert_eq!(house.said(&item.attention_id).await, [point, "fin"]);
    }
    house.events_are_whole(points.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_content_of_a_file_survives_the_death_of_its_channel() {
    let house = house().await;
    let (faults, whatsapp) = (house.installation.faults(), Part::Service(Service::WhatsappIngest));
    // Fetched and stored but not handed over; handed over, and nobody told.
    let points = ["whatsapp.media.before_commit", "whatsapp.media.after_commit"];
    for (number, point) in points.into_iter().enumerate() {
        let customer = house.customer(&format!("5190000001{number}"), "Cliente");
        faults.arm(point).unwrap();
        customer.says(&Say::media("image", File::new("image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF foto")));
        faults.reached(point, SOON).await.unwrap_or_else(|| panic!("nobody came to {point}"));
        house.installation.kill(whatsapp).await.unwrap();
        house.installation.start_part(whatsapp).await.unwrap();
        let item = house.offer(&customer).await;
        let shown = || async {
            let all = house.agent.all_messages(&item.attention_id).await.unwrap();
            assert_eq!(all.len(), 1, "{point}: the content is no message of its own");
            all.iter().map(|one| one.attachments.len()).sum::<usize>()
        };
        eventually("the file is shown", SOON, || async { shown().await == 1 }).await.unwrap();
    }
    house.events_are_whole(points.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_survives_the_death_of_its_channel_and_arrives_once() {
    let house = house().await;
    let meta = house.installation.meta().unwrap();
    let (faults, whatsapp) = (house.installation.faults(), Part::Service(Service::WhatsappIngest));
    let eva = house.customer("51987654321", "Eva Quispe");
    eva.writes("Hola");
    let mut item = house.offer(&eva).await;
    house.agent.open(&item.interaction_id).await.unwrap();
    // Taken over from the broker but not yet sent; sent, and the answer to it lost: only Meta's statuses tell.
    for point in ["whatsapp.sender.after_commit", "whatsapp.send.after_request"] {
        faults.arm(point).unwrap();
        let answer = house.agent.reply(&item.interaction_id, point).await.unwrap();
        let stopped = faults.reached(point, SOON).await.unwrap_or_else(|| panic!("nobody came to {point}"));
        assert_eq!(house.installation.service_of(stopped), Some(Service::WhatsappIngest), "{point}");
        house.installation.kill(whatsapp).await.unwrap();
        house.installation.start_part(whatsapp).await.unwrap();
        eva.receives(point).await;
        item = house.told(&item, &answer, "delivered").await;
    }
    // What a repetition could add would come before this.
    house.agent.reply(&item.interaction_id, "fin").await.unwrap();
    eva.receives("fin").await;
    assert_eq!(eva.phone.received().len(), 3);
    assert_eq!(meta.totals().accepted, 3);
}
