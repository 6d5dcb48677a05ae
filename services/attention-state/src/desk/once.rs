//! Request ids: the same request gets the same answer for a day, in the transaction of its effect.

use std::sync::Arc;

use futures::future::BoxFuture;
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::idempotency::{self, Begin};
use hilo_kit::ids;
use prost::Message;
use sqlx::PgConnection;

/// Who asks what under which id.
#[derive(Clone, Debug)]
pub(crate) struct Once {
    principal: String,
    rpc: &'static str,
    request_id: String,
    hash: [u8; 32],
}

impl Once {
    /// `request` is the request without its id.
    ///
    /// # Errors
    /// `INVALID_ID` when the id is not a UUID.
    pub(crate) fn new(
        user: &str,
        rpc: &'static str,
        request_id: &str,
        request: &impl Message,
    ) -> Result<Self, Error> {
        let request_id = ids::parse(request_id, "request_id")?.to_string();
        let hash = idempotency::hash(&request.encode_to_vec());
        Ok(Self { principal: format!("user:{user}"), rpc, request_id, hash })
    }

    /// The answer that was given to this request before; else what `work` does and answers, with the answer kept, in one
    /// transaction, which is tried again when it loses a race.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED`; those of `work`; database errors.
    pub(crate) async fn answered<A, F>(self, db: &Db, work: F) -> Result<A, Error>
    where
        A: Message + Default + 'static,
        F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<A, Error>> + Send + Sync + 'static,
    {
        let command = Arc::new((self, work));
        db.transaction(move |tx| {
            let command = command.clone();
            Box::pin(async move {
                let (once, work) = &*command;
                if let Some(answer) = once.begin(tx).await? {
                    return Ok(answer);
                }
                let answer = work(&mut *tx).await?;
                once.finish(tx, &answer).await?;
                Ok(answer)
            })
        })
        .await
    }

    /// The answer given before, if any.
    async fn begin<A: Message + Default>(&self, tx: &mut PgConnection) -> Result<Option<A>, Error> {
        let begun: Begin =
            idempotency::begin(tx, &self.principal, self.rpc, &self.request_id, &self.hash).await?;
        match begun.replay()? {
            Some(answer) => Ok(Some(A::decode(answer.as_slice())?)),
            None => Ok(None),
        }
    }

    /// Keeps the answer.
    async fn finish(&self, tx: &mut PgConnection, answer: &impl Message) -> Result<(), Error> {
        idempotency::finish(tx, &self.principal, self.rpc, &self.request_id, &answer.encode_to_vec()).await
    }
}
