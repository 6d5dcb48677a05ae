//! Tables of uploads: the head row is the lock of everything that happens to one.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_kit::objects::Digest256;
use hilo_proto::attention::v1::Upload as ProtoUpload;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Unfinished uploads of one agent.
const MAX_OPEN: i64 = 20;
/// All uploads of one agent that are not forgotten yet, sent ones among them.
const MAX_KEPT: i64 = 200;

/// An upload as stored.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    pub upload_id: Uuid,
    pub file_name: String,
    pub media_type: String,
    pub size_bytes: i64,
    pub sha256: Vec<u8>,
    pub received_bytes: i64,
    pub finished: bool,
    pub expires_at: OffsetDateTime,
}

impl Upload {
    /// The digest announced.
    pub(super) fn digest(&self) -> Result<Digest256, Error> {
        let bytes = self.sha256.as_slice().try_into();
        bytes.map(Digest256).map_err(|_| Error::corrupt("ROW_CONTRADICTS_ITSELF", "a digest has 32 bytes"))
    }

    /// As callers see it.
    pub(super) fn shown(self) -> ProtoUpload {
        ProtoUpload {
            upload_id: self.upload_id.to_string(),
            file_name: self.file_name,
            media_type: self.media_type,
            size_bytes: self.size_bytes,
            sha256: hex::encode(&self.sha256),
            received_bytes: self.received_bytes,
            finished: self.finished,
            expires_at: Some(to_proto(self.expires_at)),
        }
    }
}

/// What is announced of a file.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub file_name: String,
    pub media_type: String,
    pub size_bytes: i64,
    pub sha256: Digest256,
}

/// Begins an upload; `None` when the user has too many. Two at the same instant may exceed the limit by one.
pub(super) async fn begin(
    tx: &mut PgConnection,
    user: &str,
    file: &Announced,
) -> Result<Option<Upload>, Error> {
    let row = sqlx::query_as!(
        Upload,
        r#"INSERT INTO conversation.upload (upload_id, user_key, file_name, media_type, size_bytes, sha256, expires_at)
           SELECT $1, $2, $3, $4, $5, $6, now() + interval '24 hours'
           WHERE (SELECT count(*) FILTER (WHERE finished_at IS NULL) < $7 AND count(*) < $8
                  FROM conversation.upload WHERE user_key = $2 AND expires_at > now())
           RETURNING upload_id, file_name, media_type, size_bytes, sha256, received_bytes,
             finished_at IS NOT NULL AS "finished!", expires_at"#,
        Uuid::now_v7(),
        user,
        file.file_name,
        file.media_type,
        file.size_bytes,
        file.sha256.0.as_slice(),
        MAX_OPEN,
        MAX_KEPT
    )
    .fetch_optional(tx)
    .await?;
    Ok(row)
}

/// The user's upload, locked; `None` when there is none any more, or another's.
pub(super) async fn locked(tx: &mut PgConnection, user: &str, id: Uuid) -> Result<Option<Upload>, Error> {
    let row = sqlx::query_as!(
        Upload,
        r#"SELECT upload_id, file_name, media_type, size_bytes, sha256, received_bytes,
             finished_at IS NOT NULL AS "finished!", expires_at
           FROM conversation.upload WHERE upload_id = $1 AND user_key = $2 AND expires_at > now() FOR UPDATE"#,
        id,
        user
    )
    .fetch_optional(tx)
    .await?;
    Ok(row)
}

/// The same without a lock.
pub(super) async fn find(conn: &mut PgConnection, user: &str, id: Uuid) -> Result<Option<Upload>, Error> {
    let row = sqlx::query_as!(
        Upload,
        r#"SELECT upload_id, file_name, media_type, size_bytes, sha256, received_bytes,
             finished_at IS NOT NULL AS "finished!", expires_at
           FROM conversation.upload WHERE upload_id = $1 AND user_key = $2 AND expires_at > now()"#,
        id,
        user
    )
    .fetch_optional(conn)
    .await?;
    Ok(row)
}

