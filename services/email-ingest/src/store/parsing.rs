//! Parsing's side of the ledger: claims that end by time, results that commit together with what they tell.

use std::time::Duration;

use hilo_kit::consumer::{DeadLetter, Delivery};
use hilo_kit::dead;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::nats::StreamKind;
use hilo_kit::outbox::{self, HEADER_ID, HEADER_KEY, OutboxRow};
use hilo_kit::telemetry::TRACEPARENT;
use hilo_proto::inbound::v1::{InboundEmail, InboundEnvelope, inbound_envelope};
use prost::Message as _;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Store, bounced, next_sequence};
use crate::domain::bounce::Returned;

/// Name under which quarantined mails stand among the dead letters.
pub const PARSER: &str = "email-parser";

/// A mail claimed by a worker. `attempts` is also the proof of the claim: whoever claims it next raises it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Ledger id.
    pub id: Uuid,
    /// Attempts begun, this one included.
    pub attempts: i32,
    /// Look-ups of the sender that failed for now.
    pub lookups: i32,
}

/// A claimed mail.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The claim.
    pub claim: Claim,
    /// Receiving account.
    pub account_key: String,
    /// SHA-256.
    pub digest: [u8; 32],
    /// Size.
    pub size_bytes: i64,
    /// The bytes, when they are in the row.
    pub raw: Option<Vec<u8>>,
    /// Why it cannot be parsed.
    pub unfit: Option<String>,
    /// Envelope sender.
    pub envelope_sender: Option<String>,
    /// Envelope recipients.
    pub envelope_recipients: Vec<String>,
    /// SMTP client.
    pub peer: Option<String>,
    /// Name it gave.
    pub helo: Option<String>,
    /// Ordering key.
    pub conversation_key: Uuid,
    /// Trace context of the acceptance.
    pub traceparent: Option<String>,
    /// When it was committed.
    pub received_at: OffsetDateTime,
}

