//! The webhook ledger: what Meta is told 200 for.

use std::sync::Arc;

use bytes::Bytes;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;

use super::Store;

/// A signed body.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// Its id in the ledger.
    pub id: Uuid,
    /// As it came.
    pub body: Bytes,
    /// Names of the app secrets that its signature fits.
    pub signed_by: Vec<String>,
    /// Trace context of the request.
    pub traceparent: Option<String>,
}

impl Store {
    /// Commits bodies, all or none, in this order.
    ///
    /// # Errors
    /// Database errors: then nobody may be told that they arrived.
    pub async fn keep(&self, rows: Vec<NewWebhook>) -> Result<(), Error> {
        let rows = Arc::new(rows);
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
                    let bodies: Vec<&[u8]> = rows.iter().map(|row| row.body.as_ref()).collect();
                    // Names of secrets have no comma.
                    let signers: Vec<String> = rows.iter().map(|row| row.signed_by.join(",")).collect();
                    let traces: Vec<Option<&str>> = rows.iter().map(|row| row.traceparent.as_deref()).collect();
                    // One statement is one transaction: no round trips for BEGIN and COMMIT.
                    sqlx::query!(
                        "WITH kept AS (
                           INSERT INTO whatsapp.webhook (id, body, signed_by, traceparent)
                           SELECT r.id, r.body, string_to_array(r.signers, ','), r.trace
                           FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[]) WITH ORDINALITY
                                AS r (id, body, signers, trace, n)
                           ORDER BY r.n
                           RETURNING id, position)
                         INSERT INTO whatsapp.parse_queue (webhook_id, position) SELECT id, position FROM kept",
                        &ids,
                        &bodies as _,
                        &signers,
                        &traces as _,
                    )
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await?;
        self.unparsed.notify_one();
        Ok(())
    }
}
