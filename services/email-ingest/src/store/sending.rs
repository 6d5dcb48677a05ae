//! The life of sends in the ledger: taken once, begun under the account's epoch, settled per recipient with a report.

use std::collections::BTreeSet;
use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_kit::inbox;
use hilo_kit::lease::{self, Lease};
use hilo_kit::nats::StreamKind;
use hilo_proto::outbound::v1::{OutboundEnvelope, outbound_envelope};
use prost::Message as _;
use sqlx::PgConnection;

use super::Store;
use super::settling::settle;
use crate::domain::compose;
use crate::domain::send::Outcome;

/// Durable consumer of OUTBOUND, and its name in the inbox.
pub const SENDER: &str = "email-sender";

/// A recipient that takes part in an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickedRecipient {
    /// Place in the envelope.
    pub position: i16,
    /// Address as written.
    pub address: String,
    /// An earlier attempt may have reached it.
    pub maybe_sent: bool,
}

/// A send whose attempt is committed and may begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Picked {
    /// Send.
    pub send_id: Uuid,
    /// Its ordering key.
    pub conversation_key: Uuid,
    /// Account that sends.
    pub account_key: String,
    /// What was asked for.
    pub envelope: OutboundEnvelope,
    /// Trace context stored with the interaction.
    pub traceparent: Option<String>,
    /// Attempts begun, this one included.
    pub attempts: i32,
    /// Epoch it was begun under.
    pub epoch: i64,
    /// Time since it was taken.
    pub age: Duration,
    /// Who takes part.
    pub recipients: Vec<PickedRecipient>,
}

/// What waits for an account's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Something is due; it may still wait for an earlier mail of its conversation.
    pub now: bool,
    /// Time until the next one after those is due; `None` when none is planned.
    pub next: Option<Duration>,
}

/// How an attempt ended: one outcome per recipient that took part.
#[derive(Clone, Debug)]
pub struct AttemptResult {
    /// By place in the envelope.
    pub outcomes: Vec<(i16, Outcome)>,
    /// Pause before the one repetition after an unknown outcome; `None` when there is none.
    pub unknown_retry: Option<Duration>,
    /// Spreads retries, 0 to 1.
    pub jitter: f64,
}

impl Picked {
    /// Pause before the repetition after an unknown outcome; a mail that no person wrote is never repeated on a doubt.
    pub(crate) fn repetition(&self, pause: Duration) -> Option<Duration> {
        match &self.envelope.content {
            Some(outbound_envelope::Content::Email(email)) if email.automatic => None,
            Some(
                outbound_envelope::Content::Email(_)
                | outbound_envelope::Content::StoredEmail(_)
                | outbound_envelope::Content::Whatsapp(_),
            )
            | None => Some(pause),
        }
    }
}

