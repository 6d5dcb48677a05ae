//! `SendMessage`: what leaves, under which Message-ID, to whom, exactly once.

use hilo_kit::thread_token;
use hilo_proto::attention::v1::SendMessageRequest;
use hilo_proto::inbound::v1::{DmarcResult, EmailAddress, MailClass};
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope};
use prost::Message as _;
use uuid::Uuid;

use super::{House, Mail, THREAD_KEY, fresh};

pub(super) fn request(interaction: Uuid, text: &str) -> SendMessageRequest {
    SendMessageRequest {
        interaction_id: interaction.to_string(),
        request_id: fresh(),
        text: text.into(),
        ..SendMessageRequest::default()
    }
}

pub(super) async fn sent(house: &House) -> Vec<(OutboundEnvelope, OutboundEmail)> {
    let payloads: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT payload FROM kit.outbox_log WHERE stream = 'outbound' ORDER BY key, sequence",
    )
    .fetch_all(house.db.pool())
    .await
    .unwrap();
    payloads
        .iter()
        .map(|payload| {
            let envelope = OutboundEnvelope::decode(payload.as_slice()).unwrap();
            let Some(Content::Email(email)) = envelope.content.clone() else { panic!("an email") };
            (envelope, email)
        })
        .collect()
}

pub(super) fn addresses(list: &[EmailAddress]) -> Vec<&str> {
    list.iter().map(|one| one.address.as_str()).collect()
}

#[tokio::test]
async fn a_reply_carries_token_and_references_and_its_answer_joins() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m2@x").answers(&["m1@x"])]).await;
    let attention = house.attentions().await[0].clone();
    house.open_item("ana", attention.last_interaction).await;
    let answer = house
        .actions
        .send(house.access("ana").await, request(attention.last_interaction, "Hola Eva"))
        .await
        .unwrap();
    let message = answer.message.unwrap();
    assert_eq!((message.delivery_state.as_str(), message.agent_key.as_str()), ("queued", "ana"));
    let sent = sent(&house).await;
    let [(envelope, email)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(envelope.send_id, message.message_id);
    assert_eq!(
        (envelope.conversation_key.as_str(), envelope.sequence),
        (attention.attention_id.to_string().as_str(), 1)
    );
    assert!(envelope.traceparent.contains("0af7651916cd43dd8448eb211c80319c"), "{}", envelope.traceparent);
    assert_eq!(addresses(&email.to), ["eva@cliente.example"]);
    assert_eq!((email.in_reply_to.as_str(), email.subject.as_str()), ("m2@x", "Re: No llegó mi pedido"));
    assert_eq!(email.references, ["m1@x", "m2@x"]);
    assert_eq!(email.from.as_ref().unwrap().address, "soporte@ejemplo.pe");
    for text in [&email.message_id, &email.reply_to] {
        assert_eq!(thread_token::find(THREAD_KEY, text), [attention.attention_id], "{text}");
    }
    // The customer's answer refers to our Message-ID, which nobody else knows.
    house.take(&[Mail::from("eva@cliente.example").answers(&[&email.message_id])]).await;
    let attentions = house.attentions().await;
    assert_eq!((attentions.len(), attentions[0].messages), (1, 3));
    assert_eq!(house.events(attention.attention_id).await[4], "message_queued");
}

#[tokio::test]
async fn one_request_id_sends_once_and_means_one_request() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let interaction = house.attentions().await[0].last_interaction;
    house.open_item("ana", interaction).await;
    let (ana, first) = (house.access("ana").await, request(interaction, "Hola"));
    let one = house.actions.send(ana.clone(), first.clone()).await.unwrap();
    let two = house.actions.send(ana.clone(), first.clone()).await.unwrap();
    assert_eq!(one, two);
    let other = SendMessageRequest { text: "Otra cosa".into(), ..first };
    assert_eq!(house.actions.send(ana.clone(), other).await.unwrap_err().reason(), "REQUEST_ID_REUSED");
    house.actions.send(ana, request(interaction, "Hola")).await.unwrap();
    let sequences: Vec<i64> = sent(&house).await.iter().map(|(envelope, _)| envelope.sequence).collect();
    assert_eq!(sequences, [1, 2]);
}

