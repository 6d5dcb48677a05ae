//! A person has a mail sent again whose first send is in doubt: what repeats that one by itself would reach the recipient twice.

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use sqlx::PgConnection;

/// Ends the repetitions of earlier sends of the same mail that are in doubt about these recipients of the new send.
///
/// All earlier sends are locked, also one whose attempt is ending at this moment: its end does not see the new send yet, so it
/// is waited for, and what it decided is corrected here. One whose attempt goes on meets the new send when it ends
/// ([`by_later`]).
///
/// # Errors
/// Database errors.
pub(super) async fn from_earlier(
    tx: &mut PgConnection,
    send: Uuid,
    recipients: &[String],
) -> Result<(), Error> {
    let earlier = sqlx::query_scalar!(
        "SELECT e.send_id FROM mail.send s
         JOIN mail.send e ON e.conversation_key = s.conversation_key AND e.sequence < s.sequence
           AND e.message_id = s.message_id
         WHERE s.send_id = $1 AND s.message_id <> ''
         ORDER BY e.send_id FOR UPDATE OF e",
        send
    )
    .fetch_all(&mut *tx)
    .await?;
    if earlier.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = recipients.iter().map(|address| address.to_ascii_lowercase()).collect();
    sqlx::query!(
        r#"UPDATE mail.recipient r SET retry = false
           FROM mail.send s
           WHERE s.send_id = r.send_id AND s.state = 'unknown' AND r.send_id = ANY($1)
             AND lower(r.address COLLATE "C") = ANY($2)"#,
        &earlier,
        &names
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "UPDATE mail.send AS s SET next_at = NULL, changed_at = now()
         WHERE send_id = ANY($1) AND state = 'unknown'
           AND NOT EXISTS (SELECT 1 FROM mail.recipient r WHERE r.send_id = s.send_id AND r.retry)",
        &earlier
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Recipients of a send that a later send of the same mail has taken over, in ASCII lower case.
///
/// # Errors
/// Database errors.
pub(super) async fn by_later(tx: &mut PgConnection, send: Uuid) -> Result<Vec<String>, Error> {
    let addresses = sqlx::query_scalar!(
        r#"SELECT lower(r.address COLLATE "C") AS "address!" FROM mail.send s
           JOIN mail.send l ON l.conversation_key = s.conversation_key AND l.sequence > s.sequence
             AND l.message_id = s.message_id
           JOIN mail.recipient r ON r.send_id = l.send_id
           WHERE s.send_id = $1 AND s.message_id <> ''"#,
        send
    )
    .fetch_all(tx)
    .await?;
    Ok(addresses)
}