impl Store {
    /// Takes sends into the ledger, each once for ever, all or none.
    ///
    /// # Errors
    /// `SEND_INVALID` or `SEND_PLACE_TAKEN` (corrupt) for a send that contradicts itself or the ledger; database errors.
    pub async fn take(&self, sends: Vec<(Uuid, OutboundEnvelope)>) -> Result<(), Error> {
        let accounts: BTreeSet<String> =
            sends.iter().map(|(_, envelope)| envelope.account_key.clone()).collect();
        self.db
            .transaction(move |tx| {
                let sends = sends.clone();
                Box::pin(async move {
                    let ids: Vec<Uuid> = sends.iter().map(|(id, _)| *id).collect();
                    let fresh = inbox::take(tx, SENDER, &ids).await?;
                    for (_, envelope) in sends.iter().filter(|(id, _)| fresh.contains(id)) {
                        take_one(tx, envelope).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        for account in accounts {
            self.unsent(&account).notify_one();
        }
        Ok(())
    }

    /// Accounts that have something to send.
    ///
    /// # Errors
    /// Database errors.
    pub async fn accounts_with_open_sends(&self) -> Result<Vec<String>, Error> {
        self.db
            .read(|conn| {
                Box::pin(async move {
                    Ok(sqlx::query_scalar!(
                        "SELECT DISTINCT account_key FROM mail.send WHERE next_at IS NOT NULL OR state = 'attempting'"
                    )
                    .fetch_all(conn)
                    .await?)
                })
            })
            .await
    }

    /// Begins attempts of due sends: committed before anything goes out. A send waits for its predecessor in the
    /// conversation to be in the ledger (or among the dead letters), and for every earlier one to have had its first
    /// attempt or to have been given up without one.
    ///
    /// # Errors
    /// `STALE_EPOCH` when another replica owns the account; database errors.
    pub async fn begin(&self, account: &str, lease: &Lease, limit: usize) -> Result<Vec<Picked>, Error> {
        let (account, lease) = (account.to_owned(), lease.clone());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db
            .transaction(move |tx| {
                let (account, lease) = (account.clone(), lease.clone());
                Box::pin(async move {
                    lease::guard(tx, &lease).await?;
                    begin(tx, &account, lease.epoch, limit).await
                })
            })
            .await
    }

    /// Whether a send of the account is due, and when the next one will be. Reads only: a look that finds nothing costs no
    /// commit.
    ///
    /// # Errors
    /// Database errors.
    pub async fn due(&self, account: &str) -> Result<Due, Error> {
        let account = account.to_owned();
        let row = self
            .db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query!(
                        r#"SELECT coalesce((SELECT min(next_at) FROM mail.send WHERE account_key = $1) <= now(), false) AS "now!",
                             (SELECT extract(epoch FROM min(next_at) - now())::float8 FROM mail.send
                              WHERE account_key = $1 AND next_at > now()) AS next"#,
                        account,
                    )
                    .fetch_one(conn)
                    .await?)
                })
            })
            .await?;
        let next = row.next.map(|seconds| Duration::from_secs_f64(seconds.max(0.0)));
        Ok(Due { now: row.now, next })
    }

    /// Writes how an attempt ended, with its report. `false` when a new owner settled it meanwhile as unknown and nothing
    /// better is known, or has begun the repetition.
    ///
    /// # Errors
    /// Database errors: then it stays `attempting` and the next owner calls it unknown.
    pub async fn settle(&self, picked: &Picked, result: AttemptResult) -> Result<bool, Error> {
        let subject = self.subjects.handover(StreamKind::Delivery, "email", &picked.account_key)?;
        let picked = picked.clone();
        self.db
            .transaction(move |tx| {
                let (picked, result, subject) = (picked.clone(), result.clone(), subject.clone());
                Box::pin(async move {
                    // The row itself is the fence: whoever changed it since has another epoch or state there. Doubt that
                    // a new owner wrote yields to the truth until the repetition begins: else an answered mail goes twice.
                    let certain = result.outcomes.iter().any(|(_, one)| !matches!(one, Outcome::Unknown(_)));
                    let mine = sqlx::query!(
                        "SELECT send_id FROM mail.send
                         WHERE send_id = $1 AND attempts = $3
                           AND ((state = 'attempting' AND epoch = $2) OR (state = 'unknown' AND $4)) FOR UPDATE",
                        picked.send_id,
                        picked.epoch,
                        picked.attempts,
                        certain,
                    )
                    .fetch_optional(&mut *tx)
                    .await?;
                    if mine.is_none() {
                        return Ok(false);
                    }
                    settle(tx, &picked, &result, subject).await?;
                    Ok(true)
                })
            })
            .await
    }
}

