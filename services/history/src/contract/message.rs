//! A message between the contract and the domain.

use hilo_kit::clock;
use hilo_proto::history::v1 as wire;
use hilo_proto::inbound::v1 as inbound;
use prost::Message as _;
use time::OffsetDateTime;

use super::check::Check;
use super::{clean, direction_number};
use crate::domain::thread::{Attachment, Mailbox, Message, Recipient};
use crate::html;

/// Reads a message; what is wrong with it goes to `check` as fields of `at`.
pub(super) fn read(check: &mut Check, at: &str, from: wire::ThreadMessage) -> Message {
    let occurred_at = check.required(&format!("{at}.occurred_at"), from.occurred_at);
    Message {
        id: check.id(&format!("{at}.message_id"), &from.message_id).into(),
        direction: check.direction(&format!("{at}.direction"), from.direction),
        from: from.from.map(mailbox).unwrap_or_default(),
        to: from.to.into_iter().map(mailbox).collect(),
        cc: from.cc.into_iter().map(mailbox).collect(),
        subject: clean(from.subject),
        text: clean(from.text),
        html: clean(from.html),
        attachments: from.attachments.into_iter().map(attachment).collect(),
        occurred_at: check
            .instant(&format!("{at}.occurred_at"), occurred_at)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
        delivery_state: clean(from.delivery_state),
        delivery_detail: clean(from.delivery_detail),
        delivery_reason: clean(from.delivery_reason),
        agent_key: clean(from.agent_key),
        mail_class: clean(from.mail_class),
        sender_verified: from.sender_verified,
        internet_message_id: clean(from.internet_message_id),
        bcc: from.bcc.into_iter().map(mailbox).collect(),
        recipients: from.recipients.into_iter().map(recipient).collect(),
        whatsapp: from.whatsapp.map(|item| item.encode_to_vec()),
    }
}

fn mailbox(from: inbound::EmailAddress) -> Mailbox {
    Mailbox { address: clean(from.address), name: clean(from.name) }
}

fn recipient(from: wire::RecipientDelivery) -> Recipient {
    Recipient {
        address: clean(from.address),
        state: clean(from.delivery_state),
        reply_code: from.reply_code,
        enhanced_code: clean(from.enhanced_code),
        reply_text: clean(from.reply_text),
    }
}

fn attachment(from: inbound::Attachment) -> Attachment {
    Attachment {
        sha256: clean(from.sha256),
        file_name: clean(from.file_name),
        media_type: clean(from.media_type),
        size_bytes: from.size_bytes.max(0),
        content_id: clean(from.content_id),
        inline: from.inline,
    }
}

/// A message as it is answered: HTML sanitised again.
pub(super) fn answer(message: Message) -> wire::ThreadMessage {
    let address = |one: Mailbox| inbound::EmailAddress { address: one.address, name: one.name };
    wire::ThreadMessage {
        message_id: message.id.to_string(),
        direction: direction_number(message.direction),
        from: Some(address(message.from)),
        to: message.to.into_iter().map(address).collect(),
        cc: message.cc.into_iter().map(address).collect(),
        subject: message.subject,
        text: message.text,
        html: html::safe(&message.html),
        attachments: message.attachments.into_iter().map(answer_attachment).collect(),
        occurred_at: Some(clock::to_proto(message.occurred_at)),
        delivery_state: message.delivery_state,
        delivery_detail: message.delivery_detail,
        delivery_reason: message.delivery_reason,
        agent_key: message.agent_key,
        mail_class: message.mail_class,
        sender_verified: message.sender_verified,
        internet_message_id: message.internet_message_id,
        // Notes of a stored thread have a list of their own.
        internal: false,
        body_in_history: false,
        bcc: message.bcc.into_iter().map(address).collect(),
        recipients: message.recipients.into_iter().map(answer_recipient).collect(),
        // What was stored was encoded here; the text says what can be said without it.
        whatsapp: message.whatsapp.and_then(|item| wire::WhatsAppItem::decode(item.as_slice()).ok()),
        ..wire::ThreadMessage::default()
    }
}

fn answer_recipient(one: Recipient) -> wire::RecipientDelivery {
    wire::RecipientDelivery {
        address: one.address,
        delivery_state: one.state,
        reply_code: one.reply_code,
        enhanced_code: one.enhanced_code,
        reply_text: one.reply_text,
    }
}

fn answer_attachment(file: Attachment) -> inbound::Attachment {
    inbound::Attachment {
        sha256: file.sha256,
        file_name: file.file_name,
        media_type: file.media_type,
        size_bytes: file.size_bytes,
        content_id: file.content_id,
        inline: file.inline,
    }
}