/// True when exactly this piece is stored.
pub(super) async fn has_chunk(
    tx: &mut PgConnection,
    id: Uuid,
    start: i64,
    content: &[u8],
) -> Result<bool, Error> {
    let same = sqlx::query_scalar!(
        r#"SELECT content = $3 AS "same!" FROM conversation.upload_chunk WHERE upload_id = $1 AND start = $2"#,
        id,
        start,
        content
    )
    .fetch_optional(tx)
    .await?;
    Ok(same == Some(true))
}

/// Appends a piece to a locked upload; answers the bytes received now.
pub(super) async fn append(
    tx: &mut PgConnection,
    id: Uuid,
    start: i64,
    content: &[u8],
) -> Result<i64, Error> {
    sqlx::query!(
        "INSERT INTO conversation.upload_chunk (upload_id, start, content) VALUES ($1, $2, $3)",
        id,
        start,
        content
    )
    .execute(&mut *tx)
    .await?;
    let received = sqlx::query_scalar!(
        "UPDATE conversation.upload SET received_bytes = received_bytes + octet_length($2::bytea) WHERE upload_id = $1
         RETURNING received_bytes",
        id,
        content
    )
    .fetch_one(tx)
    .await?;
    Ok(received)
}

/// All pieces in order; at most the size of a file altogether.
pub(super) async fn chunks(conn: &mut PgConnection, id: Uuid) -> Result<Vec<Vec<u8>>, Error> {
    let rows = sqlx::query_scalar!(
        "SELECT content FROM conversation.upload_chunk WHERE upload_id = $1 ORDER BY start",
        id
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The content is stored elsewhere now.
pub(super) async fn finish(tx: &mut PgConnection, id: Uuid) -> Result<(), Error> {
    sqlx::query!("UPDATE conversation.upload SET finished_at = now() WHERE upload_id = $1", id)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("DELETE FROM conversation.upload_chunk WHERE upload_id = $1", id).execute(tx).await?;
    Ok(())
}

/// Begins a locked upload anew.
pub(super) async fn reset(tx: &mut PgConnection, id: Uuid) -> Result<(), Error> {
    sqlx::query!("DELETE FROM conversation.upload_chunk WHERE upload_id = $1", id).execute(&mut *tx).await?;
    sqlx::query!("UPDATE conversation.upload SET received_bytes = 0 WHERE upload_id = $1", id)
        .execute(tx)
        .await?;
    Ok(())
}

/// Whose upload it is.
pub(super) async fn owner(conn: &mut PgConnection, id: Uuid) -> Result<Option<String>, Error> {
    let row = sqlx::query_scalar!("SELECT user_key FROM conversation.upload WHERE upload_id = $1", id)
        .fetch_optional(conn)
        .await?;
    Ok(row)
}

/// Keeps uploads for as long as a draft may wait for its agent.
pub(crate) async fn keep(tx: &mut PgConnection, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE conversation.upload SET expires_at = greatest(expires_at, now() + interval '30 days')
         WHERE upload_id = ANY($1) AND expires_at > now()",
        ids
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Lets go of uploads that were sent: the mail has the file itself, and a draft that still names them is soon saved without.
pub(super) async fn sent(tx: &mut PgConnection, ids: &[Uuid]) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE conversation.upload SET expires_at = least(expires_at, now() + interval '1 day')
         WHERE upload_id = ANY($1)",
        ids
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets expired uploads, a bounded number at a time; answers how many.
pub(super) async fn sweep(tx: &mut PgConnection) -> Result<u64, Error> {
    let swept = sqlx::query!(
        "DELETE FROM conversation.upload WHERE upload_id IN (
           SELECT upload_id FROM conversation.upload WHERE expires_at <= now() ORDER BY expires_at LIMIT 100
           FOR UPDATE SKIP LOCKED)"
    )
    .execute(tx)
    .await?;
    Ok(swept.rows_affected())
}