async fn take_one(tx: &mut PgConnection, envelope: &OutboundEnvelope) -> Result<(), Error> {
    let invalid = || Error::corrupt("SEND_INVALID", "a send has no mail, no recipient or no valid ids");
    let (Ok(send_id), Ok(key)) =
        (Uuid::try_parse(&envelope.send_id), Uuid::try_parse(&envelope.conversation_key))
    else {
        return Err(invalid());
    };
    let Some(outbound_envelope::Content::Email(email)) = &envelope.content else { return Err(invalid()) };
    // PostgreSQL holds no NUL; an address with one is no address and fails as such.
    let recipients: Vec<String> =
        compose::recipients(email).into_iter().map(|address| address.replace('\0', "\u{fffd}")).collect();
    if recipients.is_empty() || envelope.sequence < 1 || !hilo_kit::nats::is_token(&envelope.account_key) {
        return Err(invalid());
    }
    let traceparent = (!envelope.traceparent.is_empty()).then_some(envelope.traceparent.as_str());
    let inserted = sqlx::query!(
        "INSERT INTO mail.send (send_id, account_key, conversation_key, sequence, envelope, traceparent, message_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        send_id,
        envelope.account_key,
        key,
        envelope.sequence,
        envelope.encode_to_vec(),
        traceparent,
        email.message_id.replace('\0', ""),
    )
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(Error::corrupt(
            "SEND_PLACE_TAKEN",
            "another send has this id or place in its conversation",
        ));
    }
    let positions: Vec<i16> = (0i16..).take(recipients.len()).collect();
    sqlx::query!(
        "INSERT INTO mail.recipient (send_id, position, address)
         SELECT $1, r.position, r.address FROM unnest($2::smallint[], $3::text[]) AS r (position, address)",
        send_id,
        &positions,
        &recipients,
    )
    .execute(&mut *tx)
    .await?;
    // Only a mail that a person has sent again names a part of its recipients.
    if email.only_recipients.is_empty() {
        return Ok(());
    }
    super::taken_over::from_earlier(tx, send_id, &recipients).await
}

/// The conditions are scalar subqueries, which PostgreSQL can only look up row by row in the order of the index until the limit is
/// reached; as EXISTS it reads all sends there ever were, at every look.
async fn begin(tx: &mut PgConnection, account: &str, epoch: i64, limit: i64) -> Result<Vec<Picked>, Error> {
    let rows = sqlx::query!(
        r#"WITH due AS (
               SELECT s.send_id FROM mail.send s
               WHERE s.account_key = $1 AND s.next_at <= now()
                 AND (s.sequence = 1 OR s.attempts > 0
                      OR (SELECT true FROM mail.send b
                          WHERE b.conversation_key = s.conversation_key AND b.sequence = s.sequence - 1)
                      OR (SELECT true FROM kit.dead_letter d
                          WHERE d.consumer = 'email-sender' AND d.headers::jsonb @> jsonb_build_array(
                              jsonb_build_array('Hilo-Key', s.conversation_key::text),
                              jsonb_build_array('Hilo-Sequence', (s.sequence - 1)::text)) LIMIT 1))
                 AND (SELECT true FROM mail.send e
                      WHERE e.conversation_key = s.conversation_key AND e.sequence < s.sequence
                        AND ((e.attempts = 0 AND e.state = 'planned')
                             OR (e.attempts = 1 AND e.state = 'attempting')) LIMIT 1) IS NULL
               ORDER BY s.next_at, s.sequence LIMIT $3 FOR UPDATE OF s SKIP LOCKED)
           UPDATE mail.send s
           SET state = 'attempting', epoch = $2, attempts = attempts + 1, dot_held_attempt = attempts + 1,
               next_at = NULL, held_since = NULL, changed_at = now()
           FROM due WHERE s.send_id = due.send_id
           RETURNING s.send_id, s.conversation_key, s.envelope, s.traceparent, s.attempts,
                     extract(epoch FROM now() - s.taken_at)::float8 AS "age!""#,
        account,
        epoch,
        limit,
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut begun = Vec::with_capacity(rows.len());
    for row in rows {
        let recipients = sqlx::query_as!(
            PickedRecipient,
            "UPDATE mail.recipient SET state = 'attempting' WHERE send_id = $1 AND retry
             RETURNING position, address, maybe_sent",
            row.send_id,
        )
        .fetch_all(&mut *tx)
        .await?;
        begun.push(Picked {
            send_id: row.send_id,
            conversation_key: row.conversation_key,
            account_key: account.to_owned(),
            envelope: decode(&row.envelope)?,
            traceparent: row.traceparent,
            attempts: row.attempts,
            epoch,
            age: Duration::from_secs_f64(row.age.max(0.0)),
            recipients,
        });
    }
    Ok(begun)
}

pub(super) fn decode(bytes: &[u8]) -> Result<OutboundEnvelope, Error> {
    OutboundEnvelope::decode(bytes)
        .map_err(|error| Error::corrupt("SEND_UNREADABLE", "a stored send cannot be read").with_source(error))
}
