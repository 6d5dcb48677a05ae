//! `hilo.internal.v1.DeadLetterService`: operators list, show, replay and drop dead letters of one service.

use std::sync::Arc;

use async_trait::async_trait;
use hilo_proto::internal::v1::dead_letter_service_server::{DeadLetterService, DeadLetterServiceServer};
use hilo_proto::internal::v1::{
    DeadLetter, DeadLetterState, DropDeadLetterRequest, DropDeadLetterResponse, GetDeadLetterRequest,
    GetDeadLetterResponse, ListDeadLettersRequest, ListDeadLettersResponse, ReplayDeadLetterRequest,
    ReplayDeadLetterResponse,
};
use sqlx::FromRow;
use time::OffsetDateTime;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::auth::{self, Principal};
use crate::clock;
use crate::db::Db;
use crate::error::Error;
use crate::ids;

const COLUMNS: &str =
    "id, stream, consumer, subject, message_id, reason, detail, attempts, created_at, state,
    octet_length(payload)::int8 AS size_bytes";

/// Says whether a user is a coordinator; services ask their directory.
pub type IsCoordinator = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The operators' view of this service's dead letters; add it to the routes of every service with a database.
#[derive(Clone)]
pub struct DeadLetterEndpoint {
    db: Db,
    service: String,
    is_coordinator: IsCoordinator,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    stream: String,
    consumer: String,
    subject: String,
    message_id: Uuid,
    reason: String,
    detail: String,
    attempts: i32,
    created_at: OffsetDateTime,
    state: String,
    size_bytes: i64,
}

impl DeadLetterEndpoint {
    /// `service` is the name shown to operators; users need to be coordinators.
    pub fn new(db: Db, service: impl Into<String>, is_coordinator: IsCoordinator) -> Self {
        Self { db, service: service.into(), is_coordinator }
    }

    /// As a service for [`crate::grpc::Server`].
    pub fn into_service(self) -> DeadLetterServiceServer<Self> {
        DeadLetterServiceServer::new(self)
    }

    /// Answers who asks.
    fn allow<T>(&self, request: &Request<T>) -> Result<String, Error> {
        match auth::principal(request) {
            Some(Principal::Service { name }) => Ok(format!("service {name}")),
            Some(Principal::User { key, .. }) if (self.is_coordinator)(key) => Ok(format!("user {key}")),
            Some(Principal::User { .. }) => {
                Err(Error::denied("ROLE_REQUIRED", "only a coordinator may handle dead letters"))
            }
            None => Err(Error::unauthenticated("a token is required")),
        }
    }

    fn to_proto(&self, row: Row) -> DeadLetter {
        let state = match row.state.as_str() {
            "dead" => DeadLetterState::Dead,
            "replaying" | "replayed" => DeadLetterState::Replayed,
            "dropped" => DeadLetterState::Dropped,
            _ => DeadLetterState::Unspecified,
        };
        DeadLetter {
            dead_letter_id: row.id.to_string(),
            service: self.service.clone(),
            stream: row.stream,
            consumer: row.consumer,
            subject: row.subject,
            message_id: row.message_id.to_string(),
            reason: row.reason,
            detail: row.detail,
            attempts: row.attempts,
            created_at: Some(clock::to_proto(row.created_at)),
            state: state.into(),
            size_bytes: row.size_bytes,
        }
    }

