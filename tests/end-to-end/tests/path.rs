//! One email through five separate processes, as its people see it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::sync::Arc;
use std::time::Duration;

use hilo_end_to_end::customer::{self, Mail};
use hilo_end_to_end::subscriber::Subscriber;
use hilo_end_to_end::{Agent, Desk, Installation, Options};
use hilo_proto::attention::v1::{DeskItem, GetAttentionRequest};
use hilo_proto::event::v1::{AttentionState, Direction};
use hilo_proto::history::v1::SearchThreadsRequest;
use tonic::Code;

const SOON: Duration = Duration::from_secs(60);

struct House {
    installation: Installation,
    subscriber: Subscriber,
    agent: Agent,
    desk: Arc<Desk>,
    _present: hilo_end_to_end::agent::Presence,
}

async fn house(options: Options) -> House {
    let installation = Installation::start(options).await.unwrap();
    let subscriber = Subscriber::start(installation.nats_url(), installation.prefix());
    let agent = installation.login("agente-0").await.unwrap();
    let present = agent.be_present().await.unwrap();
    let desk = Arc::new(agent.watch());
    House { installation, subscriber, agent, desk, _present: present }
}

impl House {
    async fn write(&self, mail: &Mail) {
        customer::send(self.installation.smtp(), mail).await.unwrap();
    }

    async fn answer(&self, item: &DeskItem, text: &str) -> hilo_end_to_end::sink::Received {
        let message = self.agent.reply(&item.interaction_id, text).await.unwrap();
        let arrived = |mail: &hilo_end_to_end::sink::Received| mail.message_id == message.internet_message_id;
        self.installation.sink().wait_for(text, SOON, arrived).await.unwrap()
    }
}

