//! Out of hours: what begins then is marked, and people get one automatic reply, machines and forgers none.

use std::sync::Arc;

use hilo_kit::nats::Subjects;
use hilo_proto::inbound::v1::{DmarcResult, EmailAddress, MailClass};
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope};
use prost::Message as _;
use uuid::Uuid;

use super::{House, Mail, THREAD_KEY};
use crate::attention::automatic::{Replies, Step};
use crate::attention::envelope::Post;
use crate::directory::testing::{apply, directory_of};

const TEXT: &str = "Recibimos su mensaje; volvemos el lunes.";

/// `soporte` is closed for ever, `ventas` always open.
fn closed() -> String {
    let hours = format!(
        "    hours:\n      weekly: {{monday: []}}\n      automatic_reply: {TEXT}\n  - {{key: ventas, name: Ventas"
    );
    directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "")
        .replacen("assignment_mode: round_robin}", "assignment_mode: round_robin", 1)
        .replacen(
            "  - {key: soporte, name: soporte, channel: email, accounts: [soporte-mail], members: [ana, luis], assignment_mode: round_robin\n",
            "  - key: soporte\n    name: Soporte\n    channel: email\n    accounts: [soporte-mail]\n    members: [ana, luis]\n    assignment_mode: round_robin\n",
            1,
        )
        .replacen("  - {key: ventas, name: ventas", &hours, 1)
}

async fn house() -> House {
    let house = House::open().await;
    apply(&house.db, &closed()).await;
    house
}

fn replies(house: &House) -> Replies {
    let post = Post {
        subjects: Arc::new(Subjects::new("hilo").unwrap()),
        thread_key: Arc::new(THREAD_KEY.to_vec()),
        objects: None,
    };
    Replies::new(house.db.clone(), post)
}

/// Of a person whose domain proved it.
fn person(address: &str) -> Mail {
    Mail::from(address).dmarc(DmarcResult::Pass)
}

/// What was settled, by number of the attention.
async fn settled(house: &House) -> Vec<String> {
    replies(house).all().await.unwrap();
    sqlx::query_scalar(
        "SELECT CASE reply.state WHEN 'withheld' THEN reply.reason ELSE reply.state END
         FROM attention.automatic_reply AS reply JOIN attention.attention USING (attention_id) ORDER BY number",
    )
    .fetch_all(house.db.pool())
    .await
    .unwrap()
}

async fn outbound(house: &House) -> Vec<OutboundEmail> {
    let rows: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT payload FROM kit.outbox_log WHERE stream = 'outbound' ORDER BY key, sequence",
    )
    .fetch_all(house.db.pool())
    .await
    .unwrap();
    rows.iter()
        .map(|row| match OutboundEnvelope::decode(row.as_slice()).unwrap().content.unwrap() {
            Content::Email(email) => email,
            Content::StoredEmail(_) | Content::Whatsapp(_) => panic!("a mail, small enough for the broker"),
        })
        .collect()
}

#[tokio::test]
async fn a_person_gets_the_campaigns_words_and_none_of_his_own() {
    let house = house().await;
    let mail =
        person("eva@cliente.example").subject("Compre barato en http://x.example").id("m1@cliente.example");
    let mail = mail.with(|email| {
        email.reply_to = vec![EmailAddress { address: "otro@lejos.example".into(), name: String::new() }];
    });
    house.take(&[mail]).await;
    assert_eq!(settled(&house).await, ["sent"]);
    let sent = outbound(&house).await;
    assert_eq!(sent.len(), 1);
    let sent = &sent[0];
    assert!(sent.automatic);
    let to: Vec<(&str, &str)> = sent.to.iter().map(|one| (one.address.as_str(), one.name.as_str())).collect();
    assert_eq!(to, [("eva@cliente.example", "")], "the author's address alone, without his name");
    assert_eq!((sent.text.as_str(), sent.html.as_str(), sent.cc.len()), (TEXT, "", 0));
    assert_eq!(sent.subject, "Soporte [#1]");
    assert_eq!(sent.in_reply_to, "m1@cliente.example");
    let attention = house.attentions().await[0].clone();
    assert_eq!(
        house.events(attention.attention_id).await,
        ["attention_opened", "interaction_queued", "message_received", "message_queued"]
    );
    assert_eq!(attention.interactions, ["queued"], "it still waits for an agent");
    // His next words, and a mail of his that begins another attention, get none.
    house.take(&[person("eva@cliente.example").answers(&["m1@cliente.example"])]).await;
    house.take(&[person("eva@cliente.example")]).await;
    assert_eq!(settled(&house).await, ["sent", "within_a_day"]);
    assert_eq!(outbound(&house).await.len(), 1);
}

