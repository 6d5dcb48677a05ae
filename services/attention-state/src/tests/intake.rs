//! Intake of mails: what one mail leaves behind, batches, repeats, what cannot be taken, what is locked.

use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::outbox::HEADER_ID;
use hilo_proto::event::v1::{AttentionEvent, InteractionState};
use hilo_proto::inbound::v1::inbound_envelope::Content;
use hilo_proto::inbound::v1::{DmarcResult, EmailAddress, InboundEnvelope, InboundWhatsApp};
use prost::Message as _;
use uuid::Uuid;

use super::{House, Mail};
use crate::attention::outbox::DATA;
use crate::directory::testing::{apply, directory_of};

#[tokio::test]
async fn a_first_mail_makes_contact_attention_interaction_message_and_events() {
    let house = House::open().await;
    let mail = Mail::from("Eva@Cliente.example");
    house.take(&[mail]).await;
    let attentions = house.attentions().await;
    let [only] = attentions.as_slice() else { panic!("{attentions:?}") };
    assert_eq!((only.state.as_str(), only.messages, only.campaign_key.as_str()), ("open", 1, "soporte"));
    assert_eq!(only.interactions, ["queued"]);
    assert_eq!(only.participants, ["eva@cliente.example"]);
    assert_eq!(only.lineage_id, only.attention_id);
    assert_eq!(
        house.events(only.attention_id).await,
        ["attention_opened", "interaction_queued", "message_received"]
    );
    assert_eq!(house.count("SELECT count(*) FROM contact.contact WHERE name = 'Eva Quispe'").await, 1);
    assert_eq!(
        house.count("SELECT count(*) FROM contact.identity WHERE value = 'eva@cliente.example'").await,
        1
    );
    let kinds: Vec<String> = sqlx::query_scalar("SELECT kind FROM attention.message_key ORDER BY kind")
        .fetch_all(house.db.pool())
        .await
        .unwrap();
    assert_eq!(kinds, ["external", "internet"]);
}

#[tokio::test]
async fn events_are_cloudevents_without_bodies_or_addresses_and_continue_the_mails_trace() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example")]).await;
    let payloads: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT payload FROM kit.outbox_log WHERE stream = 'events' ORDER BY sequence")
            .fetch_all(house.db.pool())
            .await
            .unwrap();
    assert_eq!(payloads.len(), 3);
    for payload in &payloads {
        let text = String::from_utf8(payload.clone()).unwrap();
        for secret in ["eva", "cliente", "pedido", "lleg", "Quispe", "ejemplo.pe"] {
            assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "{secret} in {text}");
        }
    }
    let queued: AttentionEvent = hilo_proto::json::from_json(DATA, &payloads[1]).unwrap();
    let interaction = queued.interaction.unwrap();
    assert_eq!(interaction.state(), InteractionState::Queued);
    assert_eq!((interaction.version, interaction.message_count, interaction.ordinal), (1, 1, 1));
    let headers: String = sqlx::query_scalar(
        "SELECT headers::text FROM kit.outbox_log WHERE stream = 'events' ORDER BY sequence LIMIT 1",
    )
    .fetch_one(house.db.pool())
    .await
    .unwrap();
    for wanted in [
        "ce-specversion",
        "hilo.attention.v1.attention_opened",
        "00000000000000000001",
        "0af7651916cd43dd8448eb211c80319c",
    ] {
        assert!(headers.contains(wanted), "{wanted} missing in {headers}");
    }
}

#[tokio::test]
async fn a_batch_sees_its_own_mails() {
    let house = House::open().await;
    let first = Mail::from("eva@cliente.example").id("m1@cliente.example");
    let answer = Mail::from("eva@cliente.example").id("m2@cliente.example").answers(&["m1@cliente.example"]);
    let other = Mail::from("otto@cliente.example").id("o1@cliente.example");
    house.take(&[first, other, answer]).await;
    let attentions = house.attentions().await;
    assert_eq!(attentions.iter().map(|one| one.messages).sum::<i64>(), 3);
    assert_eq!(attentions.len(), 2);
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 2);
}

#[tokio::test]
async fn a_repeat_changes_nothing_under_the_same_delivery_and_under_another() {
    let house = House::open().await;
    let mail = Mail::from("eva@cliente.example");
    house.take(std::slice::from_ref(&mail)).await;
    house.take(std::slice::from_ref(&mail)).await;
    // The row was handed over anew: another delivery id, the same mail of the ledger.
    house.take(&[Mail { delivery_id: Uuid::now_v7(), ..mail.clone() }]).await;
    let twice = Mail { delivery_id: Uuid::now_v7(), ..mail };
    house.take(&[twice.clone(), Mail::from("otto@cliente.example"), twice]).await;
    assert_eq!(house.count("SELECT count(*) FROM attention.message").await, 2);
}

