//! `StartAttention`: an agent writes first; what leaves, whom it makes known, and where the answer goes.

use std::sync::Arc;

use hilo_kit::thread_token;
use hilo_proto::attention::v1::{
    ComposeMode, EndInteractionRequest, ListInteractionsRequest, ReopenInteractionRequest,
    SendMessageRequest, StartAttentionRequest,
};
use hilo_proto::event::v1::{Direction, InteractionState};
use hilo_proto::inbound::v1::EmailAddress;
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope};
use prost::Message as _;
use uuid::Uuid;

use super::composing::{names, of_message, upload};
use super::files::Store;
use super::{House, Mail, THREAD_KEY, fresh, sending};
use crate::desk::list;
use crate::directory::testing::{apply, database, directory_of, example};

fn address(address: &str) -> EmailAddress {
    EmailAddress { address: address.into(), name: String::new() }
}

fn request(campaign: &str, to: &[&str]) -> StartAttentionRequest {
    StartAttentionRequest {
        campaign_key: campaign.into(),
        request_id: fresh(),
        to: to.iter().map(|one| address(one)).collect(),
        subject: "Su pedido 77".into(),
        text: "Buenos días".into(),
        ..StartAttentionRequest::default()
    }
}

async fn sent(house: &House) -> Vec<(OutboundEnvelope, OutboundEmail)> {
    let payloads: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT payload FROM kit.outbox_log WHERE stream = 'outbound'")
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

fn addresses(list: &[EmailAddress]) -> Vec<&str> {
    list.iter().map(|one| one.address.as_str()).collect()
}

#[tokio::test]
async fn an_agents_message_begins_an_attention_and_the_answer_joins_it() {
    let house = House::open().await;
    let ana = house.access("ana").await;
    let asked = StartAttentionRequest {
        to: vec![
            EmailAddress { address: "Eva@Cliente.example".into(), name: "Eva Quispe".into() },
            address("otto@cliente.example"),
        ],
        cc: vec![address("jefa@cliente.example")],
        bcc: vec![address("archivo@ejemplo.pe")],
        html: "<p onclick=x()>Buenos días</p>".into(),
        ..request("soporte", &[])
    };
    let answer = house.actions.start(ana.clone(), asked.clone()).await.unwrap();
    assert_eq!(house.actions.start(ana.clone(), asked.clone()).await.unwrap(), answer, "same request");
    let other = StartAttentionRequest { text: "Otra".into(), ..asked };
    assert_eq!(house.actions.start(ana.clone(), other).await.unwrap_err().reason(), "REQUEST_ID_REUSED");
    let interaction = answer.interaction.unwrap();
    assert_eq!((interaction.state(), interaction.direction()), (InteractionState::Open, Direction::Outbound));
    assert_eq!((interaction.agent_key.as_str(), interaction.message_count), ("ana", 1));
    let attention: Uuid = answer.attention_id.parse().unwrap();
    assert_eq!(house.events(attention).await, ["attention_opened", "interaction_started", "message_queued"]);
    let sent = sent(&house).await;
    let [(envelope, email)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!((envelope.conversation_key.as_str(), envelope.sequence), (answer.attention_id.as_str(), 1));
    assert_eq!(envelope.send_id, answer.message.unwrap().message_id);
    assert_eq!(addresses(&email.to), ["Eva@Cliente.example", "otto@cliente.example"]);
    assert_eq!(addresses(&email.cc), ["jefa@cliente.example"]);
    assert_eq!(addresses(&email.bcc), ["archivo@ejemplo.pe"]);
    assert_eq!((email.subject.as_str(), email.html.as_str()), ("Su pedido 77", "<p>Buenos días</p>"));
    assert_eq!((email.in_reply_to.as_str(), email.references.len()), ("", 0));
    for text in [&email.message_id, &email.reply_to] {
        assert_eq!(thread_token::find(THREAD_KEY, text), [attention], "{text}");
    }
    // He is known from now on, and his answer joins by our Message-ID.
    house.take(&[Mail::from("eva@cliente.example").answers(&[&email.message_id])]).await;
    house.take(&[Mail::from("jefa@cliente.example").token(attention).answers(&[&email.message_id])]).await;
    let attentions = house.attentions().await;
    assert_eq!((attentions.len(), attentions[0].messages), (1, 3));
    assert_eq!(
        house.count("SELECT sum(load)::bigint FROM assignment.agent_load WHERE agent_key = 'ana'").await,
        1
    );
    let opened = house.open_item("ana", attentions[0].last_interaction).await;
    assert_eq!(opened.attention.unwrap().contact.unwrap().name, "Eva Quispe");
    let listing = ListInteractionsRequest { channel: "email".into(), ..Default::default() };
    let listed = list::page(&house.db, ana, listing).await.unwrap();
    let item = &listed.items[0];
    assert_eq!(
        (item.direction(), item.customer_address.as_str()),
        (Direction::Outbound, "eva@cliente.example")
    );
}

/// Sends as ana and answers what left.
async fn send(house: &House, letter: SendMessageRequest) -> OutboundEmail {
    house.actions.send(house.access("ana").await, letter).await.unwrap();
    sending::sent(house).await.pop().unwrap().1
}

#[tokio::test]
async fn while_the_customer_has_not_written_an_answer_follows_our_own_mail() {
    let house = House::open().await;
    let ana = house.access("ana").await;
    let asked = StartAttentionRequest {
        cc: vec![address("jefa@cliente.example")],
        ..request("soporte", &["eva@cliente.example", "otto@cliente.example"])
    };
    let answer = house.actions.start(ana.clone(), asked).await.unwrap();
    let id: Uuid = answer.interaction.unwrap().interaction_id.parse().unwrap();
    let letter = |text: &str| sending::request(id, text);
    let (_, first) = sent(&house).await.pop().unwrap();
    let second = send(&house, letter("Algo más")).await;
    assert_eq!(addresses(&second.to), ["eva@cliente.example", "otto@cliente.example"]);
    assert_eq!((second.cc.len(), second.subject.as_str()), (0, "Re: Su pedido 77"));
    assert_eq!(second.in_reply_to, first.message_id);
    assert_eq!(second.references, [first.message_id.as_str()]);
    // Ended and open again, to everybody; our second mail had no copies.
    let end =
        EndInteractionRequest { interaction_id: id.to_string(), close_attention: true, request_id: fresh() };
    house.actions.end(ana.clone(), end).await.unwrap();
    let again = ReopenInteractionRequest { interaction_id: id.to_string(), request_id: fresh() };
    house.actions.reopen(ana.clone(), again).await.unwrap();
    let jefa = vec![address("jefa@cliente.example")];
    let third = send(&house, SendMessageRequest { reply_all: true, cc: jefa, ..letter("Y") }).await;
    let fourth = send(&house, SendMessageRequest { reply_all: true, ..letter("Y esto") }).await;
    assert_eq!(addresses(&fourth.to), ["eva@cliente.example", "otto@cliente.example"]);
    assert_eq!(addresses(&fourth.cc), ["jefa@cliente.example"]);
    assert_eq!((fourth.in_reply_to, fourth.subject), (third.message_id.clone(), "Re: Su pedido 77".into()));
    assert_eq!(fourth.references, [first.message_id, second.message_id, third.message_id]);
    // From his first mail on, that one.
    house.take(&[Mail::from("otto@cliente.example").id("o@x").answers(&[&fourth.message_id])]).await;
    assert_eq!(house.attentions().await.len(), 1);
    let fifth = send(&house, letter("Gracias")).await;
    assert_eq!((addresses(&fifth.to), fifth.in_reply_to.as_str()), (vec!["otto@cliente.example"], "o@x"));
}

/// Guards: the order in which `answered` takes our own mails; nobody who was forwarded to gets what is meant for the customer.
#[tokio::test]
async fn of_our_own_mails_one_to_the_customer_that_did_not_fail_is_followed() {
    let house = House::open().await;
    let asked = request("soporte", &["Eva@cliente.example"]);
    let answer = house.actions.start(house.access("ana").await, asked).await.unwrap();
    let id: Uuid = answer.interaction.unwrap().interaction_id.parse().unwrap();
    let letter = |to: &str| SendMessageRequest { to: vec![address(to)], ..sending::request(id, "Hola") };
    send(&house, SendMessageRequest { mode: ComposeMode::Forward.into(), ..letter("taller@x.example") })
        .await;
    let next = send(&house, sending::request(id, "Otra vez")).await;
    assert_eq!(addresses(&next.to), ["Eva@cliente.example"]);
    // The address was wrong; the right one is named once.
    sqlx::query(
        "UPDATE attention.message SET delivery_state = 'failed' WHERE to_addresses::text LIKE '%Eva@%'",
    )
    .execute(house.db.pool())
    .await
    .unwrap();
    send(&house, letter("eva.quispe@cliente.example")).await;
    let next = send(&house, sending::request(id, "Y otra")).await;
    assert_eq!(addresses(&next.to), ["eva.quispe@cliente.example"]);
}

#[tokio::test]
async fn a_known_customer_stays_one_contact_and_the_outbound_form_counts() {
    let db = database().await;
    apply(&db, &example()).await;
    let house = House::at(db);
    house.take(&[Mail { account: "soporte".into(), ..Mail::from("eva@cliente.example") }]).await;
    let asked = request("soporte-tecnico", &["EVA@cliente.example"]);
    let answer = house.actions.start(house.access("ana").await, asked).await.unwrap();
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 1);
    assert_eq!(house.attentions().await.len(), 2, "a case of its own");
    let id: Uuid = answer.interaction.unwrap().interaction_id.parse().unwrap();
    assert_eq!(house.open_item("ana", id).await.form.unwrap().key, "consulta");
}

#[tokio::test]
async fn bad_requests_and_strangers_are_refused_and_nothing_begins() {
    let db = database().await;
    let mut yaml = directory_of(&[("soporte", &["ana"]), ("ventas", &["rosa"]), ("vieja", &["ana"])], "");
    yaml = yaml.replace("key: vieja, name: vieja,", "key: vieja, name: vieja, active: false,");
    yaml = yaml.replace("accounts: [vieja-mail]", "accounts: []");
    yaml = yaml.replace("accounts: [soporte-mail]", "accounts: [soporte-mail, vieja-mail]");
    yaml = yaml
        .replace("accounts: [ventas-mail]", "accounts: []")
        .replace("  - {key: ventas-mail, channel: email, address: ventas@ejemplo.pe}\n", "");
    yaml = yaml.replace(
        "users:\n",
        "  - {key: chat, name: chat, channel: whatsapp, accounts: [], members: [ana], assignment_mode: everyone}\nusers:\n",
    );
    yaml += "  - {key: sara, name: Sara, roles: [supervisor], campaigns: [soporte]}\n";
    apply(&db, &yaml).await;
    let house = House::at(db);
    let good =
        || StartAttentionRequest { account_key: "soporte-mail".into(), ..request("soporte", &["eva@x.pe"]) };
    let many: Vec<EmailAddress> = (0..101).map(|n| address(&format!("c{n}@x.pe"))).collect();
    let bomb = (0..2_000).map(|n| format!("<b a={n}>")).collect::<String>() + &"<p>x".repeat(2_000);
    let rows = [
        ("ana", request("", &["eva@x.pe"]), "INVALID_REQUEST", "campaign_key"),
        ("ana", request("soporte", &["eva@x.pe"]), "INVALID_REQUEST", "account_key"),
        (
            "ana",
            StartAttentionRequest { account_key: "ventas-mail".into(), ..good() },
            "INVALID_REQUEST",
            "account_key",
        ),
        ("ana", StartAttentionRequest { to: Vec::new(), ..good() }, "INVALID_REQUEST", "to"),
        ("ana", StartAttentionRequest { to: many, ..good() }, "INVALID_REQUEST", "to"),
        ("ana", StartAttentionRequest { to: vec![address("eva")], ..good() }, "INVALID_REQUEST", "to[0]"),
        (
            "ana",
            StartAttentionRequest { cc: vec![address("a@x\r\nBcc: c@d")], ..good() },
            "INVALID_REQUEST",
            "cc[0]",
        ),
        (
            "ana",
            StartAttentionRequest { bcc: vec![address("a@x,b@y")], ..good() },
            "INVALID_REQUEST",
            "bcc[0]",
        ),
        ("ana", StartAttentionRequest { subject: " ".into(), ..good() }, "INVALID_REQUEST", "subject"),
        (
            "ana",
            StartAttentionRequest { subject: "a\r\nBcc: c@d".into(), ..good() },
            "INVALID_REQUEST",
            "subject",
        ),
        ("ana", StartAttentionRequest { text: " ".into(), ..good() }, "INVALID_REQUEST", "text"),
        ("ana", StartAttentionRequest { html: "x".repeat(400_001), ..good() }, "INVALID_REQUEST", "html"),
        ("ana", StartAttentionRequest { html: bomb, ..good() }, "INVALID_REQUEST", "html"),
        (
            "ana",
            StartAttentionRequest { to: vec![address("soporte@ejemplo.pe")], ..good() },
            "NO_RECIPIENT",
            "",
        ),
        ("ana", StartAttentionRequest { campaign_key: "ventas".into(), ..good() }, "CAMPAIGN_NOT_FOUND", ""),
        ("ana", StartAttentionRequest { campaign_key: "nada".into(), ..good() }, "CAMPAIGN_NOT_FOUND", ""),
        ("ana", StartAttentionRequest { campaign_key: "vieja".into(), ..good() }, "CAMPAIGN_INACTIVE", ""),
        (
            "ana",
            StartAttentionRequest { campaign_key: "chat".into(), ..good() },
            "INVALID_REQUEST",
            "whatsapp",
        ),
        (
            "rosa",
            StartAttentionRequest { campaign_key: "ventas".into(), account_key: String::new(), ..good() },
            "NO_ACCOUNT",
            "",
        ),
        ("rosa", good(), "CAMPAIGN_NOT_FOUND", ""),
        ("sara", good(), "AGENT_REQUIRED", ""),
    ];
    for (who, asked, reason, field) in rows {
        let text = format!("{who}: {reason} {field}");
        let error = house.actions.start(house.access(who).await, asked).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{text}");
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, if field.is_empty() { vec![] } else { vec![field] }, "{text}");
    }
    assert!(house.attentions().await.is_empty() && sent(&house).await.is_empty(), "nothing happened");
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 0);
}