#[tokio::test]
async fn the_beginning_is_marked_and_only_out_of_hours() {
    let house = house().await;
    let mut sale = person("otto@cliente.example").with(|email| {
        email.to = vec![EmailAddress { address: "ventas@ejemplo.pe".into(), name: String::new() }];
    });
    sale.account = "ventas-mail".into();
    house.take(&[person("eva@cliente.example").class(MailClass::Bulk), sale]).await;
    let marks: Vec<(String, bool)> =
        sqlx::query_as("SELECT campaign_key, out_of_hours FROM attention.interaction ORDER BY campaign_key")
            .fetch_all(house.db.pool())
            .await
            .unwrap();
    assert_eq!(
        marks,
        [("soporte".to_owned(), true), ("ventas".to_owned(), false)],
        "also of a machine's mail"
    );
    let told: Vec<(String, bool)> = sqlx::query_as(
        "SELECT subject, convert_from(payload, 'UTF8')::jsonb @> '{\"outOfHours\": true}' FROM kit.outbox_log
         WHERE stream = 'events' ORDER BY subject",
    )
    .fetch_all(house.db.pool())
    .await
    .unwrap();
    let marked: Vec<&str> =
        told.iter().filter(|(_, marked)| *marked).map(|(subject, _)| subject.as_str()).collect();
    assert_eq!(marked, ["hilo.attention.v1.soporte.interaction_queued"]);
    assert_eq!(settled(&house).await, Vec::<String>::new());
}

#[tokio::test]
async fn machines_and_unproved_senders_get_none() {
    let house = house().await;
    let machines = [
        person("a@x.example").class(MailClass::AutoReply),
        person("b@x.example").class(MailClass::DeliveryReport),
        person("c@x.example").class(MailClass::Bulk),
        person("d@x.example").class(MailClass::Complaint),
        person("e@x.example").with(|email| email.class_reasons = vec!["null-sender".into()]),
        person("no-reply@x.example"),
        Mail::from("f@x.example").dmarc(DmarcResult::Fail),
        Mail::from("g@x.example").dmarc(DmarcResult::NoPolicy),
        Mail::from("h@x.example").dmarc(DmarcResult::TemporaryError),
    ];
    house.take(&machines).await;
    assert_eq!(settled(&house).await, Vec::<String>::new(), "not even noted");
    let listed = person("i@x.example").with(|email| {
        email.to = vec![EmailAddress { address: "lista@x.example".into(), name: String::new() }];
    });
    house.take(&[person("ventas@ejemplo.pe"), listed]).await;
    let mut withheld = settled(&house).await;
    withheld.sort();
    assert_eq!(withheld, ["not_addressed", "own_address"]);
    // The account's switch stands for the missing authentication data.
    let trusted =
        Mail::from("j@x.example").evidence(|evidence| evidence.unauthenticated_replies_accepted = true);
    house.take(&[trusted]).await;
    assert_eq!(settled(&house).await.iter().filter(|one| *one == "sent").count(), 1);
    assert_eq!(outbound(&house).await.len(), 1);
}

