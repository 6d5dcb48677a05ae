//! Fixtures of the tests of WhatsApp: a house with its campaigns, items of customers, what was handed to the channel.

use hilo_kit::clock::to_proto;
use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::outbox::{HEADER_ID, HEADER_KEY, HEADER_SEQUENCE};
use hilo_proto::attention::v1::{SendMessageRequest, SendMessageResponse};
use hilo_proto::history::v1::ThreadMessage;
use hilo_proto::inbound::v1::inbound_envelope::Content;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{InboundEnvelope, InboundWhatsApp, WhatsAppIdentity, WhatsAppText};
use hilo_proto::outbound::v1::outbound_envelope::Content as Outbound;
use hilo_proto::outbound::v1::{OutboundEnvelope, OutboundWhatsApp};
use prost::Message as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{House, Seen, fresh};
use crate::attention::store::thread;
use crate::directory::testing::{apply, database, directory_of};

pub(super) const EVA: &str = "51987654321";

/// A house with the WhatsApp campaigns `chat` (ana, luis) and `ventas-chat` (rosa).
pub(super) async fn house() -> House {
    let db = database().await;
    apply(&db, &directory()).await;
    House::at(db)
}

pub(super) fn directory() -> String {
    let mail = directory_of(&[("soporte", &["ana", "luis"]), ("ventas", &["rosa"])], "");
    let account = |key: &str, number: &str| {
        format!(
            "  - {{key: {key}, channel: whatsapp, display_name: Soporte, whatsapp: {{phone_number_id: \"{number}\", \
             business_account_id: \"9\", display_number: +51{number}, access_token_secret: T, \
             app_secret_secret: A, verify_token_secret: V}}}}\n"
        )
    };
    let campaign = |key: &str, account: &str, members: &str| {
        format!(
            "  - {{key: {key}, name: {key}, channel: whatsapp, accounts: [{account}], members: [{members}], \
             assignment_mode: round_robin}}\n"
        )
    };
    mail.replacen(
        "accounts:\n",
        &format!("accounts:\n{}{}", account("chat-wa", "100000001"), account("ventas-wa", "100000002")),
        1,
    )
    .replacen(
        "campaigns:\n",
        &format!(
            "campaigns:\n{}{}",
            campaign("chat", "chat-wa", "ana, luis"),
            campaign("ventas-chat", "ventas-wa", "rosa")
        ),
        1,
    )
}

/// An item to be taken in.
#[derive(Clone, Debug)]
pub(super) struct Chat {
    pub delivery_id: Uuid,
    pub ledger: Uuid,
    pub account: String,
    pub conversation: Uuid,
    pub number: i64,
    pub item: InboundWhatsApp,
}

impl Chat {
    /// Text of a customer with this number, written now.
    pub(super) fn from(wa_id: &str) -> Self {
        let customer = WhatsAppIdentity {
            wa_id: wa_id.into(),
            phone: format!("+{wa_id}"),
            profile_name: "Eva Quispe".into(),
            ..WhatsAppIdentity::default()
        };
        Self {
            delivery_id: Uuid::now_v7(),
            ledger: Uuid::now_v7(),
            account: "chat-wa".into(),
            conversation: Uuid::new_v5_of(wa_id),
            number: 1,
            item: InboundWhatsApp {
                wamid: format!("wamid.{}", Uuid::now_v7()),
                customer: Some(customer),
                sent_at: Some(to_proto(OffsetDateTime::now_utc())),
                kind: Some(Kind::Text(WhatsAppText { body: "Hola,\n\nno llegó.".into() })),
                ..InboundWhatsApp::default()
            },
        }
    }

    pub(super) fn says(self, body: &str) -> Self {
        self.kind(Kind::Text(WhatsAppText { body: body.into() }))
    }

    pub(super) fn kind(mut self, kind: Kind) -> Self {
        self.item.kind = Some(kind);
        self
    }

    pub(super) fn wamid(mut self, wamid: &str) -> Self {
        self.item.wamid = wamid.into();
        self
    }