#[tokio::test]
async fn files_go_with_the_first_mail_and_it_is_shown_like_every_other() {
    let store = Store::open().await;
    let house = &store.house;
    let file = store.uploaded("ana", "boleta.pdf", b"boleta").await;
    let logo = store.uploaded("ana", "logo.png", b"logo").await;
    let asked = StartAttentionRequest {
        html: "<p>Mire<img src=\"cid:logo@x\"><img src=\"https://espia.example/p.gif\"></p>".into(),
        attachments: vec![upload(&file.upload_id, ""), upload(&logo.upload_id, "logo@x")],
        ..request("soporte", &["eva@cliente.example"])
    };
    let answer = house.actions.start(house.access("ana").await, asked).await.unwrap();
    let shown = answer.message.unwrap();
    assert_eq!(shown.html, "<p>Mire<img src=\"cid:logo@x\"><img></p>");
    assert_eq!((shown.remote_images_blocked, shown.attachments.len()), (1, 2));
    let (_, email) = sent(house).await.pop().unwrap();
    assert_eq!(names(&email), [("boleta.pdf", false), ("logo.png", true)]);
    assert!(email.html.contains("https://espia.example/p.gif"), "the customer gets what was written");
    let listed = house.open_item("ana", house.attentions().await[0].last_interaction).await;
    assert_eq!(listed.messages[0].attachments, shown.attachments);
    assert_eq!(house.count("SELECT jsonb_array_length(attachments)::bigint FROM attention.message").await, 2);
}

