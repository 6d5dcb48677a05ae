//! Files of customers: claimed for a while, fetched outside, and handed over as items of their own in the transaction that ends
//! them. Whoever's claim is over changes nothing.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::{StreamKind, Subjects};
use hilo_kit::outbox::{self, OutboxRow};
use hilo_kit::telemetry::TRACEPARENT;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::whats_app_content::Result as Content;
use hilo_proto::inbound::v1::{
    Attachment, InboundEnvelope, InboundWhatsApp, WhatsAppContent, WhatsAppMedia, inbound_envelope,
};
use prost::Message as _;
use sqlx::PgConnection;

use super::{CHANNEL, Store, take_numbers};
use crate::domain::media::{Failure, Trouble};

/// A file that is to be fetched now.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The item whose file it is.
    pub item_id: Uuid,
    /// The claim; whoever has another one ends nothing.
    pub claim: Uuid,
    /// Account.
    pub account_key: String,
    /// What Meta's webhook told of it.
    pub media: WhatsAppMedia,
    /// Trace context of its arrival.
    pub traceparent: Option<String>,
    /// Tries begun, this one included.
    pub attempts: u32,
    /// Tries before this one that found another file or none.
    pub faults: u32,
    /// Time since its webhook came.
    pub age: Duration,
}

/// A try that brought nothing, and when the next one is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Again {
    /// Why.
    pub trouble: Trouble,
    /// Time until the next try.
    pub after: Duration,
    /// True when Meta answered with an error.
    pub error_answer: bool,
}

impl Store {
    /// Accounts with files that are due.
    ///
    /// # Errors
    /// Database errors.
    pub async fn accounts_with_due_files(&self) -> Result<Vec<String>, Error> {
        self.db
            .read(|conn| {
                Box::pin(async move {
                    Ok(sqlx::query_scalar!(
                        "SELECT DISTINCT account_key FROM whatsapp.media WHERE next_at <= now()"
                    )
                    .fetch_all(conn)
                    .await?)
                })
            })
            .await
    }

