//! One of several recipients: what became of him reaches subscribers and the history, also when the mail as a whole stays what it
//! was, and also after the end.

use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::outbox::HEADER_ID;
use hilo_proto::attention::v1::SendMessageRequest;
use hilo_proto::delivery::v1::{DeliveryEnvelope, RecipientState, SendState};
use hilo_proto::history::v1::Thread;
use hilo_proto::inbound::v1::EmailAddress;
use prost::Message as _;
use uuid::Uuid;

use super::sending::{addresses, request};
use super::{House, Mail, fresh};
use crate::attention::ended;

const EVA: &str = "eva@cliente.example";
const JEFA: &str = "jefa@hilo.example";

struct Sent {
    house: House,
    attention: Uuid,
    interaction: Uuid,
    send: String,
}

impl Sent {
    /// A mail to eva with a hidden recipient.
    async fn open() -> Self {
        let house = House::open().await;
        house.take(&[Mail::from(EVA)]).await;
        let seen = house.attentions().await[0].clone();
        house.open_item("ana", seen.last_interaction).await;
        let letter = SendMessageRequest {
            bcc: vec![EmailAddress { address: JEFA.into(), name: String::new() }],
            ..request(seen.last_interaction, "Hola")
        };
        let sent = house.actions.send(house.access("ana").await, letter).await.unwrap().message.unwrap();
        let (attention, interaction) = (seen.attention_id, seen.last_interaction);
        Self { house, attention, interaction, send: sent.message_id }
    }

    async fn report(&self, whole: SendState, eva: SendState, jefa: SendState) {
        let recipients = [(EVA, eva), (JEFA, jefa)].map(|(address, state)| RecipientState {
            address: address.into(),
            state: state.into(),
            reply_code: 550,
            enhanced_code: "5.1.1".into(),
            reply_text: "no such user".into(),
        });
        let envelope = DeliveryEnvelope {
            report_id: fresh(),
            send_id: self.send.clone(),
            state: whole.into(),
            recipients: recipients.into(),
            ..DeliveryEnvelope::default()
        };
        let headers = vec![(HEADER_ID.to_owned(), Uuid::now_v7().to_string())];
        let delivery = Delivery::new("hilo.delivery.email.soporte-mail", headers, envelope.encode_to_vec());
        let outcomes = self.house.delivery.handle(&[delivery]).await;
        assert!(matches!(outcomes.as_slice(), [Outcome::Ack]), "{outcomes:?}");
    }

    /// How many events told of a change.
    async fn changes(&self) -> usize {
        let events = self.house.events(self.attention).await;
        events.iter().filter(|name| *name == "message_status_changed").count()
    }

    async fn version(&self) -> i64 {
        self.house.count("SELECT version FROM attention.interaction").await
    }

    /// What history is still to fetch, and confirms.
    async fn fetched(&self) -> Option<Thread> {
        let id = self.interaction;
        let db = &self.house.db;
        let open = db.read(|conn| Box::pin(async move { ended::unconfirmed(conn, None, 10).await }));
        let version = open.await.unwrap().first()?.version;
        let thread =
            db.snapshot(move |tx| Box::pin(async move { ended::whole(tx, id).await })).await.unwrap();
        let stored = move || vec![(id, version)];
        let confirm = db.transaction(move |tx| {
            let stored = stored();
            Box::pin(async move { ended::confirm(tx, &stored).await })
        });
        assert_eq!(confirm.await.unwrap(), 1);
        thread
    }
}

fn states(thread: &Thread) -> (String, Vec<(String, String)>) {
    let mail = thread.messages.last().unwrap();
    let of =
        |one: &hilo_proto::history::v1::RecipientDelivery| (one.address.clone(), one.delivery_state.clone());
    (mail.delivery_state.clone(), mail.recipients.iter().map(of).collect())
}

#[tokio::test]
async fn one_of_two_who_bounces_after_the_end_reaches_history_and_subscribers_once() {
    use SendState::{Failed, Sent as Done};
    let sent = Sent::open().await;
    sent.report(Done, Done, Done).await;
    sent.house.end_item(sent.interaction, true).await;
    let known = sent.fetched().await.unwrap();
    let both = |jefa: &str| vec![(EVA.to_owned(), "sent".to_owned()), (JEFA.to_owned(), jefa.to_owned())];
    assert_eq!(states(&known), ("sent".to_owned(), both("sent")));
    assert_eq!(addresses(&known.messages.last().unwrap().bcc), [JEFA]);
    let (changes, version) = (sent.changes().await, sent.version().await);
    assert!(sent.fetched().await.is_none());

    sent.report(Done, Done, Failed).await;
    assert_eq!((sent.changes().await, sent.version().await), (changes + 1, version + 1));
    let patch = sent.fetched().await.unwrap();
    assert_eq!(states(&patch), ("sent".to_owned(), both("failed")));

    // The same told again, by a report of its own, is nothing new.
    sent.report(Done, Done, Failed).await;
    assert_eq!((sent.changes().await, sent.version().await), (changes + 1, version + 1));
    assert!(sent.fetched().await.is_none());
}

#[tokio::test]
async fn of_a_mail_that_still_waits_for_one_the_other_is_told_and_why_it_waits_is_not() {
    use SendState::{Queued, Sent as Done};
    let sent = Sent::open().await;
    let before = sent.changes().await;
    sent.report(Queued, Queued, Queued).await;
    assert_eq!(sent.changes().await, before);
    sent.report(Queued, Done, Queued).await;
    sent.report(Queued, Done, Queued).await;
    assert_eq!(sent.changes().await, before + 1);
    sent.report(Done, Done, Done).await;
    assert_eq!(sent.changes().await, before + 2);
}
