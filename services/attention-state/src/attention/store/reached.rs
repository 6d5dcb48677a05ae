//! Whom sends of an attention reach that is not the attention's contact, and by which id, by Meta's word: table `attention.reached`.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::attention::domain::{AttentionId, ContactId};

/// Whose attention a send is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub send: Uuid,
    pub attention: AttentionId,
    pub contact: ContactId,
}

/// The attentions and contacts of these sends, also of those of dialers whose message is in no thread; others are left out.
///
/// # Errors
/// Database errors.
pub(crate) async fn of_sends(tx: &mut PgConnection, sends: &[Uuid]) -> Result<Vec<Written>, Error> {
    let keys: Vec<Vec<u8>> = sends.iter().map(|send| send.as_bytes().to_vec()).collect();
    let rows = sqlx::query!(
        r#"SELECT sent.send_id AS "send_id!", a.attention_id, a.contact_id FROM (
             SELECT v.send_id, k.attention_id FROM unnest($1::uuid[], $2::bytea[]) AS v(send_id, key)
               JOIN attention.message_key k ON k.kind = 'send' AND k.key = v.key
             UNION SELECT r.send_id, r.attention_id FROM dialer.row r WHERE r.send_id = ANY($1)) AS sent
           JOIN attention.attention a USING (attention_id)"#,
        sends,
        &keys
    )
    .fetch_all(tx)
    .await?;
    let written = |send, attention, contact| Written {
        send,
        attention: AttentionId(attention),
        contact: ContactId(contact),
    };
    Ok(rows.into_iter().map(|row| written(row.send_id, row.attention_id, row.contact_id)).collect())
}

/// Notes that the attention's sends reach this contact by these ids; again is harmless. Lock the identities of both before.
///
/// # Errors
/// Database errors.
pub(crate) async fn note(
    tx: &mut PgConnection,
    attention: AttentionId,
    contact: ContactId,
    named: &[String],
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO attention.reached (attention_id, contact_id, identity) SELECT $1, $2, unnest($3::text[])
         ON CONFLICT DO NOTHING",
        attention.uuid(),
        contact.uuid(),
        named
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// The other contacts that an attention's sends reach by this id.
///
/// # Errors
/// Database errors.
pub(crate) async fn contacts(
    tx: &mut PgConnection,
    attention: AttentionId,
    identity: &str,
) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        "SELECT contact_id FROM attention.reached WHERE attention_id = $1 AND identity = $2",
        attention.uuid(),
        identity
    )
    .fetch_all(tx)
    .await?)
}

/// What reached one contact reaches the one it was merged into.
///
/// # Errors
/// Database errors.
pub(crate) async fn merged(tx: &mut PgConnection, goes: Uuid, stays: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO attention.reached (attention_id, contact_id, identity)
         SELECT attention_id, $2, identity FROM attention.reached WHERE contact_id = $1 ON CONFLICT DO NOTHING",
        goes,
        stays
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// A number that may have been written to on an account.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub account: String,
    /// `+` and digits.
    pub number: String,
    /// What was sent later does not count.
    pub before: OffsetDateTime,
}

/// Which of these numbers have a live conversation with something of ours that nothing is known of yet; answers their places.
///
/// # Errors
/// Database errors.
pub(crate) async fn unreported(tx: &mut PgConnection, asked: &[Asked]) -> Result<Vec<usize>, Error> {
    let accounts: Vec<String> = asked.iter().map(|one| one.account.clone()).collect();
    let numbers: Vec<String> = asked.iter().map(|one| one.number.clone()).collect();
    let before: Vec<OffsetDateTime> = asked.iter().map(|one| one.before).collect();
    let places = sqlx::query_scalar!(
        r#"SELECT v.place AS "place!"
           FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS v(account, number, before, place)
           JOIN contact.identity i ON i.kind = 'phone' AND i.value = v.number
           JOIN attention.attention a ON a.contact_id = i.contact_id AND a.account_key = v.account
             AND a.channel = 'whatsapp' AND a.state <> 'closed' AND NOT a.flooded
           WHERE EXISTS (SELECT 1 FROM attention.message m
               WHERE m.attention_id = a.attention_id AND m.direction = 'outbound' AND m.delivery_state = 'queued'
                 AND m.delivery_reason = '' AND m.wamid = '' AND m.occurred_at <= v.before + interval '1 minute')
             OR EXISTS (SELECT 1 FROM dialer.row r
               WHERE r.attention_id = a.attention_id AND r.delivery = 'queued' AND r.delivery_reason = '' AND r.wamid = ''
                 AND r.sent_at <= v.before + interval '1 minute')"#,
        &accounts,
        &numbers,
        &before
    )
    .fetch_all(tx)
    .await?;
    Ok(places.into_iter().filter_map(|place| usize::try_from(place - 1).ok()).collect())
}
