//! Tests of intake, desk and sending on a real database: fixtures shared by the files beside this one.

mod composing;
mod concurrency;
mod conforming;
mod contact_changes;
mod contact_merge;
mod contacts;
mod delivery;
mod delivery_of_one;
mod desk;
mod desk_list;
mod dialer_answers;
mod dialer_halting;
mod dialer_import;
mod dialer_rig;
mod dialer_stops;
mod dialing;
mod events;
mod files;
mod flood;
mod guards;
mod hand;
mod hours;
mod intake;
mod large;
mod purge;
mod quick;
mod reopen;
mod retrying;
mod sending;
mod service;
mod start;
mod tags;
mod templates;
mod threading;
mod watching;
mod whatsapp;
mod whatsapp_again;
mod whatsapp_asides;
mod whatsapp_changes;
mod whatsapp_early;
mod whatsapp_files;
mod whatsapp_hours;
mod whatsapp_kinds;
mod whatsapp_numbers;
mod whatsapp_order;
mod whatsapp_reached;
mod whatsapp_rig;
mod whatsapp_service;
mod whatsapp_start;
mod whatsapp_window;

use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::db::Db;
use hilo_kit::nats::Subjects;
use hilo_kit::outbox::{HEADER_ID, HEADER_KEY, HEADER_SEQUENCE};
use hilo_proto::attention::v1::{EndInteractionRequest, OpenInteractionRequest, OpenInteractionResponse};
use hilo_proto::inbound::v1::inbound_envelope::Content;
use hilo_proto::inbound::v1::{
    DmarcResult, EmailAddress, InboundEmail, InboundEnvelope, MailClass, ThreadingEvidence,
};
use prost::Message as _;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attention::domain::AttentionId;
use crate::desk::act::Actions;
use crate::directory::testing::{apply, database, directory_of};
use crate::directory::{self, Access};
use crate::intake::{DeliveryHandler, InboundHandler};

/// Key of the tokens.
pub(crate) const THREAD_KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A service without broker and ports: campaigns `soporte` (ana, luis) and `ventas` (rosa).
pub(crate) struct House {
    pub db: Db,
    pub inbound: InboundHandler,
    pub delivery: DeliveryHandler,
    pub actions: Actions,
}

impl House {
    pub(crate) async fn open() -> Self {
        let db = database().await;
        apply(&db, &directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "")).await;
        Self::at(db)
    }

    pub(crate) fn at(db: Db) -> Self {
        let subjects = Subjects::new("hilo").unwrap();
        Self {
            inbound: InboundHandler::new(db.clone(), subjects.clone()),
            delivery: DeliveryHandler::new(db.clone(), subjects.clone()),
            actions: Actions::new(db.clone(), subjects, THREAD_KEY.to_vec()),
            db,
        }
    }

    /// Takes mails in one batch that must all be committed.
    pub(crate) async fn take(&self, mails: &[Mail]) {
        for (mail, outcome) in mails.iter().zip(self.try_take(mails).await) {
            assert!(matches!(outcome, Outcome::Ack), "{:?}: {outcome:?}", mail.email.subject);
        }
    }

    pub(crate) async fn try_take(&self, mails: &[Mail]) -> Vec<Outcome> {
        let batch: Vec<Delivery> = mails.iter().map(Mail::delivery).collect();
        self.inbound.handle(&batch).await
    }

    pub(crate) async fn access(&self, user: &str) -> Access {
        let user = user.to_owned();
        self.db
            .read(move |conn| Box::pin(async move { directory::access(conn, &user).await }))
            .await
            .unwrap()
            .unwrap()
    }

    pub(crate) async fn open_item(&self, user: &str, interaction: Uuid) -> OpenInteractionResponse {
        let request = OpenInteractionRequest { interaction_id: interaction.to_string(), request_id: fresh() };
        self.actions.open(self.access(user).await, request).await.unwrap()
    }

    /// Opens as ana and ends.
    pub(crate) async fn end_item(&self, interaction: Uuid, close: bool) {
        self.open_item("ana", interaction).await;
        let request = EndInteractionRequest {
            interaction_id: interaction.to_string(),
            close_attention: close,
            request_id: fresh(),
        };
        self.actions.end(self.access("ana").await, request).await.unwrap();
    }

    /// All attentions by number.
    pub(crate) async fn attentions(&self) -> Vec<Seen> {
        sqlx::query_as(
            "SELECT attention_id, state, linked_attention_id, lineage_id, participants, campaign_key,
               (SELECT count(*) FROM attention.message m WHERE m.attention_id = a.attention_id) AS messages,
               (SELECT array_agg(state ORDER BY ordinal) FROM attention.interaction i
                WHERE i.attention_id = a.attention_id) AS interactions,
               (SELECT interaction_id FROM attention.interaction i WHERE i.attention_id = a.attention_id
                ORDER BY ordinal DESC LIMIT 1) AS last_interaction,
               (SELECT sender_verified FROM attention.interaction i WHERE i.attention_id = a.attention_id
                ORDER BY ordinal DESC LIMIT 1) AS sender_verified
             FROM attention.attention a ORDER BY number",
        )
        .fetch_all(self.db.pool())
        .await
        .unwrap()
    }

    /// Names of the events of an attention in sequence, which must be gapless from 1.
    pub(crate) async fn events(&self, attention: Uuid) -> Vec<String> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT sequence, subject FROM kit.outbox_log WHERE stream = 'events' AND key = $1 ORDER BY sequence",
        )
        .bind(attention)
        .fetch_all(self.db.pool())
        .await
        .unwrap();
        for ((sequence, _), expected) in rows.iter().zip(1..) {
            assert_eq!(*sequence, expected, "gap in the events of {attention}");
        }
        rows.into_iter().map(|(_, subject)| subject.rsplit('.').next().unwrap().to_owned()).collect()
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.db.pool()).await.unwrap()
    }
}

