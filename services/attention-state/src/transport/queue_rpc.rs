//! `hilo.internal.v1.QueueService`: queues in numbers, for the live panel that routing serves. Services only.

use hilo_kit::Error;
use hilo_kit::auth::require_service;
use hilo_kit::db::Db;
use hilo_proto::internal::v1::queue_service_server::QueueService;
use hilo_proto::internal::v1::{ReadQueuesRequest, ReadQueuesResponse};
use tonic::{Request, Response, Status};

use crate::assignment::queues;

/// Shortest and longest window of the service level, in seconds.
const WINDOW: std::ops::RangeInclusive<i32> = 60..=86_400;

/// The service.
#[derive(Debug)]
pub struct QueueRpc {
    db: Db,
}

impl QueueRpc {
    /// Reads by `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

#[tonic::async_trait]
impl QueueService for QueueRpc {
    async fn read_queues(
        &self,
        request: Request<ReadQueuesRequest>,
    ) -> Result<Response<ReadQueuesResponse>, Status> {
        require_service(&request)?;
        let window = request.into_inner().window_seconds;
        if !WINDOW.contains(&window) {
            let bad = Error::invalid("INVALID_REQUEST", "the window is malformed");
            let bounds = format!("from {} to {}", WINDOW.start(), WINDOW.end());
            return Err(bad.field("window_seconds", bounds).into());
        }
        Ok(Response::new(self.db.snapshot(move |conn| Box::pin(queues::read(conn, window))).await?))
    }
}