impl Store {
    /// Claims due mails, the oldest of each author only, for `lease`; each claim counts as an attempt.
    ///
    /// # Errors
    /// Database errors.
    pub async fn claim(&self, limit: usize, lease: Duration) -> Result<Vec<Waiting>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db.transaction(move |tx| Box::pin(async move { claim(tx, limit, lease).await })).await
    }

    /// Keeps claims alive.
    ///
    /// # Errors
    /// Database errors: the claims end by time.
    pub async fn extend(&self, claims: Vec<Claim>, lease: Duration) -> Result<(), Error> {
        let (ids, attempts): (Vec<Uuid>, Vec<i32>) =
            claims.iter().map(|claim| (claim.id, claim.attempts)).unzip();
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    sqlx::query!(
                        "UPDATE mail.parse_queue q SET not_before = now() + make_interval(secs => $3)
                         FROM unnest($1::uuid[], $2::int[]) AS held (id, attempts)
                         WHERE q.inbound_id = held.id AND q.attempts = held.attempts",
                        &ids,
                        &attempts,
                        lease.as_secs_f64(),
                    )
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Commits a parsed mail: result, sequence and outbox row, and what a report says of a send. `false` when the claim
    /// was lost meanwhile.
    ///
    /// # Errors
    /// `SEND_IN_PROGRESS` (unavailable) when the mail that came back is still being sent;
    /// Database errors; `PAYLOAD_TOO_LARGE`.
    pub async fn parsed(
        &self,
        waiting: &Waiting,
        email: InboundEmail,
        returned: Option<Returned>,
        version: i32,
    ) -> Result<bool, Error> {
        let subject = self.subjects.handover(StreamKind::Inbound, "email", &waiting.account_key)?;
        let delivery = self.subjects.handover(StreamKind::Delivery, "email", &waiting.account_key)?;
        let waiting = waiting.clone();
        self.db
            .transaction(move |tx| {
                let (waiting, email, subject) = (waiting.clone(), email.clone(), subject.clone());
                let (returned, delivery) = (returned.clone(), delivery.clone());
                Box::pin(async move {
                    if !commit(tx, &waiting, email, subject, version).await? {
                        return Ok(false);
                    }
                    if let Some(returned) = returned {
                        bounced::apply(tx, &waiting.account_key, &returned, delivery).await?;
                    }
                    Ok(true)
                })
            })
            .await
    }

    /// Gives a claim back: uncounted, to be tried again after `pause`; `looked_up` counts a failed look-up.
    ///
    /// # Errors
    /// Database errors: the claim ends by time and the attempt stays counted.
    pub async fn put_back(&self, claim: &Claim, pause: Duration, looked_up: bool) -> Result<(), Error> {
        let claim = claim.clone();
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    sqlx::query!(
                        "UPDATE mail.parse_queue SET attempts = attempts - 1, lookups = lookups + $3,
                             not_before = now() + make_interval(secs => $4)
                         WHERE inbound_id = $1 AND attempts = $2",
                        claim.id,
                        claim.attempts,
                        i32::from(looked_up),
                        pause.as_secs_f64(),
                    )
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Takes a mail out of the queue into the dead letters, visible to operators; its author's next mail goes on.
    ///
    /// # Errors
    /// Database errors.
    pub async fn quarantine(&self, waiting: &Waiting, reason: &str, detail: &str) -> Result<bool, Error> {
        let letter = self.letter(waiting, reason, detail)?;
        let claim = waiting.claim.clone();
        self.db
            .transaction(move |tx| {
                let (letter, claim) = (letter.clone(), claim.clone());
                Box::pin(async move {
                    if !leave_queue(tx, &claim).await? {
                        return Ok(false);
                    }
                    dead::bury_in(tx, &letter).await?;
                    Ok(true)
                })
            })
            .await
    }

    fn letter(&self, waiting: &Waiting, reason: &str, detail: &str) -> Result<DeadLetter, Error> {
        let headers = vec![
            (HEADER_ID.to_owned(), waiting.claim.id.to_string()),
            (HEADER_KEY.to_owned(), waiting.conversation_key.to_string()),
        ];
        // The mail itself stays in the ledger; an operator sees where.
        let payload = serde_json::json!({
            "ledger_id": waiting.claim.id,
            "account": waiting.account_key,
            "sha256": hex::encode(waiting.digest),
            "size_bytes": waiting.size_bytes,
        });
        let subject = self.subjects.handover(StreamKind::Inbound, "email", &waiting.account_key)?;
        Ok(DeadLetter {
            consumer: PARSER.to_owned(),
            stream: StreamKind::Inbound,
            delivery: Delivery::new(subject, headers, payload.to_string()),
            reason: reason.to_owned(),
            detail: detail.to_owned(),
            attempts: waiting.claim.attempts.unsigned_abs(),
        })
    }

    /// Puts a quarantined mail into the queue again, unless it was parsed or waits already, and settles its dead letter
    /// in the same transaction: in between the mail would be in neither, and an operator would believe it replayed.
    ///
    /// # Errors
    /// Database errors.
    pub async fn replay(&self, dead_letter: Uuid, id: Uuid) -> Result<(), Error> {
        self.db
            .transaction(move |tx| {
                Box::pin(async move {
                    sqlx::query!(
                        "UPDATE kit.dead_letter SET state = 'replayed', settled_at = now()
                         WHERE id = $1 AND state = 'replaying'",
                        dead_letter,
                    )
                    .execute(&mut *tx)
                    .await?;
                    sqlx::query!(
                        "INSERT INTO mail.parse_queue (inbound_id, position, conversation_key)
                         SELECT id, position, conversation_key FROM mail.inbound i
                         WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM mail.parsed p WHERE p.inbound_id = i.id)
                         ON CONFLICT DO NOTHING",
                        id,
                    )
                    .execute(tx)
                    .await?;
                    Ok(())
                })
            })
            .await?;
        self.unparsed.notify_one();
        Ok(())
    }
}