#[tokio::test]
async fn one_that_is_late_or_over_the_budget_is_not_sent() {
    let house = house().await;
    house.take(&[person("eva@cliente.example")]).await;
    sqlx::query("UPDATE attention.automatic_reply SET noted_at = now() - interval '2 hours'")
        .execute(house.db.pool())
        .await
        .unwrap();
    assert_eq!(settled(&house).await, ["late"]);
    // As many as the budget allows have been sent within the hour, of this one attention's kind.
    sqlx::query(
        "WITH spent AS (
           INSERT INTO attention.attention (attention_id, number, channel, account_key, campaign_key, contact_id,
             customer_address, state, sequence, interaction_count, lineage_id)
           SELECT gen_random_uuid(), 100000 + n, 'email', 'soporte-mail', 'soporte', contact_id, 'x@x.example', 'open', 1, 1,
             gen_random_uuid()
           FROM attention.attention, generate_series(1, 500) AS n RETURNING attention_id)
         INSERT INTO attention.automatic_reply (attention_id, interaction_id, address, state, settled_at)
         SELECT attention_id, attention_id, attention_id::text, 'sent', now() FROM spent",
    )
    .execute(house.db.pool())
    .await
    .unwrap();
    house.take(&[person("otto@cliente.example")]).await;
    replies(&house).all().await.unwrap();
    let budget = house.count("SELECT count(*) FROM attention.automatic_reply WHERE reason = 'budget'").await;
    assert_eq!(budget, 1);
    assert_eq!(outbound(&house).await, Vec::new());
}

/// Guard: the rule `full`. What an interaction has no room for never comes to its turn again, and others go on.
#[tokio::test]
async fn one_for_a_full_interaction_is_withheld() {
    let house = house().await;
    house.take(&[person("eva@cliente.example")]).await;
    sqlx::query("UPDATE attention.interaction SET message_count = 5000")
        .execute(house.db.pool())
        .await
        .unwrap();
    house.take(&[person("otto@cliente.example")]).await;
    assert_eq!(settled(&house).await, ["full", "sent"]);
}

/// Guard: the place that `all` goes on after. Whatever one of them fails by, the others are sent.
#[tokio::test]
async fn one_that_fails_stays_due_and_holds_up_no_other() {
    let house = house().await;
    house.take(&[person("eva@cliente.example")]).await;
    house.take(&[person("otto@cliente.example")]).await;
    for sql in [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'on purpose'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON attention.message FOR EACH ROW
         WHEN (NEW.to_addresses @> '[{\"address\": \"eva@cliente.example\"}]') EXECUTE FUNCTION refuse()",
    ] {
        sqlx::query(sql).execute(house.db.pool()).await.unwrap();
    }
    replies(&house).all().await.unwrap_err();
    let to: Vec<String> = outbound(&house).await.into_iter().map(|mail| mail.to[0].address.clone()).collect();
    assert_eq!(to, ["otto@cliente.example"]);
    sqlx::query("DROP TRIGGER refuse ON attention.message").execute(house.db.pool()).await.unwrap();
    assert_eq!(settled(&house).await, ["sent", "sent"]);
}

/// Guard: `is_due`. Of two replicas that saw it due one settles it, and the other leaves it as it is.
#[tokio::test]
async fn what_another_replica_settled_meanwhile_stays_settled() {
    let house = house().await;
    house.take(&[person("eva@cliente.example")]).await;
    let slow = replies(&house);
    let seen = slow.next(None).await.unwrap().unwrap();
    assert_eq!(settled(&house).await, ["sent"]);
    assert_eq!(slow.one(seen).await.unwrap(), Step::Elsewhere);
    assert_eq!(settled(&house).await, ["sent"]);
    assert_eq!(outbound(&house).await.len(), 1);
}

/// Two installations whose closed campaigns write to each other, each taking the other's automatic mail for a person's:
/// the worst a relay between them can do to the headers.
#[tokio::test]
async fn two_houses_facing_each_other_send_one_mail_each_at_most() {
    let houses = [house().await, house().await];
    let first = person("soporte@otra.example").id("m0@otra.example");
    houses[0].take(&[first]).await;
    let mut exchanged = [0, 0];
    for round in 0..6 {
        let (here, there) = (round % 2, (round + 1) % 2);
        replies(&houses[here]).all().await.unwrap();
        let sent = outbound(&houses[here]).await;
        for mail in sent.iter().skip(exchanged[here]) {
            let mut arriving = person("soporte@otra.example").id(&mail.message_id);
            arriving.conversation = Uuid::now_v7();
            houses[there].take(&[arriving.subject(&mail.subject)]).await;
        }
        exchanged[here] = sent.len();
    }
    assert_eq!(exchanged, [1, 1]);
}
