//! A mail sent again by a person: to whom, in which order, and what later reports mean.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::nats::Subjects;
use hilo_kit::outbox::HEADER_ID;
use hilo_proto::attention::v1::{RetryMessageRequest, SendMessageRequest};
use hilo_proto::delivery::v1::{DeliveryEnvelope, RecipientState, SendState};
use hilo_proto::history::v1::ThreadMessage;
use hilo_proto::inbound::v1::EmailAddress;
use prost::Message as _;
use uuid::Uuid;

use super::sending::{request, sent};
use super::{House, Mail, THREAD_KEY, fresh};
use crate::attention::domain::{InteractionId, UserKey};
use crate::attention::envelope::Post;
use crate::attention::store::Wait;
use crate::attention::work::Work;
use crate::attention::{purge, retry};

const EVA: &str = "eva@cliente.example";
const JEFA: &str = "jefa@cliente.example";

struct Sent {
    house: House,
    interaction: Uuid,
    attention: Uuid,
    message: String,
}

impl Sent {
    async fn open() -> Self {
        let house = House::open().await;
        house.take(&[Mail::from(EVA).id("m1@x")]).await;
        let seen = house.attentions().await[0].clone();
        house.open_item("ana", seen.last_interaction).await;
        let letter = SendMessageRequest {
            cc: vec![EmailAddress { address: JEFA.into(), name: String::new() }],
            ..request(seen.last_interaction, "Hola")
        };
        let message = house.actions.send(house.access("ana").await, letter).await.unwrap().message.unwrap();
        let message = message.message_id;
        Self { house, interaction: seen.last_interaction, attention: seen.attention_id, message }
    }

    async fn report(&self, send: &str, whole: SendState, recipients: &[(&str, SendState)]) {
        self.take(&[reported(send, whole, recipients)]).await;
    }

    async fn take(&self, reports: &[Delivery]) {
        let outcomes = self.house.delivery.handle(reports).await;
        assert!(outcomes.iter().all(|one| matches!(one, Outcome::Ack)), "{outcomes:?}");
    }

    /// States of the recipients as stored, by address.
    async fn recipients(&self) -> Vec<(String, String)> {
        sqlx::query_as(
            "SELECT one ->> 'address', one ->> 'state' FROM attention.message, jsonb_array_elements(delivery_recipients) AS one
             WHERE direction = 'outbound' ORDER BY 1",
        )
        .fetch_all(self.house.db.pool())
        .await
        .unwrap()
    }

    async fn are(&self, eva: &str, jefa: &str) {
        let expected = [(EVA.to_owned(), eva.to_owned()), (JEFA.to_owned(), jefa.to_owned())];
        assert_eq!(self.recipients().await, expected);
    }

    async fn retry(&self, user: &str) -> Result<ThreadMessage, String> {
        let request = RetryMessageRequest { message_id: self.message.clone(), request_id: fresh() };
        let answer = self.house.actions.retry(self.house.access(user).await, request).await;
        answer.map(|answer| answer.message.unwrap()).map_err(|error| error.reason().to_owned())
    }

    async fn state(&self) -> String {
        sqlx::query_scalar("SELECT delivery_state FROM attention.message WHERE direction = 'outbound'")
            .fetch_one(self.house.db.pool())
            .await
            .unwrap()
    }

    /// Id of the newest send.
    async fn newest(&self) -> String {
        sent(&self.house).await.pop().unwrap().0.send_id
    }
}

fn reported(send: &str, whole: SendState, recipients: &[(&str, SendState)]) -> Delivery {
    let recipients = recipients
        .iter()
        .map(|(address, state)| RecipientState {
            address: (*address).into(),
            state: (*state).into(),
            reply_code: 550,
            enhanced_code: "5.7.1".into(),
            reply_text: "no".into(),
        })
        .collect();
    let envelope = DeliveryEnvelope {
        report_id: fresh(),
        send_id: send.into(),
        state: whole.into(),
        recipients,
        ..DeliveryEnvelope::default()
    };
    let headers = vec![(HEADER_ID.to_owned(), Uuid::now_v7().to_string())];
    Delivery::new("hilo.delivery.email.soporte-mail", headers, envelope.encode_to_vec())
}

