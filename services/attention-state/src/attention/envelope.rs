//! One send as it is handed to the channel service: in the broker's message, or by reference when it is larger than that.

use std::sync::Arc;

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_kit::nats::{StreamKind, Subjects};
use hilo_kit::objects::Objects;
use hilo_kit::outbox::{MAX_PAYLOAD, OutboxRow};
use hilo_proto::outbound::v1::outbound_envelope::Content;
use hilo_proto::outbound::v1::{OutboundEmail, OutboundEnvelope, StoredEmail};
use prost::Message as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::domain::Attention;
use super::outbox;

/// Most bytes of text and HTML of one mail together, quotation and signature among them. A message travels whole in answers to
/// desks and in the pages of a thread on its way to history, which have at most 4 MiB.
pub(super) const MAX_BODIES: usize = 2 * 1024 * 1024;

/// What handing over needs beside the transaction.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub subjects: Arc<Subjects>,
    /// Key of the token in Message-IDs.
    pub thread_key: Arc<Vec<u8>>,
    /// Where mails wait that the broker does not take; without it they are refused.
    pub objects: Option<Objects>,
}

impl Post {
    /// The row of OUTBOUND of a mail, at the attention's newest place in the order of sends. A mail larger than the broker takes is on disk
    /// when this returns; an object whose transaction then fails is found again by its content when the request is repeated.
    ///
    /// # Errors
    /// `MESSAGE_TOO_LARGE`, `OBJECT_STORE_UNAVAILABLE`; an invalid subject.
    pub(super) async fn mail(
        &self,
        attention: &Attention,
        send: Uuid,
        now: OffsetDateTime,
        traceparent: &str,
        email: OutboundEmail,
    ) -> Result<OutboxRow, Error> {
        let bodies = email.text.len() + email.html.len();
        if bodies > MAX_BODIES {
            // Each is within its own limit, and still they are too much together.
            return Err(too_large(bodies, MAX_BODIES));
        }
        self.row(attention, send, now, traceparent, Content::Email(email)).await
    }

    /// The row of OUTBOUND, at the attention's newest place in the order of sends.
    ///
    /// # Errors
    /// As [`Post::mail`].
    pub(super) async fn row(
        &self,
        attention: &Attention,
        send: Uuid,
        now: OffsetDateTime,
        traceparent: &str,
        content: Content,
    ) -> Result<OutboxRow, Error> {
        let mut envelope = OutboundEnvelope {
            send_id: send.to_string(),
            account_key: attention.account.to_string(),
            conversation_key: attention.id.to_string(),
            sequence: attention.sends,
            created_at: Some(to_proto(now)),
            traceparent: traceparent.to_owned(),
            content: Some(content),
        };
        if envelope.encoded_len() > MAX_PAYLOAD {
            envelope.content = self.by_reference(envelope.content.take()).await?;
        }
        let headers = outbox::trace(traceparent).map(|trace| ("traceparent".to_owned(), trace));
        let (channel, account) = (attention.channel.word(), attention.account.as_str());
        Ok(OutboxRow {
            id: Uuid::now_v7(),
            stream: StreamKind::Outbound,
            subject: self.subjects.handover(StreamKind::Outbound, channel, account)?,
            key: attention.id.uuid(),
            sequence: attention.sends,
            headers: headers.into_iter().collect(),
            payload: envelope.encode_to_vec(),
        })
    }

    async fn by_reference(&self, content: Option<Content>) -> Result<Option<Content>, Error> {
        let email = match content {
            Some(Content::Email(email)) => email.encode_to_vec(),
            Some(Content::StoredEmail(_) | Content::Whatsapp(_)) | None => return Ok(content),
        };
        let size = email.len();
        let objects = self.objects.as_ref().ok_or_else(|| too_large(size, MAX_PAYLOAD))?;
        let sha256 = objects.put(email.into()).await?.to_string();
        let size_bytes = i64::try_from(size).unwrap_or(i64::MAX);
        Ok(Some(Content::StoredEmail(StoredEmail { sha256, size_bytes })))
    }
}

fn too_large(bytes: usize, most: usize) -> Error {
    let text = format!("text, HTML, quotation and signature have {bytes} bytes together, at most {most}");
    Error::invalid("MESSAGE_TOO_LARGE", "the mail is too large to be sent").field("html", text)
}
