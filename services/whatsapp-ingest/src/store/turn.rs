//! Whose turn it is at a number: what people wrote first, one in flight per conversation, few with files, and alone what was cut off.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use hilo_proto::outbound::v1::{OutboundEnvelope, OutboundWhatsApp, outbound_envelope};
use prost::Message as _;
use sqlx::PgConnection;

/// A send that may begin.
pub(super) struct Due {
    pub(super) send_id: Uuid,
    pub(super) conversation_key: Uuid,
    pub(super) item: OutboundWhatsApp,
    pub(super) traceparent: Option<String>,
    pub(super) attempts: i32,
    pub(super) age: Duration,
    pub(super) reason: String,
    pub(super) with_files: bool,
}

/// How many sends with files may begin, and which.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilesRoom {
    pub(super) free: i64,
    /// Those that were cut off before; else the others.
    cut_off: bool,
}

/// Room for sends with files. One that was cut off and waits only for this goes first, as soon as none is under way; nothing begins
/// beside it. One of a dialer lets what people wrote go first here too.
pub(super) async fn files_room(
    tx: &mut PgConnection,
    account: &str,
    most: usize,
) -> Result<FilesRoom, Error> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "under_way!", coalesce(bool_or(cut_offs > 0), false) AS "alone!",
             EXISTS (SELECT FROM whatsapp.send s
                     WHERE s.account_key = $1 AND s.state = 'planned' AND s.with_files AND s.cut_offs > 0 AND s.next_at <= now()
                       AND (NOT s.bulk OR (SELECT true FROM whatsapp.send p
                            WHERE p.account_key = $1 AND p.state = 'planned' AND p.next_at <= now() AND p.with_files
                              AND NOT p.bulk AND p.cut_offs = 0 LIMIT 1) IS NULL)
                       AND (SELECT true FROM whatsapp.send e
                            WHERE e.conversation_key = s.conversation_key AND e.sequence < s.sequence
                              AND e.state IN ('planned', 'attempting', 'doubtful') LIMIT 1) IS NULL) AS "waits!"
           FROM whatsapp.send WHERE account_key = $1 AND state = 'attempting' AND uploading"#,
        account,
    )
    .fetch_one(tx)
    .await?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let free = match (row.alone, row.waits) {
        (true, _) => 0,
        (false, true) => i64::from(row.under_way == 0),
        (false, false) => most.saturating_sub(row.under_way).max(0),
    };
    Ok(FilesRoom { free, cut_off: row.waits })
}

/// What people wrote comes before what no person waits for, however long that has waited. The conditions are scalar
/// subqueries, which PostgreSQL looks up row by row in the order of the index until the limit is reached.
pub(super) async fn due(
    tx: &mut PgConnection,
    account: &str,
    limit: usize,
    room: FilesRoom,
) -> Result<Vec<Due>, Error> {
    let rows = sqlx::query!(
        r#"SELECT s.send_id, s.conversation_key, s.envelope, s.traceparent, s.attempts, s.reason, s.with_files,
                  extract(epoch FROM now() - s.taken_at)::float8 AS "age!"
           FROM whatsapp.send s
           WHERE s.account_key = $1 AND s.next_at <= now() AND s.state = 'planned'
             AND (NOT s.with_files OR ($3 AND (s.cut_offs > 0) = $4))
             AND (s.sequence = 1 OR s.attempts > 0
                  OR (SELECT true FROM whatsapp.send b
                      WHERE b.conversation_key = s.conversation_key AND b.sequence = s.sequence - 1)
                  OR (SELECT true FROM kit.dead_letter d
                      WHERE d.consumer = 'whatsapp-sender' AND d.headers::jsonb @> jsonb_build_array(
                          jsonb_build_array('Hilo-Key', s.conversation_key::text),
                          jsonb_build_array('Hilo-Sequence', (s.sequence - 1)::text)) LIMIT 1))
             AND (SELECT true FROM whatsapp.send e
                  WHERE e.conversation_key = s.conversation_key AND e.sequence < s.sequence
                    AND e.state IN ('planned', 'attempting', 'doubtful') LIMIT 1) IS NULL
           ORDER BY s.bulk, s.next_at, s.sequence LIMIT $2 FOR UPDATE OF s SKIP LOCKED"#,
        account,
        i64::try_from(limit).unwrap_or(i64::MAX),
        room.free > 0,
        room.cut_off,
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Due {
                send_id: row.send_id,
                conversation_key: row.conversation_key,
                item: decode(&row.envelope)?,
                traceparent: row.traceparent,
                attempts: row.attempts,
                age: Duration::from_secs_f64(row.age.max(0.0)),
                reason: row.reason,
                with_files: row.with_files,
            })
        })
        .collect()
}

fn decode(bytes: &[u8]) -> Result<OutboundWhatsApp, Error> {
    let unreadable = || Error::corrupt("SEND_UNREADABLE", "a stored send cannot be read");
    let envelope = OutboundEnvelope::decode(bytes).map_err(|error| unreadable().with_source(error))?;
    match envelope.content {
        Some(outbound_envelope::Content::Whatsapp(item)) => Ok(item),
        Some(outbound_envelope::Content::Email(_) | outbound_envelope::Content::StoredEmail(_)) | None => {
            Err(unreadable())
        }
    }
}