/// An attention as tests look at it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Seen {
    pub attention_id: Uuid,
    pub state: String,
    pub linked_attention_id: Option<Uuid>,
    pub lineage_id: Uuid,
    pub participants: Vec<String>,
    pub campaign_key: String,
    pub messages: i64,
    pub interactions: Vec<String>,
    pub last_interaction: Uuid,
    pub sender_verified: bool,
}

pub(crate) fn fresh() -> String {
    Uuid::new_v4().to_string()
}

/// A mail to be taken in.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub delivery_id: Uuid,
    pub ledger: Uuid,
    pub account: String,
    pub conversation: Uuid,
    pub number: i64,
    pub email: InboundEmail,
}

impl Mail {
    /// Of a customer whose domain publishes no policy.
    pub(crate) fn from(address: &str) -> Self {
        let evidence =
            ThreadingEvidence { dmarc: DmarcResult::NoPolicy.into(), ..ThreadingEvidence::default() };
        Self {
            delivery_id: Uuid::now_v7(),
            ledger: Uuid::now_v7(),
            account: "soporte-mail".into(),
            conversation: Uuid::now_v7(),
            number: 1,
            email: InboundEmail {
                message_id: format!("{}@cliente.example", Uuid::now_v7()),
                from: Some(EmailAddress { address: address.into(), name: "Eva Quispe".into() }),
                to: vec![EmailAddress { address: "soporte@ejemplo.pe".into(), name: String::new() }],
                envelope_recipients: vec!["soporte@ejemplo.pe".into()],
                subject: "No llegó mi pedido".into(),
                text: "Hola,\n\nno llegó.".into(),
                evidence: Some(evidence),
                mail_class: MailClass::Human.into(),
                ..InboundEmail::default()
            },
        }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut InboundEmail)) -> Self {
        change(&mut self.email);
        self
    }

    pub(crate) fn evidence(mut self, change: impl FnOnce(&mut ThreadingEvidence)) -> Self {
        change(self.email.evidence.as_mut().unwrap());
        self
    }

    pub(crate) fn id(self, message_id: &str) -> Self {
        self.with(|email| email.message_id = message_id.into())
    }

    pub(crate) fn answers(self, references: &[&str]) -> Self {
        self.evidence(|evidence| evidence.references = references.iter().map(|id| (*id).to_owned()).collect())
    }

    pub(crate) fn token(self, attention: Uuid) -> Self {
        self.evidence(|evidence| evidence.token_attention_ids = vec![AttentionId(attention).to_string()])
    }

    pub(crate) fn dmarc(self, result: DmarcResult) -> Self {
        self.evidence(|evidence| evidence.dmarc = result.into())
    }

    pub(crate) fn class(self, class: MailClass) -> Self {
        self.with(|email| email.mail_class = class.into())
    }

    pub(crate) fn subject(self, subject: &str) -> Self {
        self.with(|email| email.subject = subject.into())
    }

    pub(crate) fn envelope(&self) -> InboundEnvelope {
        InboundEnvelope {
            ledger_id: self.ledger.to_string(),
            account_key: self.account.clone(),
            conversation_key: self.conversation.to_string(),
            sequence: self.number,
            received_at: Some(hilo_kit::clock::to_proto(OffsetDateTime::now_utc())),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            content: Some(Content::Email(self.email.clone())),
        }
    }

    pub(crate) fn delivery(&self) -> Delivery {
        let headers = vec![
            (HEADER_ID.to_owned(), self.delivery_id.to_string()),
            (HEADER_KEY.to_owned(), self.conversation.to_string()),
            (HEADER_SEQUENCE.to_owned(), self.number.to_string()),
        ];
        Delivery::new("hilo.inbound.email.soporte-mail", headers, self.envelope().encode_to_vec())
    }
}
