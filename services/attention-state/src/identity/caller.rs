//! Who calls, and what he may do now: the token gives the key, the directory everything else.

use hilo_kit::Error;
use hilo_kit::auth::Principal;
use hilo_kit::db::Db;
use tonic::Request;

use super::store;
use crate::directory::{self, Access};

/// The calling user's access; refuses tokens that were revoked and users who are not active.
///
/// # Errors
/// `UNAUTHENTICATED`, `USER_REQUIRED`; database errors.
pub async fn user<T>(db: &Db, request: &Request<T>) -> Result<Access, Error> {
    let (key, token_id) = match hilo_kit::auth::principal(request) {
        Some(Principal::User { key, token_id, .. }) => (key.clone(), *token_id),
        Some(Principal::Service { .. }) => {
            return Err(Error::denied("USER_REQUIRED", "only a user may call this"));
        }
        None => return Err(Error::unauthenticated("a token is required")),
    };
    let access = db
        .read(move |conn| {
            Box::pin(async move {
                if store::is_revoked(conn, token_id).await? {
                    return Ok(None);
                }
                directory::access(conn, &key).await
            })
        })
        .await?;
    access.filter(|access| access.active).ok_or_else(|| Error::unauthenticated("the token is not valid"))
}
