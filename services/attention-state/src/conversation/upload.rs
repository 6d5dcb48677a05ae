//! Uploads: begun, sent in pieces by any replica, resumed after a break, checked and stored. Only the uploader uses one.

use hilo_kit::error::Error;
use hilo_kit::objects::Digest256;
use hilo_kit::{download, ids};
use hilo_proto::attention::v1::{
    BeginUploadRequest, BeginUploadResponse, FinishUploadRequest, FinishUploadResponse, GetUploadRequest,
    GetUploadResponse, PutChunkRequest, PutChunkResponse,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Files;
use super::upload_store::{self as store, Announced, Upload};
use crate::desk::once::Once;
use crate::desk::rights;
use crate::directory::Access;

/// Largest file: what common mail servers take, encoded for transport, is not much more.
pub(super) const MAX_FILE: i64 = 25 * 1024 * 1024;
/// Largest piece: well below gRPC's message limit.
const MAX_CHUNK: usize = 1024 * 1024;

fn not_found() -> Error {
    Error::missing("UPLOAD_NOT_FOUND", "there is no such upload of yours, or it has expired")
}

impl Files {
    /// Begins an upload.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with violations, `FILE_TOO_LARGE`, `TOO_MANY_UPLOADS`, `AGENT_REQUIRED`; database errors.
    pub(crate) async fn begin(
        &self,
        access: Access,
        mut request: BeginUploadRequest,
    ) -> Result<BeginUploadResponse, Error> {
        rights::check_agent(&access)?;
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "BeginUpload", &request_id, &request)?;
        let file = announced(request)?;
        once.answered(&self.db, move |tx| {
            let (user, file) = (access.user_key.clone(), file.clone());
            Box::pin(async move {
                let upload = store::begin(tx, &user, &file).await?.ok_or_else(|| {
                    Error::exhausted("TOO_MANY_UPLOADS", "finish an upload first, or wait until some expire")
                })?;
                Ok(BeginUploadResponse { upload: Some(upload.shown()) })
            })
        })
        .await
    }

    /// Takes a piece; the same one again changes nothing.
    ///
    /// # Errors
    /// `UPLOAD_NOT_FOUND`, `CHUNK_GAP`, `CHUNK_DIFFERS`, `CHUNK_BEYOND_END`, `INVALID_REQUEST`; database errors.
    pub(crate) async fn put(
        &self,
        access: Access,
        request: PutChunkRequest,
    ) -> Result<PutChunkResponse, Error> {
        rights::check_agent(&access)?;
        let id = ids::parse(&request.upload_id, "upload_id")?;
        let mut bad = Error::invalid("INVALID_REQUEST", "the piece is malformed");
        if request.content.is_empty() || request.content.len() > MAX_CHUNK {
            bad = bad.field("content", format!("1 to {MAX_CHUNK} bytes"));
        }
        if !(0..MAX_FILE).contains(&request.offset) {
            bad = bad.field("offset", "must lie within the file");
        }
        if !bad.violations().is_empty() {
            return Err(bad);
        }
        let content = bytes::Bytes::from(request.content);
        self.db
            .transaction(move |tx| {
                let (user, content) = (access.user_key.clone(), content.clone());
                Box::pin(async move {
                    let upload = put(tx, &user, id, request.offset, &content).await?;
                    Ok(PutChunkResponse { upload: Some(upload.shown()) })
                })
            })
            .await
    }

    /// How far an upload is.
    ///
    /// # Errors
    /// `UPLOAD_NOT_FOUND`; database errors.
    pub(crate) async fn get(
        &self,
        access: Access,
        request: GetUploadRequest,
    ) -> Result<GetUploadResponse, Error> {
        let id = ids::parse(&request.upload_id, "upload_id")?;
        let upload = self.own(&access.user_key, id).await?;
        Ok(GetUploadResponse { upload: Some(upload.shown()) })
    }

    /// Checks the file and stores it by its content. A file whose hash differs is to be sent again from the beginning.
    ///
    /// # Errors
    /// `UPLOAD_NOT_FOUND`, `UPLOAD_INCOMPLETE`, `HASH_DIFFERS`, `OBJECT_STORE_UNAVAILABLE`; database errors.
    pub(crate) async fn finish(
        &self,
        access: Access,
        request: FinishUploadRequest,
    ) -> Result<FinishUploadResponse, Error> {
        rights::check_agent(&access)?;
        let id = ids::parse(&request.upload_id, "upload_id")?;
        let closed = |error| Error::internal("FILES_CLOSED", "the semaphore is closed").with_source(error);
        let _permit = self.finishing.acquire().await.map_err(closed)?;
        let upload = self.own(&access.user_key, id).await?;
        if upload.finished {
            return Ok(FinishUploadResponse { upload: Some(upload.shown()) });
        }
        if upload.received_bytes < upload.size_bytes {
            return Err(Error::rejected(
                "UPLOAD_INCOMPLETE",
                "pieces are missing; continue at received_bytes",
            ));
        }
        let pieces = self.db.read(move |conn| Box::pin(store::chunks(conn, id))).await?;
        let content = bytes::Bytes::from(pieces.concat());
        let matches = Digest256::of(&content) == upload.digest()?;
        if matches {
            // Before the row says so, as everywhere: content first.
            self.objects.put(content).await?;
        }
        self.settle(access.user_key, id, matches).await
    }

    async fn own(&self, user: &str, id: Uuid) -> Result<Upload, Error> {
        let user = user.to_owned();
        let found =
            self.db.read(move |conn| Box::pin(async move { store::find(conn, &user, id).await })).await?;
        found.ok_or_else(not_found)
    }

    async fn settle(&self, user: String, id: Uuid, matches: bool) -> Result<FinishUploadResponse, Error> {
        let upload = self
            .db
            .transaction(move |tx| {
                let user = user.clone();
                Box::pin(async move {
                    let mut upload = store::locked(tx, &user, id).await?.ok_or_else(not_found)?;
                    if matches {
                        store::finish(tx, id).await?;
                        upload.finished = true;
                    } else if !upload.finished {
                        store::reset(tx, id).await?;
                    }
                    Ok(upload)
                })
            })
            .await?;
        if upload.finished {
            return Ok(FinishUploadResponse { upload: Some(upload.shown()) });
        }
        Err(Error::rejected("HASH_DIFFERS", "what arrived is not what was announced; send it again"))
    }
}

