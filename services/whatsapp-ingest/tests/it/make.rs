//! What tests post and publish, made in few words.

use hilo_kit::ids::Uuid;
use hilo_proto::directory::v1::{Account, WhatsAppSettings};
use hilo_proto::inbound::v1::WhatsAppIdentity;
use hilo_proto::outbound::v1::outbound_whats_app::Kind;
use hilo_proto::outbound::v1::{OutboundEnvelope, OutboundWhatsApp, SendText, outbound_envelope};
use serde_json::{Value, json};

use crate::rig::CUSTOMER;

pub fn account(key: &str, phone_number_id: &str, app: &str) -> Account {
    Account {
        key: key.into(),
        channel: "whatsapp".into(),
        active: true,
        whatsapp: Some(WhatsAppSettings {
            phone_number_id: phone_number_id.into(),
            business_account_id: "102290129340398".into(),
            display_number: "+15550783881".into(),
            access_token_secret: "token".into(),
            app_secret_secret: app.into(),
            verify_token_secret: "verify".into(),
            messages_per_second: 80,
        }),
        ..Account::default()
    }
}

/// A webhook with these messages and statuses of the number.
pub fn webhook(number: &str, messages: Vec<Value>, statuses: Vec<Value>) -> Value {
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "102290129340398", "changes": [{
        "field": "messages", "value": { "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "15550783881", "phone_number_id": number },
            "contacts": [{ "profile": { "name": "Ana" }, "wa_id": CUSTOMER }],
            "messages": messages, "statuses": statuses } }] }] })
}

/// A text of the customer.
pub fn said(wamid: &str, body: &str) -> Value {
    json!({ "from": CUSTOMER, "id": wamid, "timestamp": "1749416383", "type": "text", "text": { "body": body } })
}

/// A status of a message of ours.
pub fn told(wamid: &str, status: &str, send: Option<Uuid>) -> Value {
    let mut told =
        json!({ "id": wamid, "status": status, "timestamp": "1749416390", "recipient_id": CUSTOMER });
    if let Some(send) = send {
        told["biz_opaque_callback_data"] = json!(send.to_string());
    }
    if status == "failed" {
        told["errors"] = json!([{ "code": 131_026, "title": "t", "error_data": { "details": "d" } }]);
    }
    told
}

/// A text to the customer.
pub fn send(conversation: Uuid, sequence: i64, to: &str) -> OutboundEnvelope {
    OutboundEnvelope {
        send_id: Uuid::now_v7().to_string(),
        account_key: "ventas".into(),
        conversation_key: conversation.to_string(),
        sequence,
        created_at: Some(hilo_kit::clock::to_proto(hilo_kit::clock::wall())),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        content: Some(outbound_envelope::Content::Whatsapp(OutboundWhatsApp {
            to: Some(WhatsAppIdentity { wa_id: to.into(), ..WhatsAppIdentity::default() }),
            kind: Some(Kind::Text(SendText { body: format!("texto {sequence}"), preview_url: false })),
            ..OutboundWhatsApp::default()
        })),
    }
}

/// Changes the item of a send.
pub fn change(send: &mut OutboundEnvelope, with: impl FnOnce(&mut OutboundWhatsApp)) {
    if let Some(outbound_envelope::Content::Whatsapp(item)) = &mut send.content {
        with(item);
    }
}
