//! `hilo.internal.v1.EndedThreadService`: history fetches ended threads and confirms them. Services only.

use hilo_kit::auth::require_service;
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::internal::v1::ended_thread_service_server::EndedThreadService;
use hilo_proto::internal::v1::{
    ConfirmStoredRequest, ConfirmStoredResponse, EndedVersion, GetEndedThreadRequest, GetEndedThreadResponse,
    ListEndedUnconfirmedRequest, ListEndedUnconfirmedResponse,
};
use time::OffsetDateTime;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::attention::ended::{self, Ended, Place};

/// Page size when none is named.
const DEFAULT_PAGE: i32 = 100;
/// Largest page, and most confirmations at once.
const MAX_PAGE: i32 = 500;

/// The service.
pub(crate) struct EndedThreadRpc {
    db: Db,
}

impl EndedThreadRpc {
    /// Reads and writes by `db`.
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }
}

fn encode(ended: &Ended) -> String {
    format!("{}.{}", ended.ended_at.unix_timestamp_nanos() / 1_000, ended.interaction.simple())
}

fn decode(token: &str) -> Result<Option<(OffsetDateTime, Uuid)>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = token.split_once('.').and_then(|(micros, id)| {
        let nanos = micros.parse::<i128>().ok()?.checked_mul(1_000)?;
        Some((OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?, Uuid::try_parse(id).ok()?))
    });
    let bad = || Error::invalid("INVALID_PAGE_TOKEN", "the page token is not one of ours");
    place.map(Some).ok_or_else(|| bad().field("page_token", "malformed"))
}

fn decode_place(token: &str) -> Result<Option<Place>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let place = token.split_once('.').and_then(|(version, offset)| {
        Some(Place { version: version.parse().ok()?, offset: offset.parse().ok()? })
    });
    let bad = || Error::invalid("INVALID_PAGE_TOKEN", "the page token is not one of ours");
    place.map(Some).ok_or_else(|| bad().field("page_token", "malformed"))
}

#[tonic::async_trait]
impl EndedThreadService for EndedThreadRpc {
    async fn list_ended_unconfirmed(
        &self,
        request: Request<ListEndedUnconfirmedRequest>,
    ) -> Result<Response<ListEndedUnconfirmedResponse>, Status> {
        require_service(&request)?;
        let request = request.into_inner();
        let size = if request.page_size <= 0 { DEFAULT_PAGE } else { request.page_size.min(MAX_PAGE) };
        let after = decode(&request.page_token)?;
        let limit = i64::from(size);
        let found = self
            .db
            .read(move |conn| Box::pin(async move { ended::unconfirmed(conn, after, limit).await }))
            .await?;
        let full = usize::try_from(size).is_ok_and(|size| found.len() == size);
        let next_page_token = found.last().filter(|_| full).map(encode).unwrap_or_default();
        let version =
            |one: &Ended| EndedVersion { interaction_id: one.interaction.to_string(), version: one.version };
        Ok(Response::new(ListEndedUnconfirmedResponse {
            ended: found.iter().map(version).collect(),
            next_page_token,
        }))
    }

    async fn get_ended_thread(
        &self,
        request: Request<GetEndedThreadRequest>,
    ) -> Result<Response<GetEndedThreadResponse>, Status> {
        require_service(&request)?;
        let request = request.into_inner();
        let id = ids::parse(&request.interaction_id, "interaction_id")?;
        let from = decode_place(&request.page_token)?;
        let page =
            self.db.snapshot(move |tx| Box::pin(async move { ended::page(tx, id, from).await })).await?;
        let page =
            page.ok_or_else(|| Error::missing("THREAD_NOT_FOUND", "there is no such ended interaction"))?;
        let next = page.next.map(|place| format!("{}.{}", place.version, place.offset));
        Ok(Response::new(GetEndedThreadResponse {
            thread: Some(page.thread),
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn confirm_stored(
        &self,
        request: Request<ConfirmStoredRequest>,
    ) -> Result<Response<ConfirmStoredResponse>, Status> {
        require_service(&request)?;
        let stored = request.into_inner().stored;
        if stored.len() > usize::try_from(MAX_PAGE).unwrap_or_default() {
            let bad = Error::invalid("INVALID_REQUEST", "too many at once");
            return Err(bad.field("stored", format!("at most {MAX_PAGE}")).into());
        }
        let stored: Vec<(Uuid, i64)> = stored
            .iter()
            .map(|one| Ok((ids::parse(&one.interaction_id, "stored.interaction_id")?, one.version)))
            .collect::<Result<_, Error>>()?;
        let confirmed = self
            .db
            .transaction(move |tx| {
                let stored = stored.clone();
                Box::pin(async move { ended::confirm(tx, &stored).await })
            })
            .await?;
        Ok(Response::new(ConfirmStoredResponse { confirmed: i32::try_from(confirmed).unwrap_or(i32::MAX) }))
    }
}