#[tokio::test]
async fn files_that_are_not_there_are_refused_and_nothing_begins() {
    let store = Store::open().await;
    let house = &store.house;
    house
        .take(&[Mail::from("eva@cliente.example").with(|email| {
            email.attachments = vec![hilo_proto::inbound::v1::Attachment {
                sha256: "0".repeat(64),
                file_name: "ajeno.pdf".into(),
                media_type: "application/pdf".into(),
                size_bytes: 3,
                ..Default::default()
            }];
        })])
        .await;
    let item = house.open_item("ana", house.attentions().await[0].last_interaction).await;
    let theirs = store.uploaded("luis", "de-luis.pdf", b"x").await;
    let half = store.begin("ana", "medio.pdf", b"abc").await.unwrap();
    let mine = store.uploaded("ana", "a.pdf", b"x").await;
    let large = sqlx::query(
        "UPDATE conversation.upload SET size_bytes = $1, received_bytes = $1 WHERE upload_id = $2::uuid",
    );
    let big = store.uploaded("ana", "b.pdf", b"y").await;
    large.bind(18_i64 * 1024 * 1024 + 1).bind(&big.upload_id).execute(house.db.pool()).await.unwrap();
    for (files, reason, field) in [
        (vec![upload(&fresh(), "")], "ATTACHMENT_NOT_FOUND", "attachments[0]"),
        (
            vec![upload(&mine.upload_id, ""), upload(&theirs.upload_id, "")],
            "ATTACHMENT_NOT_FOUND",
            "attachments[1]",
        ),
        (vec![of_message(&item.messages[0].message_id, 0)], "ATTACHMENT_NOT_FOUND", "attachments[0]"),
        (vec![upload(&half.upload_id, "")], "UPLOAD_INCOMPLETE", ""),
        (vec![upload(&big.upload_id, "")], "MESSAGE_TOO_LARGE", "attachments"),
        (vec![upload(&mine.upload_id, ""); 51], "TOO_MANY_ATTACHMENTS", "attachments"),
        (vec![upload(&mine.upload_id, "a b")], "INVALID_REQUEST", "attachments[0].content_id"),
    ] {
        let asked =
            StartAttentionRequest { attachments: files, ..request("soporte", &["otto@cliente.example"]) };
        let error = house.actions.start(house.access("ana").await, asked).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{field}");
        let fields: Vec<&str> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, if field.is_empty() { vec![] } else { vec![field] }, "{reason}");
    }
    assert_eq!((house.attentions().await.len(), sent(house).await.len()), (1, 0), "nothing began");
}

/// Guard: `intake::lock_address` in `start::resolve`; without it one of the two meets the primary key of identities.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_write_to_a_new_customer_at_once_make_one_contact_and_two_cases() {
    let house = Arc::new(House::open().await);
    for round in 0..20 {
        let to = format!("c{round}@cliente.example");
        let tries = ["ana", "luis"].map(|who| {
            let (house, to) = (house.clone(), to.clone());
            tokio::spawn(async move {
                house.actions.start(house.access(who).await, request("soporte", &[&to])).await
            })
        });
        for one in tries {
            one.await.unwrap().unwrap();
        }
    }
    assert_eq!(house.count("SELECT count(*) FROM contact.contact").await, 20);
    assert_eq!(house.attentions().await.len(), 40);
}