/// A forged Message-ID must not suppress a mail: only the ledger's id makes a repeat.
#[tokio::test]
async fn two_mails_with_one_message_id_are_both_kept() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("same@x")]).await;
    house.take(&[Mail::from("mallory@otro.example").id("same@x")]).await;
    assert_eq!(house.attentions().await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_read_is_dead_and_holds_up_nobody() {
    let house = House::open().await;
    let poison = Delivery::new("hilo.inbound.email.soporte-mail", vec![], &b"\xff\xff\xff"[..]);
    let empty = Delivery::new("hilo.inbound.email.soporte-mail", vec![], &b""[..]);
    let good = Mail::from("eva@cliente.example").delivery();
    let outcomes = house.inbound.handle(&[poison, good, empty]).await;
    assert!(
        matches!(outcomes.as_slice(), [Outcome::Dead(_), Outcome::Ack, Outcome::Dead(_)]),
        "{outcomes:?}"
    );
    assert_eq!(house.attentions().await.len(), 1);
}

#[tokio::test]
async fn a_mail_without_campaign_is_dead_and_can_be_replayed_once_there_is_one() {
    let house = House::open().await;
    let lost = Mail { account: "nueva-mail".into(), ..Mail::from("eva@cliente.example") };
    let outcomes = house.try_take(&[lost.clone(), Mail::from("otto@cliente.example")]).await;
    let [Outcome::Dead(error), Outcome::Ack] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(error.reason(), "ACCOUNT_WITHOUT_CAMPAIGN");
    let campaigns = [("soporte", &["ana", "luis"][..]), ("ventas", &["rosa"]), ("nueva", &["ana"])];
    apply(&house.db, &directory_of(&campaigns, "")).await;
    house.take(&[lost]).await;
    assert_eq!(house.attentions().await.len(), 2);
}

#[tokio::test]
async fn hostile_characters_and_absurd_headers_are_stored_or_cut_never_fatal() {
    let house = House::open().await;
    let absurd = Mail::from("eva@cliente.example").with(|email| {
        email.text = "a\0b \u{202e}c".into();
        email.subject = "s\0".repeat(2_000);
        email.from = Some(EmailAddress { address: "x".repeat(5_000), name: "n\0".repeat(1_000) });
        email.cc = vec![EmailAddress { address: "c@x".into(), name: "\0".into() }; 5_000];
        email.message_id = "i".repeat(20_000);
    });
    let nobody = Mail::from("").with(|email| email.from = None);
    house.take(&[absurd, nobody]).await;
    let attentions = house.attentions().await;
    assert_eq!(attentions.len(), 2);
    assert!(attentions[1].participants.is_empty(), "nobody may join as nobody");
}

/// Two transactions: the other one's commit is waited for by trying again, and only the mail it concerns waits.
#[tokio::test]
async fn a_locked_attention_makes_its_mail_busy_and_nothing_else() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@cliente.example").id("m1@x")]).await;
    let mut tx = house.db.pool().begin().await.unwrap();
    sqlx::query("SELECT 1 FROM attention.attention FOR UPDATE").execute(&mut *tx).await.unwrap();
    let answer = Mail::from("eva@cliente.example").answers(&["m1@x"]);
    let outcomes = house.try_take(&[answer.clone(), Mail::from("otto@cliente.example")]).await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Busy, Outcome::Ack]), "{outcomes:?}");
    tx.rollback().await.unwrap();
    house.take(&[answer]).await;
    let messages: Vec<i64> = house.attentions().await.iter().map(|one| one.messages).collect();
    assert_eq!(messages, [2, 1]);
}

/// The mail that makes the batch fail is found by trying one by one.
#[tokio::test]
async fn a_failed_batch_is_tried_one_by_one() {
    let house = House::open().await;
    // A subject that a trigger refuses stands for any defect that one mail sets off.
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.subject = 'defect' THEN RAISE EXCEPTION 'defect'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON attention.message FOR EACH ROW EXECUTE FUNCTION refuse();",
    )
    .execute(house.db.pool())
    .await
    .unwrap();
    let mails = [
        Mail::from("eva@cliente.example"),
        Mail::from("mallory@otro.example").subject("defect"),
        Mail::from("otto@cliente.example"),
    ];
    let outcomes = house.try_take(&mails).await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Ack, Outcome::Retry(_), Outcome::Ack]), "{outcomes:?}");
    assert_eq!(house.attentions().await.len(), 2);
}

#[tokio::test]
async fn a_sender_that_failed_dmarc_is_shown_as_such_without_claiming_anything() {
    let house = House::open().await;
    house.take(&[Mail::from("eva@banco.example").dmarc(DmarcResult::Fail)]).await;
    house.take(&[Mail::from("otto@cliente.example").dmarc(DmarcResult::TemporaryError)]).await;
    let verified: Vec<bool> = house.attentions().await.iter().map(|one| one.sender_verified).collect();
    assert_eq!(verified, [false, true]);
}

#[tokio::test]
async fn content_that_is_not_carried_is_a_dead_letter_with_its_reason() {
    let house = House::open().await;
    for (content, reason) in
        [(None, "UNKNOWN_CONTENT"), (Some(Content::Whatsapp(InboundWhatsApp::default())), "NO_WAMID")]
    {
        let mail = Mail::from("eva@cliente.example");
        let envelope = InboundEnvelope { content, ..mail.envelope() };
        let headers = vec![(HEADER_ID.to_owned(), mail.delivery_id.to_string())];
        let delivery = Delivery::new("hilo.inbound.email.soporte-mail", headers, envelope.encode_to_vec());
        let outcomes = house.inbound.handle(&[delivery]).await;
        let [Outcome::Dead(error)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        assert_eq!(error.reason(), reason);
    }
}
