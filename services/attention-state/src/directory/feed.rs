//! The directory as other services get it, and as this one keeps it in memory.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::Error;
use hilo_kit::db::Db;
use hilo_kit::directory::{Directory, DirectoryCache};
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::internal::v1::GetDirectoryResponse;
use sqlx::PgConnection;
use tokio::sync::watch;

use super::announce::Announcer;
use super::proto;
use super::store::read;
use crate::identity;

/// How often this service looks whether another replica has changed the directory.
const REFRESH: Duration = Duration::from_secs(1);

/// The directory when it is newer than the known one, and always the revoked tokens. Call it in a snapshot.
///
/// # Errors
/// Database errors.
pub async fn answer(conn: &mut PgConnection, known: i64) -> Result<GetDirectoryResponse, Error> {
    let revoked = identity::store::revoked(conn).await?;
    let revoked_token_ids = revoked.iter().map(ToString::to_string).collect();
    let version = read::version(conn).await?;
    if version == known {
        return Ok(GetDirectoryResponse { version, changed: false, directory: None, revoked_token_ids });
    }
    let (version, directory) = read::directory(conn).await?;
    let directory = Some(proto::directory(&directory));
    Ok(GetDirectoryResponse { version, changed: true, directory, revoked_token_ids })
}

/// This service's own cache, read from its database: at once after a change made here, every second for others'.
///
/// # Errors
/// Database errors of the first reading.
pub async fn cache(db: &Db, announcer: &Announcer, shutdown: &Shutdown) -> Result<DirectoryCache, Error> {
    cache_every(REFRESH, db, announcer, shutdown).await
}

/// Like [`cache`], looking every `pause` for what others changed: a test of what is changed here sets it so long that only
/// the announcement can have brought the change.
pub(crate) async fn cache_every(
    pause: Duration,
    db: &Db,
    announcer: &Announcer,
    shutdown: &Shutdown,
) -> Result<DirectoryCache, Error> {
    let mut changes = announcer.watch();
    let sender = watch::Sender::new(Arc::new(Directory::default()));
    refresh(db, &sender).await?;
    let cache = DirectoryCache::fed(sender.subscribe());
    let (db, stop) = (db.clone(), shutdown.clone());
    shutdown.spawn("own directory", async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = changes.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            if let Err(error) = refresh(&db, &sender).await {
                error.log("refreshing the own directory");
            }
        }
    });
    Ok(cache)
}

async fn refresh(db: &Db, sender: &watch::Sender<Arc<Directory>>) -> Result<(), Error> {
    let known = sender.borrow().clone();
    let answered =
        db.snapshot(move |conn| Box::pin(async move { answer(conn, known.version()).await })).await?;
    match answered.directory {
        Some(directory) => {
            let read = Directory::new(answered.version, directory, answered.revoked_token_ids);
            sender.send_replace(Arc::new(read));
        }
        None => {
            sender.send_if_modified(|current| match current.with_revoked(answered.revoked_token_ids) {
                Some(newer) => {
                    *current = Arc::new(newer);
                    true
                }
                None => false,
            });
        }
    }
    Ok(())
}
