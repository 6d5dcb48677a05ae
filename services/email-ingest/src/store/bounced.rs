//! Mails that came back: a report that fits a send of ours changes what became of its recipients, in the transaction that
//! hands the report itself over.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use sqlx::PgConnection;

use super::sending::{Picked, decode};
use super::settling::{Recipient, recipients, report};
use crate::domain::bounce::{Fate, Returned, Told};
use crate::domain::send::{self, RecipientState};
use crate::domain::text;

/// Applies a report that came to `account`. A mail is only believed to have come back to the account that sent it, and only
/// of recipients that it was sent to.
///
/// # Errors
/// `SEND_IN_PROGRESS` (unavailable) while an attempt runs whose end is not written yet; database errors.
pub(super) async fn apply(
    tx: &mut PgConnection,
    account: &str,
    returned: &Returned,
    subject: String,
) -> Result<(), Error> {
    let Some(picked) = find(tx, account, returned).await? else { return Ok(()) };
    let known = recipients(tx, picked.send_id).await?;
    let mut changed = false;
    for told in &returned.told {
        for (position, to) in meant(&known, told) {
            changed |= change(tx, picked.send_id, position, told, to).await?;
        }
    }
    if !changed {
        return Ok(());
    }
    let known = recipients(tx, picked.send_id).await?;
    let states: Vec<RecipientState> = known.iter().map(|(_, state, _)| *state).collect();
    let whole = send::whole(&states);
    sqlx::query!(
        "UPDATE mail.send SET state = $2, changed_at = now(),
             next_at = CASE WHEN EXISTS (SELECT 1 FROM mail.recipient r WHERE r.send_id = $1 AND r.retry) THEN next_at END
         WHERE send_id = $1",
        picked.send_id,
        whole.as_str(),
    )
    .execute(&mut *tx)
    .await?;
    let undelivered = returned.told.iter().any(|told| told.fate == Fate::Undelivered);
    let state =
        if whole == RecipientState::Failed && undelivered { SendState::Bounced } else { whole.reported() };
    tracing::info!(send_id = %picked.send_id, state = state.as_str_name(), "a report changed what became of a mail");
    report(tx, &picked, state, known, subject).await
}

/// The first send that the report names and the account made. A mail sent again goes under the Message-ID of the first
/// time, so several sends may have it: then the newest one that reached, or may have reached, a recipient the report names;
/// else one that was for such a recipient, about whom there is nothing new; else the newest, whose only recipient may go by
/// another name.
async fn find(tx: &mut PgConnection, account: &str, returned: &Returned) -> Result<Option<Picked>, Error> {
    let named = returned.told.iter().flat_map(|told| &told.addresses);
    let named: Vec<String> = named.map(|address| address.to_ascii_lowercase()).collect();
    let row = sqlx::query!(
        "SELECT send_id, conversation_key, envelope, traceparent, attempts, state FROM mail.send AS s
         WHERE account_key = $1 AND (send_id = ANY($2) OR message_id = ANY($3))
         ORDER BY array_position($2, send_id), array_position($3, message_id),
           EXISTS (SELECT FROM mail.recipient r WHERE r.send_id = s.send_id AND lower(r.address COLLATE \"C\") = ANY($4)
                     AND r.state IN ('sent', 'unknown')) DESC,
           EXISTS (SELECT FROM mail.recipient r WHERE r.send_id = s.send_id AND lower(r.address COLLATE \"C\") = ANY($4)) DESC,
           taken_at DESC, sequence DESC
         LIMIT 1 FOR UPDATE OF s",
        account,
        &returned.send_ids,
        &returned.message_ids,
        &named,
    )
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.state == RecipientState::Attempting.as_str() {
        // The report was faster than the answer to the final dot; its end must be written first.
        return Err(Error::unavailable("SEND_IN_PROGRESS", "the mail that came back is still being sent"));
    }
    Ok(Some(Picked {
        send_id: row.send_id,
        conversation_key: row.conversation_key,
        account_key: account.to_owned(),
        envelope: decode(&row.envelope)?,
        traceparent: row.traceparent,
        attempts: row.attempts,
        epoch: 0,
        age: Duration::ZERO,
        recipients: Vec::new(),
    }))
}

/// The recipients a part of the report is about, with the state each goes to. A report may name an address that ours was
/// rewritten to; where there is only one recipient, that one is meant.
fn meant(known: &[Recipient], told: &Told) -> Vec<(i16, RecipientState)> {
    let to = |state: RecipientState| match (told.fate, state) {
        (Fate::Undelivered, RecipientState::Sent | RecipientState::Unknown) => Some(RecipientState::Failed),
        (Fate::Delivered, RecipientState::Unknown) => Some(RecipientState::Sent),
        (Fate::Delivered, RecipientState::Sent)
        | (
            Fate::Undelivered | Fate::Delivered,
            RecipientState::Planned | RecipientState::Attempting | RecipientState::Failed,
        ) => None,
    };
    (0i16..)
        .zip(known)
        .filter(|(_, (address, ..))| {
            known.len() == 1 || told.addresses.iter().any(|named| named.eq_ignore_ascii_case(address))
        })
        .filter_map(|(position, (_, state, _))| Some((position, to(*state)?)))
        .collect()
}

async fn change(
    tx: &mut PgConnection,
    send_id: Uuid,
    position: i16,
    told: &Told,
    to: RecipientState,
) -> Result<bool, Error> {
    let mut words = text::line(&told.reply.text, send::REPLY_CHARS);
    text::cut(&mut words, send::REPLY_CHARS);
    let changed = sqlx::query!(
        "UPDATE mail.recipient SET state = $3, retry = false, reply_code = $4, enhanced_code = $5, reply_text = $6
         WHERE send_id = $1 AND position = $2 AND state IN ('sent', 'unknown')",
        send_id,
        position,
        to.as_str(),
        i32::from(told.reply.code),
        told.reply.enhanced,
        words,
    )
    .execute(tx)
    .await?;
    Ok(changed.rows_affected() == 1)
}