#[tokio::test]
async fn only_the_agent_who_opened_it_sends() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let interaction = house.attentions().await[0].last_interaction;
    let refused = async |user: &str| {
        house
            .actions
            .send(house.access(user).await, request(interaction, "x"))
            .await
            .unwrap_err()
            .reason()
            .to_owned()
    };
    assert_eq!(refused("ana").await, "NOT_OPEN");
    house.open_item("luis", interaction).await;
    assert_eq!(refused("ana").await, "NOT_YOURS");
    assert_eq!(refused("rosa").await, "INTERACTION_NOT_FOUND");
    assert!(sent(&house).await.is_empty());
}

#[tokio::test]
async fn malformed_messages_name_their_fields() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let interaction = house.attentions().await[0].last_interaction;
    house.open_item("ana", interaction).await;
    let mut bad = request(interaction, " ");
    bad.cc = vec![EmailAddress { address: "a@x\r\nBcc: b@y".into(), name: String::new() }];
    let error = house.actions.send(house.access("ana").await, bad).await.unwrap_err();
    let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["text", "cc[0].address"]);
    let mut bad = request(interaction, "x");
    bad.request_id = "7".into();
    assert_eq!(
        house.actions.send(house.access("ana").await, bad).await.unwrap_err().violations()[0].field,
        "request_id"
    );
}

#[tokio::test]
async fn everybody_an_agent_writes_to_may_answer_and_reply_to_counts_only_authenticated() {
    let house = House::open().await;
    let redirect = |dmarc| {
        Mail::from("eva@cliente.example").dmarc(dmarc).with(|email| {
            email.reply_to =
                vec![EmailAddress { address: "otra@cliente.example".into(), name: String::new() }];
            email.cc = vec![EmailAddress { address: "jefa@cliente.example".into(), name: String::new() }];
        })
    };
    house.take(&[redirect(DmarcResult::NoPolicy).id("n@x")]).await;
    house.take(&[redirect(DmarcResult::Pass).id("p@x")]).await;
    for seen in house.attentions().await {
        house.open_item("ana", seen.last_interaction).await;
        let request = SendMessageRequest { reply_all: true, ..request(seen.last_interaction, "Hola") };
        house.actions.send(house.access("ana").await, request).await.unwrap();
    }
    let mut to: Vec<String> =
        sent(&house).await.iter().map(|(_, email)| addresses(&email.to).join(" ")).collect();
    to.sort();
    assert_eq!(to, ["eva@cliente.example", "otra@cliente.example"]);
    for seen in house.attentions().await {
        assert!(seen.participants.contains(&"jefa@cliente.example".to_owned()));
    }
    house.take(&[Mail::from("jefa@cliente.example").answers(&["n@x"])]).await;
    assert_eq!(house.attentions().await.len(), 2, "she was written to by an agent, so she joins");
}

#[tokio::test]
async fn reports_of_mail_servers_are_never_answered() {
    let house = House::open().await;
    house.take(&[Mail::from("mailer-daemon@mx.example").class(MailClass::DeliveryReport)]).await;
    let interaction = house.attentions().await[0].last_interaction;
    house.open_item("ana", interaction).await;
    let error = house.actions.send(house.access("ana").await, request(interaction, "x")).await.unwrap_err();
    assert_eq!(error.reason(), "NO_RECIPIENT");
}

/// Hardening, case 14, on the way out: what does not fit the broker is refused whole, with the field that is too large.
#[tokio::test]
async fn a_mail_that_does_not_fit_the_broker_is_refused_and_leaves_nothing() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let interaction = house.attentions().await[0].last_interaction;
    house.open_item("ana", interaction).await;
    let large = |html: usize| SendMessageRequest {
        html: format!("<p>{}</p>", "x".repeat(html)),
        ..request(interaction, &"🦙".repeat(200_000))
    };
    let error = house.actions.send(house.access("ana").await, large(390_000)).await.unwrap_err();
    assert_eq!((error.reason(), error.violations()[0].field.as_str()), ("MESSAGE_TOO_LARGE", "html"));
    assert_eq!(house.count("SELECT count(*) FROM attention.message").await, 1);
    house.actions.send(house.access("ana").await, large(100_000)).await.unwrap();
    assert_eq!(sent(&house).await.len(), 1);
}
