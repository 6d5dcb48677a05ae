//! Request ids: the same request gets the same answer for a day, in the transaction of its effect.

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

    /// The answer given before, if any.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED`; database errors.
    pub(crate) async fn begin<A: Message + Default>(
        &self,
        tx: &mut PgConnection,
    ) -> Result<Option<A>, Error> {
        let begun: Begin =
            idempotency::begin(tx, &self.principal, self.rpc, &self.request_id, &self.hash).await?;
        match begun.replay()? {
            Some(answer) => Ok(Some(A::decode(answer.as_slice())?)),
            None => Ok(None),
        }
    }

    /// Keeps the answer.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn finish(&self, tx: &mut PgConnection, answer: &impl Message) -> Result<(), Error> {
        idempotency::finish(tx, &self.principal, self.rpc, &self.request_id, &answer.encode_to_vec()).await
    }
}
