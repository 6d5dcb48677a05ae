//! Mails larger than the broker takes: handed over by reference to the object store, whoever sends them.

use hilo_kit::objects::Digest256;
use hilo_kit::outbox::MAX_PAYLOAD;
use hilo_proto::attention::v1::{
    ComposeMode, OpenInteractionRequest, RetryMessageRequest, StartAttentionRequest,
};
use hilo_proto::inbound::v1::EmailAddress;
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope, StoredEmail};
use prost::Message as _;
use uuid::Uuid;

use super::files::Store;
use super::sending::request;
use super::{House, Mail, fresh};

/// As long as a text may be; four bytes each.
fn longest_text() -> String {
    "\u{1f4e6}".repeat(200_000)
}

/// As long as HTML may be, and unchanged by cleaning.
fn longest_html() -> String {
    format!("<p>{}</p>", "x".repeat(400_000 - 7))
}

async fn envelopes(house: &House) -> Vec<OutboundEnvelope> {
    let payloads: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT payload FROM kit.outbox_log WHERE stream = 'outbound' ORDER BY key, sequence",
    )
    .fetch_all(house.db.pool())
    .await
    .unwrap();
    payloads
        .iter()
        .map(|payload| {
            assert!(payload.len() <= MAX_PAYLOAD, "{} bytes", payload.len());
            OutboundEnvelope::decode(payload.as_slice()).unwrap()
        })
        .collect()
}

/// The mail behind a reference.
async fn stored(store: &Store, envelope: &OutboundEnvelope) -> OutboundEmail {
    let Some(Content::StoredEmail(StoredEmail { sha256, size_bytes })) = &envelope.content else {
        panic!("by reference")
    };
    let bytes = store.objects.get(sha256.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((bytes.len() as i64, Digest256::of(&bytes).to_string()), (*size_bytes, sha256.clone()));
    OutboundEmail::decode(bytes).unwrap()
}

async fn opened(store: &Store) -> Uuid {
    let house = &store.house;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let id = house.attentions().await[0].last_interaction;
    house.open_item("ana", id).await;
    id
}

#[tokio::test]
async fn a_reply_at_every_limit_goes_by_reference_and_so_does_its_repetition() {
    let store = Store::open().await;
    let (house, id) = (&store.house, opened(&store).await);
    let ana = || house.access("ana");
    let mut letter = request(id, &longest_text());
    (letter.html, letter.quote) = (longest_html(), true);
    let answer = house.actions.send(ana().await, letter.clone()).await.unwrap();
    let small = request(id, "breve");
    house.actions.send(ana().await, small).await.unwrap();
    let sent = envelopes(house).await;
    let [large, small] = sent.as_slice() else { panic!("{}", sent.len()) };
    assert!(matches!(small.content, Some(Content::Email(_))), "what fits travels as before");
    let email = stored(&store, large).await;
    assert!(
        email.text.starts_with(&letter.text) && email.text.contains("> Hola,"),
        "all of it, and the quotation"
    );
    assert!(email.html.starts_with(&letter.html) && email.html.contains("<blockquote>"));
    assert_eq!((large.sequence, small.sequence), (1, 2), "in its place in the order of sends");
    let message = answer.message.unwrap();
    assert_eq!((large.send_id.as_str(), email.text.len()), (message.message_id.as_str(), message.text.len()));
    // An answer of gRPC has at most 4 MiB: the item can still be opened, with a draft as large as it may be.
    sqlx::query(
        "INSERT INTO attention.draft (interaction_id, version, body, content) VALUES ($1, 1, $2, $3)",
    )
    .bind(id)
    .bind(longest_text())
    .bind(
        hilo_proto::attention::v1::DraftContent { html: "xxx>".repeat(100_000), ..Default::default() }
            .encode_to_vec(),
    )
    .execute(house.db.pool())
    .await
    .unwrap();
    let again = OpenInteractionRequest { interaction_id: id.to_string(), request_id: fresh() };
    let opened = house.actions.open(ana().await, again).await.unwrap();
    assert!(opened.encoded_len() < 4 * 1024 * 1024, "{}", opened.encoded_len());
    assert!(!opened.messages.is_empty());
    // A person has it sent again: the same mail, as a new send.
    sqlx::query("UPDATE attention.message SET delivery_state = 'failed' WHERE message_id = $1::uuid")
        .bind(&message.message_id)
        .execute(house.db.pool())
        .await
        .unwrap();
    let retry = RetryMessageRequest { message_id: message.message_id, request_id: fresh() };
    house.actions.retry(ana().await, retry).await.unwrap();
    let third = envelopes(house).await.pop().unwrap();
    let repeated = stored(&store, &third).await;
    assert_eq!((third.sequence, repeated.text, repeated.html), (3, email.text, email.html));
    assert_eq!(repeated.message_id, email.message_id);
}

#[tokio::test]
async fn a_first_mail_and_a_forward_go_by_reference_too() {
    let store = Store::open().await;
    let (house, id) = (&store.house, opened(&store).await);
    let asked = StartAttentionRequest {
        campaign_key: "soporte".into(),
        request_id: fresh(),
        to: vec![EmailAddress { address: "otto@cliente.example".into(), name: String::new() }],
        subject: "Largo".into(),
        text: longest_text(),
        html: longest_html(),
        ..StartAttentionRequest::default()
    };
    let begun = house.actions.start(house.access("ana").await, asked.clone()).await.unwrap();
    let html = format!("<p>{}</p>", "y".repeat(190_000));
    house.take(&[Mail::from("eva@cliente.example").with(|email| email.html = html)]).await;
    let newest = house.attentions().await.pop().unwrap();
    house.open_item("ana", newest.last_interaction).await;
    let mut forward = request(newest.last_interaction, &longest_text());
    (forward.html, forward.mode) = (longest_html(), ComposeMode::Forward.into());
    forward.to = asked.to.clone();
    house.actions.send(house.access("ana").await, forward).await.unwrap();
    for envelope in envelopes(house).await {
        let email = stored(&store, &envelope).await;
        assert!(email.text.starts_with(&asked.text) && email.html.starts_with(&asked.html));
        let forwarded = envelope.conversation_key != begun.attention_id;
        assert_eq!(email.html.matches('y').count() >= 190_000, forwarded, "the original below a forward");
    }
    assert_ne!(newest.last_interaction, id);
}

#[tokio::test]
async fn more_than_an_answer_could_carry_is_refused_with_the_reason() {
    let store = Store::open().await;
    let (house, id) = (&store.house, opened(&store).await);
    let mut letter = request(id, &longest_text());
    // Cleaning makes four bytes of each.
    letter.html = ">".repeat(400_000);
    let error = house.actions.send(house.access("ana").await, letter).await.unwrap_err();
    assert_eq!((error.reason(), error.violations()[0].field.as_str()), ("MESSAGE_TOO_LARGE", "html"));
    assert!(envelopes(house).await.is_empty());
    assert_eq!(house.count("SELECT count(*) FROM attention.message").await, 1, "nothing is kept");
}
