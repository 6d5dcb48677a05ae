//! The last directory read, kept for starts while attention-state is away.

use hilo_kit::error::Error;
use hilo_proto::directory::v1::{Account, Directory};
use prost::Message as _;

use super::Store;

impl Store {
    /// Keeps the accounts of a directory, unless a newer one was kept just now: replicas read it at their own time. A lower version
    /// after a while is no race: attention-state was restored from a backup.
    ///
    /// # Errors
    /// Database errors.
    pub async fn keep_accounts(&self, version: i64, accounts: Vec<Account>) -> Result<(), Error> {
        let bytes = Directory { accounts, ..Directory::default() }.encode_to_vec();
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    sqlx::query!(
                        "INSERT INTO whatsapp.directory (version, accounts) VALUES ($1, $2)
                         ON CONFLICT (only_row)
                         DO UPDATE SET version = excluded.version, accounts = excluded.accounts, kept_at = now()
                         WHERE whatsapp.directory.version <= excluded.version
                            OR whatsapp.directory.kept_at < now() - interval '10 minutes'",
                        version,
                        bytes,
                    )
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    /// The accounts kept last; `None` before the first.
    ///
    /// # Errors
    /// `DIRECTORY_UNREADABLE`; database errors.
    pub async fn kept_accounts(&self) -> Result<Option<Vec<Account>>, Error> {
        let bytes = self
            .db
            .read(|conn| {
                Box::pin(async move {
                    Ok(sqlx::query_scalar!("SELECT accounts FROM whatsapp.directory")
                        .fetch_optional(conn)
                        .await?)
                })
            })
            .await?;
        let Some(bytes) = bytes else { return Ok(None) };
        let directory = Directory::decode(bytes.as_slice()).map_err(|error| {
            Error::corrupt("DIRECTORY_UNREADABLE", "the kept directory cannot be read").with_source(error)
        })?;
        Ok(Some(directory.accounts))
    }
}