async fn claim(tx: &mut PgConnection, limit: i64, lease: Duration) -> Result<Vec<Waiting>, Error> {
    let rows = sqlx::query!(
        r#"WITH due AS (
               SELECT c.inbound_id FROM mail.parse_queue c
               WHERE c.not_before <= now() AND NOT EXISTS (
                   SELECT 1 FROM mail.parse_queue e
                   WHERE e.conversation_key = c.conversation_key AND e.position < c.position)
               ORDER BY c.position LIMIT $1 FOR UPDATE OF c SKIP LOCKED),
           claimed AS (
               UPDATE mail.parse_queue q
               SET attempts = attempts + 1, not_before = now() + make_interval(secs => $2)
               FROM due WHERE q.inbound_id = due.inbound_id
               RETURNING q.inbound_id, q.attempts, q.lookups)
           SELECT i.id, c.attempts AS "attempts!", c.lookups AS "lookups!", i.account_key, i.digest, i.size_bytes, i.raw,
                  i.unfit, i.envelope_sender, i.envelope_recipients, i.peer, i.helo, i.conversation_key, i.traceparent,
                  i.received_at
           FROM claimed c JOIN mail.inbound i ON i.id = c.inbound_id ORDER BY i.position"#,
        limit,
        lease.as_secs_f64(),
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let digest = row.digest.try_into();
            Ok(Waiting {
                claim: Claim { id: row.id, attempts: row.attempts, lookups: row.lookups },
                account_key: row.account_key,
                digest: digest
                    .map_err(|_| Error::corrupt("INVALID_DIGEST", "a stored digest has another length"))?,
                size_bytes: row.size_bytes,
                raw: row.raw,
                unfit: row.unfit,
                envelope_sender: row.envelope_sender,
                envelope_recipients: row.envelope_recipients,
                peer: row.peer,
                helo: row.helo,
                conversation_key: row.conversation_key,
                traceparent: row.traceparent,
                received_at: row.received_at,
            })
        })
        .collect()
}

/// True when the claim still held; then the mail has left the queue.
async fn leave_queue(tx: &mut PgConnection, claim: &Claim) -> Result<bool, Error> {
    let left = sqlx::query!(
        "DELETE FROM mail.parse_queue WHERE inbound_id = $1 AND attempts = $2",
        claim.id,
        claim.attempts,
    )
    .execute(tx)
    .await?;
    Ok(left.rows_affected() == 1)
}

async fn commit(
    tx: &mut PgConnection,
    waiting: &Waiting,
    email: InboundEmail,
    subject: String,
    version: i32,
) -> Result<bool, Error> {
    if !leave_queue(tx, &waiting.claim).await? {
        return Ok(false);
    }
    let key = waiting.conversation_key;
    let sequence = next_sequence(tx, "inbound", key).await?;
    let dmarc = email.evidence.as_ref().map(|evidence| evidence.dmarc().as_str_name()).unwrap_or_default();
    sqlx::query!(
        "INSERT INTO mail.parsed (inbound_id, parser_version, conversation_key, sequence, message_id, class, dmarc)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        waiting.claim.id,
        version,
        key,
        sequence,
        email.message_id,
        email.mail_class().as_str_name(),
        dmarc,
    )
    .execute(&mut *tx)
    .await?;
    let envelope = InboundEnvelope {
        ledger_id: waiting.claim.id.to_string(),
        account_key: waiting.account_key.clone(),
        conversation_key: key.to_string(),
        sequence,
        received_at: Some(hilo_kit::clock::to_proto(waiting.received_at)),
        traceparent: waiting.traceparent.clone().unwrap_or_default(),
        content: Some(inbound_envelope::Content::Email(email)),
    };
    let headers = waiting.traceparent.iter().map(|value| (TRACEPARENT.to_owned(), value.clone())).collect();
    let row = OutboxRow {
        id: waiting.claim.id,
        stream: StreamKind::Inbound,
        subject,
        key,
        sequence,
        headers,
        payload: envelope.encode_to_vec(),
    };
    outbox::append(tx, &[row]).await?;
    Ok(true)
}