    /// Another try is due later; one in which Meta was not asked does not count. `false` when the claim is over.
    ///
    /// # Errors
    /// Database errors: then the claim ends by itself.
    pub async fn file_again(&self, wanted: &Wanted, again: Again) -> Result<bool, Error> {
        let (item_id, claim, account) = (wanted.item_id, wanted.claim, wanted.account_key.clone());
        self.db
            .transaction(move |tx| {
                let account = account.clone();
                Box::pin(async move {
                    if again.error_answer {
                        note_error(tx, &account).await?;
                    }
                    let done = sqlx::query!(
                        "UPDATE whatsapp.media
                         SET claim = NULL, next_at = now() + make_interval(secs => $3), faults = faults + $4, reason = $5,
                             cut_offs = 0, attempts = attempts - $6, changed_at = now()
                         WHERE item_id = $1 AND claim = $2 AND state = 'waiting'",
                        item_id,
                        claim,
                        again.after.as_secs_f64(),
                        i32::from(again.trouble.is_fault()),
                        again.trouble.as_str(),
                        i32::from(again.trouble == Trouble::NotAsked),
                    )
                    .execute(tx)
                    .await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    /// Extends a claim. `false` when it is over.
    ///
    /// # Errors
    /// Database errors.
    pub async fn file_renewed(&self, wanted: &Wanted, lasts: Duration) -> Result<bool, Error> {
        let (item_id, claim) = (wanted.item_id, wanted.claim);
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    let done = sqlx::query!(
                        "UPDATE whatsapp.media SET next_at = now() + make_interval(secs => $3)
                         WHERE item_id = $1 AND claim = $2 AND state = 'waiting'",
                        item_id,
                        claim,
                        lasts.as_secs_f64(),
                    )
                    .execute(conn)
                    .await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    /// Gives a claim back at once; the try does not count.
    ///
    /// # Errors
    /// Database errors: then the claim ends by itself.
    pub async fn file_put_back(&self, wanted: &Wanted) -> Result<(), Error> {
        let (item_id, claim) = (wanted.item_id, wanted.claim);
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    sqlx::query!(
                        "UPDATE whatsapp.media SET claim = NULL, next_at = now(), attempts = attempts - 1
                         WHERE item_id = $1 AND claim = $2 AND state = 'waiting'",
                        item_id,
                        claim,
                    )
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Hands over what became of the file: its content, which is in the object store already, or why there is none. `false` when
    /// the claim is over; then nothing is handed over.
    ///
    /// # Errors
    /// Database errors: then the claim ends by itself.
    pub async fn file_ended(
        &self,
        wanted: &Wanted,
        ended: Result<Attachment, (Failure, bool)>,
    ) -> Result<bool, Error> {
        let (wanted, subjects) = (wanted.clone(), self.subjects.clone());
        self.db
            .transaction(move |tx| {
                let (wanted, ended, subjects) = (wanted.clone(), ended.clone(), subjects.clone());
                Box::pin(async move { end(tx, &subjects, &wanted, ended).await })
            })
            .await
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<InboundWhatsApp, Error> {
    InboundWhatsApp::decode(bytes).map_err(|error| {
        Error::corrupt("MEDIA_UNREADABLE", "a stored item cannot be read").with_source(error)
    })
}

pub(super) fn media_of(item: InboundWhatsApp) -> Result<WhatsAppMedia, Error> {
    match item.kind {
        Some(Kind::Media(media)) => Ok(media),
        _ => Err(Error::corrupt("MEDIA_UNREADABLE", "a stored item is no file")),
    }
}

/// Keeps only the hour that counts.
async fn note_error(tx: &mut PgConnection, account: &str) -> Result<(), Error> {
    sqlx::query!(
        "WITH over AS (DELETE FROM whatsapp.media_error
                       WHERE account_key = $1 AND happened_at < now() - interval '1 hour')
         INSERT INTO whatsapp.media_error (account_key) VALUES ($1)",
        account,
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends it and hands that over; `false` when the claim is over.
pub(super) async fn end(
    tx: &mut PgConnection,
    subjects: &Subjects,
    wanted: &Wanted,
    ended: Result<Attachment, (Failure, bool)>,
) -> Result<bool, Error> {
    let row = sqlx::query!(
        "SELECT conversation_key, item FROM whatsapp.media
         WHERE item_id = $1 AND claim = $2 AND state = 'waiting' FOR UPDATE",
        wanted.item_id,
        wanted.claim,
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let key = row.conversation_key;
    let first = take_numbers(tx, "inbound", &std::iter::once((key, 1)).collect()).await?;
    let sequence = first.get(&key).copied().unwrap_or(1);
    let (state, reason, content) = match ended {
        Ok(attachment) => ("stored", "", Content::Attachment(attachment)),
        Err((failure, error_answer)) => {
            if error_answer {
                note_error(tx, &wanted.account_key).await?;
            }
            ("failed", failure.as_str(), Content::Failure(failure.as_str().to_owned()))
        }
    };
    sqlx::query!(
        "UPDATE whatsapp.media
         SET state = $2, reason = $3, sequence = $4, claim = NULL, next_at = NULL, changed_at = now() WHERE item_id = $1",
        wanted.item_id,
        state,
        reason,
        sequence,
    )
    .execute(&mut *tx)
    .await?;
    let now = hilo_kit::db::db_now(tx).await?;
    let item = decode(&row.item)?;
    let content = WhatsAppContent { target_wamid: item.wamid.clone(), result: Some(content) };
    let id = Uuid::now_v7();
    let envelope = InboundEnvelope {
        ledger_id: id.to_string(),
        account_key: wanted.account_key.clone(),
        conversation_key: key.to_string(),
        sequence,
        received_at: Some(hilo_kit::clock::to_proto(now)),
        traceparent: wanted.traceparent.clone().unwrap_or_default(),
        content: Some(inbound_envelope::Content::Whatsapp(InboundWhatsApp {
            wamid: item.wamid,
            customer: item.customer,
            sent_at: item.sent_at,
            kind: Some(Kind::Content(content)),
            ..InboundWhatsApp::default()
        })),
    };
    let row = OutboxRow {
        id,
        stream: StreamKind::Inbound,
        subject: subjects.handover(StreamKind::Inbound, CHANNEL, &wanted.account_key)?,
        key,
        sequence,
        headers: wanted.traceparent.iter().map(|value| (TRACEPARENT.to_owned(), value.clone())).collect(),
        payload: envelope.encode_to_vec(),
    };
    outbox::append(tx, &[row]).await?;
    Ok(true)
}

/// Files of items that were handed over in the same transaction.
#[derive(Debug, Default)]
pub(super) struct NewFiles {
    items: Vec<Uuid>,
    accounts: Vec<String>,
    keys: Vec<Uuid>,
    contents: Vec<Vec<u8>>,
    traces: Vec<Option<String>>,
    received: Vec<time::OffsetDateTime>,
}

impl NewFiles {
    /// Takes the item when it has a file that can be asked for.
    pub(super) fn push(
        &mut self,
        (id, key): (Uuid, Uuid),
        account: &str,
        item: &InboundWhatsApp,
        traceparent: Option<&String>,
        received_at: time::OffsetDateTime,
    ) {
        let Some(Kind::Media(media)) = &item.kind else { return };
        if media.media_id.is_empty() {
            return;
        }
        self.items.push(id);
        self.accounts.push(account.to_owned());
        self.keys.push(key);
        self.contents.push(item.encode_to_vec());
        self.traces.push(traceparent.cloned());
        self.received.push(received_at);
    }

    /// Writes them, due at once.
    pub(super) async fn insert(self, tx: &mut PgConnection) -> Result<(), Error> {
        if self.items.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "INSERT INTO whatsapp.media (item_id, account_key, conversation_key, item, traceparent, received_at)
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bytea[], $5::text[], $6::timestamptz[])",
            &self.items,
            &self.accounts,
            &self.keys,
            &self.contents,
            &self.traces as _,
            &self.received,
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}