async fn put(
    tx: &mut PgConnection,
    user: &str,
    id: Uuid,
    offset: i64,
    content: &[u8],
) -> Result<Upload, Error> {
    let mut upload = store::locked(tx, user, id).await?.ok_or_else(not_found)?;
    let length = i64::try_from(content.len()).unwrap_or(i64::MAX);
    if offset.saturating_add(length) > upload.size_bytes {
        return Err(Error::rejected("CHUNK_BEYOND_END", "the piece ends beyond the announced size"));
    }
    if upload.finished {
        return Ok(upload);
    }
    if offset > upload.received_bytes {
        return Err(Error::rejected("CHUNK_GAP", "pieces before it are missing; continue at received_bytes"));
    }
    if offset == upload.received_bytes {
        upload.received_bytes = store::append(tx, id, offset, content).await?;
        return Ok(upload);
    }
    if store::has_chunk(tx, id, offset, content).await? {
        return Ok(upload);
    }
    Err(Error::rejected("CHUNK_DIFFERS", "another piece was received there"))
}

fn announced(request: BeginUploadRequest) -> Result<Announced, Error> {
    let mut bad = Error::invalid("INVALID_REQUEST", "the upload is malformed");
    let length = request.file_name.chars().count();
    if request.file_name.trim().is_empty() || length > 255 {
        bad = bad.field("file_name", "1 to 255 characters");
    }
    if request.size_bytes < 1 {
        bad = bad.field("size_bytes", "must be at least 1");
    }
    let sha256 = request.sha256.parse::<Digest256>();
    if sha256.is_err() || request.sha256.chars().any(|c| c.is_ascii_uppercase()) {
        bad = bad.field("sha256", "must be 64 lower-case hexadecimal digits");
    }
    if !bad.violations().is_empty() {
        return Err(bad);
    }
    if request.size_bytes > MAX_FILE {
        return Err(Error::invalid("FILE_TOO_LARGE", format!("a file has at most {MAX_FILE} bytes"))
            .field("size_bytes", format!("at most {MAX_FILE}")));
    }
    Ok(Announced {
        file_name: download::file_name(&request.file_name),
        media_type: media_type(&request.media_type),
        size_bytes: request.size_bytes,
        sha256: sha256?,
    })
}

/// `type/subtype` (RFC 6838 section 4.2), without parameters.
fn media_type(written: &str) -> String {
    let token = |part: &str| {
        !part.is_empty()
            && part.len() <= 60
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let essence = written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let valid = essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    if valid { essence } else { "application/octet-stream".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::media_type;

    #[test]
    fn media_types_are_plain_or_bytes() {
        for (written, expected) in [
            ("image/PNG", "image/png"),
            ("text/plain; charset=utf-8", "text/plain"),
            ("", "application/octet-stream"),
            ("a/b/c", "application/octet-stream"),
            ("x/y\r\nA: b", "application/octet-stream"),
        ] {
            assert_eq!(media_type(written), expected);
        }
    }
}