    pub(super) fn who(mut self, change: impl FnOnce(&mut WhatsAppIdentity)) -> Self {
        change(self.item.customer.as_mut().unwrap());
        self
    }

    pub(super) fn at(mut self, instant: OffsetDateTime) -> Self {
        self.item.sent_at = Some(to_proto(instant));
        self
    }

    pub(super) fn to(mut self, account: &str) -> Self {
        self.account = account.into();
        self
    }

    pub(super) fn delivery(&self) -> Delivery {
        let envelope = InboundEnvelope {
            ledger_id: self.ledger.to_string(),
            account_key: self.account.clone(),
            conversation_key: self.conversation.to_string(),
            sequence: self.number,
            received_at: Some(to_proto(OffsetDateTime::now_utc())),
            traceparent: String::new(),
            content: Some(Content::Whatsapp(self.item.clone())),
        };
        let headers = vec![
            (HEADER_ID.to_owned(), self.delivery_id.to_string()),
            (HEADER_KEY.to_owned(), self.conversation.to_string()),
            (HEADER_SEQUENCE.to_owned(), self.number.to_string()),
        ];
        Delivery::new("hilo.inbound.whatsapp.chat-wa", headers, envelope.encode_to_vec())
    }
}

/// A conversation key per customer, as the channel's ledger makes one.
trait OfCustomer {
    fn new_v5_of(text: &str) -> Uuid;
}

impl OfCustomer for Uuid {
    fn new_v5_of(text: &str) -> Uuid {
        let sum = text.bytes().fold(7_u128, |sum, byte| sum.wrapping_mul(1_000_003) ^ u128::from(byte));
        Uuid::from_u128(sum)
    }
}

pub(super) async fn offer(house: &House, items: &[Chat]) -> Vec<Outcome> {
    let batch: Vec<Delivery> = items.iter().map(Chat::delivery).collect();
    house.inbound.handle(&batch).await
}

/// Takes items in one batch that must all be committed.
pub(super) async fn take(house: &House, items: &[Chat]) {
    for outcome in offer(house, items).await {
        assert!(matches!(outcome, Outcome::Ack), "{outcome:?}");
    }
}

pub(super) async fn only(house: &House) -> Seen {
    let all = house.attentions().await;
    let [only] = all.as_slice() else { panic!("{all:?}") };
    only.clone()
}

pub(super) async fn messages(house: &House, attention: Uuid) -> Vec<ThreadMessage> {
    let page = house
        .db
        .read(move |conn| Box::pin(async move { thread::page(conn, attention, None, i64::MAX, 100).await }))
        .await
        .unwrap();
    page.into_iter().map(|(_, message)| message).collect()
}

pub(super) async fn send(
    house: &House,
    user: &str,
    interaction: Uuid,
    change: impl FnOnce(&mut SendMessageRequest),
) -> Result<SendMessageResponse, hilo_kit::Error> {
    let mut request = SendMessageRequest {
        interaction_id: interaction.to_string(),
        request_id: fresh(),
        text: "Buenos días, ya lo reviso.".into(),
        ..SendMessageRequest::default()
    };
    change(&mut request);
    house.actions.send(house.access(user).await, request).await
}

/// What was handed to the channel, oldest first.
pub(super) async fn outbound(house: &House) -> Vec<(OutboundEnvelope, OutboundWhatsApp)> {
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT payload FROM kit.outbox_log WHERE stream = 'outbound' ORDER BY position")
            .fetch_all(house.db.pool())
            .await
            .unwrap();
    rows.iter()
        .map(|row| {
            let envelope = OutboundEnvelope::decode(row.as_slice()).unwrap();
            let Some(Outbound::Whatsapp(content)) = envelope.content.clone() else { panic!("{envelope:?}") };
            (envelope, content)
        })
        .collect()
}

pub(super) async fn identities(house: &House) -> Vec<(String, String)> {
    sqlx::query_as("SELECT kind, value FROM contact.identity ORDER BY contact_id, kind, value")
        .fetch_all(house.db.pool())
        .await
        .unwrap()
}