    async fn find(&self, id: Uuid) -> Result<Row, Error> {
        let sql = format!("SELECT {COLUMNS} FROM kit.dead_letter WHERE id = $1");
        let row = self
            .db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(conn).await?)
                })
            })
            .await?;
        row.ok_or_else(|| Error::missing("DEAD_LETTER_NOT_FOUND", "no such dead letter"))
    }

    /// Moves a dead letter from `dead` to another state; only one of two operators succeeds.
    async fn settle(&self, id: Uuid, state: &'static str, who: String) -> Result<Row, Error> {
        let moved = self
            .db
            .transaction(move |tx| {
                let who = who.clone();
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE kit.dead_letter SET state = $2, settled_by = $3,
                             settled_at = CASE WHEN $2 = 'dropped' THEN now() END
                         WHERE id = $1 AND state = 'dead'",
                    )
                    .bind(id)
                    .bind(state)
                    .bind(who)
                    .execute(tx)
                    .await?;
                    Ok(done.rows_affected() == 1)
                })
            })
            .await?;
        let row = self.find(id).await?;
        if moved {
            Ok(row)
        } else {
            Err(Error::rejected("DEAD_LETTER_SETTLED", "the dead letter was replayed or dropped before"))
        }
    }
}

#[async_trait]
impl DeadLetterService for DeadLetterEndpoint {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        self.allow(&request)?;
        let request = request.into_inner();
        let size = match request.page_size {
            0 => 50,
            size @ 1..=500 => i64::from(size),
            _ => {
                return Err(Error::invalid("INVALID_REQUEST", "bad page size")
                    .field("page_size", "0 to 500")
                    .into());
            }
        };
        let before = match request.page_token.as_str() {
            "" => Uuid::max(),
            token => ids::parse(token, "page_token")?,
        };
        let (all, sql) = (
            request.include_settled,
            format!(
                "SELECT {COLUMNS} FROM kit.dead_letter WHERE id < $1 AND ($2 OR state IN ('dead', 'replaying'))
                 ORDER BY id DESC LIMIT $3"
            ),
        );
        let mut rows: Vec<Row> = self
            .db
            .read(move |conn| {
                Box::pin(async move {
                    let query =
                        sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(before).bind(all).bind(size + 1);
                    Ok(query.fetch_all(conn).await?)
                })
            })
            .await?;
        let more = rows.len() > usize::try_from(size).unwrap_or(usize::MAX);
        if more {
            rows.pop();
        }
        let next_page_token = rows.last().filter(|_| more).map(|row| row.id.to_string()).unwrap_or_default();
        let dead_letters = rows.into_iter().map(|row| self.to_proto(row)).collect();
        Ok(Response::new(ListDeadLettersResponse { dead_letters, next_page_token }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<GetDeadLetterResponse>, Status> {
        self.allow(&request)?;
        let id = ids::parse(&request.get_ref().dead_letter_id, "dead_letter_id")?;
        let row = self.find(id).await?;
        let (headers, payload): (String, Vec<u8>) = self
            .db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query_as("SELECT headers, payload FROM kit.dead_letter WHERE id = $1")
                        .bind(id)
                        .fetch_one(conn)
                        .await?)
                })
            })
            .await?;
        let headers: Vec<(String, String)> = serde_json::from_str(&headers).map_err(|error| {
            Error::corrupt("INVALID_HEADERS", "stored headers are broken").with_source(error)
        })?;
        Ok(Response::new(GetDeadLetterResponse {
            dead_letter: Some(self.to_proto(row)),
            headers: headers.into_iter().collect(),
            payload,
        }))
    }

    async fn replay_dead_letter(
        &self,
        request: Request<ReplayDeadLetterRequest>,
    ) -> Result<Response<ReplayDeadLetterResponse>, Status> {
        let who = self.allow(&request)?;
        let id = ids::parse(&request.get_ref().dead_letter_id, "dead_letter_id")?;
        let row = self.settle(id, "replaying", who).await?;
        Ok(Response::new(ReplayDeadLetterResponse { dead_letter: Some(self.to_proto(row)) }))
    }

    async fn drop_dead_letter(
        &self,
        request: Request<DropDeadLetterRequest>,
    ) -> Result<Response<DropDeadLetterResponse>, Status> {
        let who = self.allow(&request)?;
        let id = ids::parse(&request.get_ref().dead_letter_id, "dead_letter_id")?;
        let row = self.settle(id, "dropped", who).await?;
        Ok(Response::new(DropDeadLetterResponse { dead_letter: Some(self.to_proto(row)) }))
    }
}
