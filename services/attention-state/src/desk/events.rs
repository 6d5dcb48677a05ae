//! `ListEvents`: what a filtered subscriber heals a gap with, read from the outbox log as long as it keeps them.

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_kit::nats::StreamKind;
use hilo_proto::attention::v1::{ListEventsRequest, ListEventsResponse};
use hilo_proto::event::v1::AttentionEvent;

use super::read;
use crate::attention::outbox::DATA;
use crate::directory::Access;

/// Page size when none is named.
const DEFAULT_PAGE: i32 = 100;
/// Largest page.
const MAX_PAGE: i32 = 500;

/// Events of an attention after a sequence. `access` is `None` for a service.
///
/// # Errors
/// `ATTENTION_NOT_FOUND`, `INVALID_REQUEST`; database errors.
pub(crate) async fn list(
    db: &Db,
    access: Option<Access>,
    request: ListEventsRequest,
) -> Result<ListEventsResponse, Error> {
    let id = ids::parse(&request.attention_id, "attention_id")?;
    if request.after_sequence < 0 {
        let bad = Error::invalid("INVALID_REQUEST", "the sequence is malformed");
        return Err(bad.field("after_sequence", "must not be negative"));
    }
    let size = if request.page_size <= 0 { DEFAULT_PAGE } else { request.page_size.min(MAX_PAGE) };
    db.snapshot(move |tx| {
        Box::pin(async move {
            if let Some(access) = &access {
                read::check(tx, access, id).await?;
            }
            let payloads = sqlx::query_scalar!(
                "SELECT payload FROM kit.outbox_log WHERE key = $1 AND stream = $2 AND sequence > $3
                 ORDER BY sequence LIMIT $4",
                id,
                StreamKind::Events.as_str(),
                request.after_sequence,
                i64::from(size)
            )
            .fetch_all(tx)
            .await?;
            let events = payloads
                .iter()
                .map(|payload| hilo_proto::json::from_json::<AttentionEvent>(DATA, payload))
                .collect::<Result<_, _>>()
                .map_err(|error| {
                    Error::corrupt("EVENT_NOT_DECODED", "a stored event is malformed").with_source(error)
                })?;
            Ok(ListEventsResponse { events })
        })
    })
    .await
}