#[tokio::test]
async fn only_those_it_has_not_reached_get_it_again() {
    use SendState::{Failed, Sent as Reached, Unknown};
    let mail = Sent::open().await;
    assert_eq!(mail.retry("ana").await.unwrap_err(), "NOTHING_TO_RETRY", "it is on its way");
    mail.report(&mail.message, Reached, &[(EVA, Reached), (JEFA, Failed)]).await;
    let again = mail.retry("ana").await.unwrap();
    assert_eq!(again.delivery_state, "queued");
    let states: Vec<(&str, &str)> =
        again.recipients.iter().map(|one| (one.address.as_str(), one.delivery_state.as_str())).collect();
    assert_eq!(states, [(EVA, "sent"), (JEFA, "queued")]);
    let sends = sent(&mail.house).await;
    let [(first, one), (second, two)] = sends.as_slice() else { panic!("{sends:?}") };
    assert_eq!((first.sequence, second.sequence), (1, 2));
    assert_ne!(first.send_id, second.send_id);
    assert_eq!(two.only_recipients, [JEFA]);
    assert_eq!(
        (&one.message_id, &one.references, &one.in_reply_to),
        (&two.message_id, &two.references, &two.in_reply_to)
    );
    assert_eq!((&one.to, &one.cc, &one.text, &one.reply_to), (&two.to, &two.cc, &two.text, &two.reply_to));
    assert_eq!(mail.retry("ana").await.unwrap_err(), "NOTHING_TO_RETRY");
    // Its report is about her alone, and the whole is what all of them make of it.
    mail.report(&second.send_id, Unknown, &[(JEFA, Unknown)]).await;
    assert_eq!(mail.state().await, "unknown");
    mail.retry("ana").await.unwrap();
    mail.report(&mail.newest().await, Reached, &[(JEFA, Reached)]).await;
    assert_eq!(mail.state().await, "sent");
    assert_eq!(mail.retry("ana").await.unwrap_err(), "NOTHING_TO_RETRY");
    let events = mail.house.events(mail.attention).await;
    assert_eq!(events.iter().filter(|name| *name == "message_status_changed").count(), 5);
}

#[tokio::test]
async fn of_an_earlier_send_only_success_counts() {
    use SendState::{Failed, Sent as Reached, Unknown};
    let mail = Sent::open().await;
    mail.report(&mail.message, Unknown, &[(EVA, Unknown), (JEFA, Unknown)]).await;
    mail.retry("ana").await.unwrap();
    mail.report(&mail.message, Failed, &[(EVA, Failed), (JEFA, Failed)]).await;
    assert_eq!(mail.state().await, "queued", "the repetition is still on its way");
    mail.report(&mail.message, Reached, &[(EVA, Reached), (JEFA, Reached)]).await;
    assert_eq!(mail.state().await, "sent");
}

/// Guard: `counted`. The late report of the first send is true of that send; whom it failed the repetition has reached.
#[tokio::test]
async fn a_late_report_of_an_earlier_send_takes_nobody_from_those_the_repetition_reached() {
    use SendState::{Failed, Sent as Reached, Unknown};
    let mail = Sent::open().await;
    mail.report(&mail.message, Unknown, &[(EVA, Unknown), (JEFA, Failed)]).await;
    mail.retry("ana").await.unwrap();
    mail.report(&mail.newest().await, Reached, &[(EVA, Reached), (JEFA, Reached)]).await;
    mail.report(&mail.message, Reached, &[(EVA, Reached), (JEFA, Failed)]).await;
    mail.are("sent", "sent").await;
    assert_eq!(mail.retry("ana").await.unwrap_err(), "NOTHING_TO_RETRY", "a third copy");
}

/// Guard: `StoredRecipient::send`. Whom the repetition left out may still come back from the send that reached him.
#[tokio::test]
async fn whom_the_repetition_left_out_may_still_come_back() {
    use SendState::{Bounced, Failed, Sent as Reached};
    let mail = Sent::open().await;
    mail.report(&mail.message, Reached, &[(EVA, Reached), (JEFA, Failed)]).await;
    mail.retry("ana").await.unwrap();
    mail.report(&mail.newest().await, Reached, &[(JEFA, Reached)]).await;
    mail.report(&mail.message, Bounced, &[(EVA, Failed), (JEFA, Failed)]).await;
    mail.are("failed", "sent").await;
    mail.retry("ana").await.unwrap();
    assert_eq!(sent(&mail.house).await.pop().unwrap().1.only_recipients, [EVA]);
}

/// Guard: the recipients that a batch keeps when a report changes no state.
#[tokio::test]
async fn reports_of_one_batch_build_on_each_other() {
    use SendState::{Failed, Sent as Reached};
    let mail = Sent::open().await;
    mail.report(&mail.message, Reached, &[(EVA, Reached), (JEFA, Failed)]).await;
    mail.retry("ana").await.unwrap();
    let newest = mail.newest().await;
    mail.report(&newest, Reached, &[(JEFA, Reached)]).await;
    // Both came back, each reported of its own send, in one batch.
    let batch =
        [reported(&newest, Reached, &[(JEFA, Failed)]), reported(&mail.message, Reached, &[(EVA, Reached)])];
    mail.take(&batch).await;
    mail.are("sent", "failed").await;
}

