//! `hilo.internal.v1.DirectoryFeedService`: the directory for the other services, with revoked tokens.

use hilo_kit::auth::require_service;
use hilo_kit::db::Db;
use hilo_proto::internal::v1::directory_feed_service_server::DirectoryFeedService;
use hilo_proto::internal::v1::{GetDirectoryRequest, GetDirectoryResponse};
use tonic::{Request, Response, Status};

use crate::directory::feed;

/// The service.
#[derive(Debug)]
pub struct DirectoryFeedRpc {
    db: Db,
}

impl DirectoryFeedRpc {
    /// Reads by `db`.
    pub fn new(db: Db) -> Self {
        Self { db }
    }
}

#[tonic::async_trait]
impl DirectoryFeedService for DirectoryFeedRpc {
    async fn get_directory(
        &self,
        request: Request<GetDirectoryRequest>,
    ) -> Result<Response<GetDirectoryResponse>, Status> {
        require_service(&request)?;
        let known = request.into_inner().known_version;
        let answer =
            self.db.snapshot(move |conn| Box::pin(async move { feed::answer(conn, known).await })).await?;
        Ok(Response::new(answer))
    }
}