/// The day on the installation's wall, which may be over when the test is.
fn today_in_lima() -> String {
    let now = time::OffsetDateTime::now_utc().to_offset(time::UtcOffset::from_hms(-5, 0, 0).unwrap());
    format!("{:04}-{:02}-{:02}", now.year(), u8::from(now.month()), now.day())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_answered_continued_ended_continued_closed_and_linked() {
    let house = house(Options::default()).await;
    let from = "maria.jose@cliente.example";
    let mut first = Mail::new(
        &format!("María José <{from}>"),
        house.installation.support_address(),
        "Avería nº 7",
        "El módem no enciende ñandú",
    );
    first.html = Some("<p>El <b>módem</b> no enciende ñandú<script>alert(1)</script></p>".to_owned());
    first.attachment = Some(("factura.txt".to_owned(), "text/plain".to_owned(), b"S/ 100".to_vec()));
    house.write(&first).await;

    // The offer, the claim, the conversation.
    let item = house.desk.wait_for_offer(from, SOON).await.unwrap();
    assert_eq!((item.subject.as_str(), item.customer_name.as_str()), ("Avería nº 7", "María José"));
    let opened = house.agent.open(&item.interaction_id).await.unwrap();
    let message = opened.messages.first().unwrap();
    assert!(
        message.text.contains("módem")
            && message.html.contains("<b>módem</b>")
            && !message.html.contains("script")
    );
    assert_eq!(message.attachments.first().unwrap().file_name, "factura.txt");

    // The answer, and the customer's answer to it in the same interaction.
    let received = house.answer(&item, "Buenas tardes, lo revisamos.").await;
    assert_eq!(received.in_reply_to.as_deref(), Some(first.message_id.as_str()));
    assert!(received.references.contains(&first.message_id) && received.text.contains("lo revisamos"));
    house.write(&Mail::reply(&received, from, "Gracias, sigue igual.")).await;
    let joined = house.desk.wait_for("the customer's answer", SOON, |found| {
        found.interaction_id == item.interaction_id && found.message_count == 3
    });
    joined.await.unwrap();

    // Ended: an answer is a new interaction of the same attention.
    let began_on = today_in_lima();
    house.agent.end(&item.interaction_id, false).await.unwrap();
    house.write(&Mail::reply(&received, from, "¿Alguna novedad?")).await;
    let second = house.desk.wait_for_offer(from, SOON).await.unwrap();
    assert_eq!(second.attention_id, item.attention_id);
    assert_ne!(second.interaction_id, item.interaction_id);

    // Closed: an answer is a new, linked attention.
    house.agent.open(&second.interaction_id).await.unwrap();
    house.agent.end(&second.interaction_id, true).await.unwrap();
    house.write(&Mail::reply(&received, from, "Volvió a fallar.")).await;
    let third = house.desk.wait_for_offer(from, SOON).await.unwrap();
    assert_ne!(third.attention_id, item.attention_id);
    let request = GetAttentionRequest { attention_id: third.attention_id.clone() };
    let attention =
        house.agent.attention().get_attention(request).await.unwrap().into_inner().attention.unwrap();
    assert_eq!(attention.linked_attention_id, item.attention_id);
    assert_eq!(attention.state, AttentionState::Open as i32);

    // History, by word without accents, by customer, by campaign and date.
    let searches = [
        (SearchThreadsRequest { words: "nandu".to_owned(), ..Default::default() }, 1),
        (SearchThreadsRequest { words: "novedad".to_owned(), ..Default::default() }, 1),
        (SearchThreadsRequest { customer: "maria.jose".to_owned(), ..Default::default() }, 2),
        (
            SearchThreadsRequest {
                campaign_key: "soporte".to_owned(),
                ended_from: began_on,
                ended_to: today_in_lima(),
                ..Default::default()
            },
            2,
        ),
    ];
    for (search, expected) in searches {
        house.agent.find_in_history(search, expected, SOON).await.unwrap();
    }

    // Another system saw all of it, in order.
    house.subscriber.wait_until("both attentions", SOON, |log| log.attentions.len() == 2).await.unwrap();
    house.subscriber.with(|log| assert!(log.violations.is_empty(), "{:?}", log.violations));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_in_the_mailbox_is_fetched_and_offered() {
    let house = house(Options { imap: true, ..Options::default() }).await;
    let mail =
        Mail::new("imap@cliente.example", house.installation.imap_address(), "Por IMAP", "Acentos: áéíóú");
    house.installation.deliver_to_mailbox(&mail).unwrap();
    let item = house.desk.wait_for_offer("imap@cliente.example", SOON).await.unwrap();
    let opened = house.agent.open(&item.interaction_id).await.unwrap();
    assert!(opened.messages.first().unwrap().text.contains("áéíóú"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_nobody_takes_moves_to_the_next_agent() {
    let house = house(Options { mode: "round_robin", accept_timeout_seconds: 1, ..Options::default() }).await;
    let other = house.installation.login("agente-1").await.unwrap();
    let _present = other.be_present().await.unwrap();
    let second_desk = other.watch();
    house
        .write(&Mail::new(
            "turno@cliente.example",
            house.installation.support_address(),
            "Turno",
            "¿Quién atiende?",
        ))
        .await;
    house.desk.wait_for_offer("turno@cliente.example", SOON).await.unwrap();
    second_desk.wait_for_offer("turno@cliente.example", SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_with_a_reason() {
    let house = house(Options::default()).await;
    // Mail for nobody.
    let unknown = Mail::new("a@cliente.example", "nadie@hilo.example", "x", "x");
    let refusal = customer::send(house.installation.smtp(), &unknown).await.unwrap_err();
    assert!(format!("{refusal:#}").contains("550"), "{refusal:#}");
    // A malformed id and a foreign one.
    let malformed = house.agent.open("no-es-un-uuid").await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
    let foreign = house.agent.open(&uuid::Uuid::now_v7().to_string()).await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
    // Two agents, one item.
    house.write(&Mail::new("b@cliente.example", house.installation.support_address(), "x", "x")).await;
    let item = house.desk.wait_for_offer("b@cliente.example", SOON).await.unwrap();
    house.agent.open(&item.interaction_id).await.unwrap();
    let other = house.installation.login("agente-1").await.unwrap();
    let refused = other.open(&item.interaction_id).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(hilo_kit::error::reason_of(&refused).as_deref(), Some("ALREADY_TAKEN"));
    let inbound = Direction::Inbound as i32;
    assert_eq!(item.direction, inbound);
}