/// What becomes of one of several is kept though the whole stays in doubt, and is not taken back by a report that comes late.
#[tokio::test]
async fn whom_it_reached_is_known_while_others_are_in_doubt() {
    use SendState::{Sent as Reached, Unknown};
    let mail = Sent::open().await;
    let both = [(EVA, Unknown), (JEFA, Unknown)];
    mail.report(&mail.message, Unknown, &both).await;
    mail.report(&mail.message, Unknown, &[(EVA, Reached), (JEFA, Unknown)]).await;
    mail.report(&mail.message, Unknown, &both).await;
    mail.are("sent", "unknown").await;
    mail.retry("ana").await.unwrap();
    assert_eq!(sent(&mail.house).await.pop().unwrap().1.only_recipients, [JEFA]);
}

/// Guard: the second look of `retry`. A purge that held the lock meanwhile leaves nothing to send.
#[tokio::test]
async fn what_the_purge_took_under_the_lock_is_not_sent_empty() {
    let mail = Sent::open().await;
    mail.report(&mail.message, SendState::Failed, &[]).await;
    mail.house.end_item(mail.interaction, false).await;
    sqlx::query("UPDATE attention.interaction SET confirmed_version = version, confirmed_at = now()")
        .execute(mail.house.db.pool())
        .await
        .unwrap();
    let purged = purge::all(&mail.house.db, Duration::ZERO).await.unwrap();
    assert_eq!((purged, mail.retry("ana").await.unwrap_err().as_str()), (1, "MESSAGE_NOT_FOUND"));
    // The caller looked before the purge and has the lock after it.
    let (interaction, message) = (InteractionId(mail.interaction), mail.message.parse().unwrap());
    let post = Post {
        subjects: Arc::new(Subjects::new("hilo").unwrap()),
        thread_key: Arc::new(THREAD_KEY.to_vec()),
        objects: None,
    };
    let after = mail.house.db.transaction(move |tx| {
        let post = post.clone();
        Box::pin(async move {
            let mut work = Work::lock(tx, &[interaction], Wait::Block).await?;
            retry::retry(tx, &post, &mut work, &UserKey::new("ana"), message).await
        })
    });
    assert_eq!(after.await.unwrap_err().reason(), "MESSAGE_NOT_FOUND");
    assert_eq!(sent(&mail.house).await.len(), 1);
}

#[tokio::test]
async fn whoever_serves_the_campaign_may_have_it_sent_again_also_after_the_end() {
    let mail = Sent::open().await;
    mail.report(&mail.message, SendState::Failed, &[]).await;
    assert_eq!(mail.retry("luis").await.unwrap_err(), "NOT_YOURS", "ana has it open");
    assert_eq!(mail.retry("rosa").await.unwrap_err(), "MESSAGE_NOT_FOUND");
    mail.house.end_item(mail.interaction, true).await;
    let version = mail.house.count("SELECT version FROM attention.interaction").await;
    mail.retry("luis").await.unwrap();
    assert_eq!(sent(&mail.house).await.pop().unwrap().1.only_recipients, [EVA, JEFA]);
    assert!(
        mail.house.count("SELECT version FROM attention.interaction").await > version,
        "history reads it anew"
    );
    // The customer's own mail is not ours to send.
    let inbound: Uuid =
        sqlx::query_scalar("SELECT message_id FROM attention.message WHERE direction = 'inbound'")
            .fetch_one(mail.house.db.pool())
            .await
            .unwrap();
    let request = RetryMessageRequest { message_id: inbound.to_string(), request_id: fresh() };
    let error = mail.house.actions.retry(mail.house.access("ana").await, request).await.unwrap_err();
    assert_eq!(error.reason(), "MESSAGE_NOT_FOUND");
}

#[tokio::test]
async fn one_request_id_sends_again_once() {
    let mail = Sent::open().await;
    mail.report(&mail.message, SendState::Failed, &[(EVA, SendState::Failed)]).await;
    let request = RetryMessageRequest { message_id: mail.message.clone(), request_id: fresh() };
    for _ in 0..2 {
        mail.house.actions.retry(mail.house.access("ana").await, request.clone()).await.unwrap();
    }
    assert_eq!(sent(&mail.house).await.len(), 2);
}
