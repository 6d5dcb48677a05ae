//! Hand-over confirmation: the writer asks the reader of a stream which messages it has committed.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use hilo_proto::internal::v1::handover_service_client::HandoverServiceClient;
use hilo_proto::internal::v1::handover_service_server::{HandoverService, HandoverServiceServer};
use hilo_proto::internal::v1::{ListKnownRequest, ListKnownResponse};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::auth;
use crate::db::Db;
use crate::error::Error;
use crate::grpc::{InternalChannel, with_deadline};
use crate::{ids, inbox};

/// The reader of a hand-over stream, as its writer sees it.
#[async_trait]
pub trait HandoverPeer: Send + Sync + 'static {
    /// Which of the ids the reader has committed or dead-lettered. At most [`inbox::MAX_IDS`] ids.
    ///
    /// # Errors
    /// Anything: then nothing is known and it is asked again later.
    async fn known(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error>;
}

/// Asks by gRPC (`hilo.internal.v1.HandoverService`).
#[derive(Clone, Debug)]
pub struct GrpcPeer {
    client: HandoverServiceClient<InternalChannel>,
    consumer: String,
}

impl GrpcPeer {
    /// `consumer` is the reader's durable name, for instance `attention-intake`.
    pub fn new(channel: InternalChannel, consumer: impl Into<String>) -> Self {
        Self { client: HandoverServiceClient::new(channel), consumer: consumer.into() }
    }
}

#[async_trait]
impl HandoverPeer for GrpcPeer {
    async fn known(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, Error> {
        let request = ListKnownRequest {
            consumer: self.consumer.clone(),
            ids: ids.iter().map(Uuid::to_string).collect(),
        };
        let answer = self.client.clone().list_known(with_deadline(request, Duration::from_secs(5))).await?;
        answer.into_inner().known_ids.iter().map(|id| ids::parse(id, "known_ids")).collect()
    }
}

/// Serves the look-up from this service's inbox and dead letters; add it to the routes of every reader.
#[derive(Clone, Debug)]
pub struct HandoverEndpoint {
    db: Db,
}

impl HandoverEndpoint {
    /// From this service's database.
    pub fn new(db: Db) -> Self {
        Self { db }
    }

    /// As a service for [`crate::grpc::Server`].
    pub fn into_service(self) -> HandoverServiceServer<Self> {
        HandoverServiceServer::new(self)
    }
}

#[async_trait]
impl HandoverService for HandoverEndpoint {
    async fn list_known(
        &self,
        request: Request<ListKnownRequest>,
    ) -> Result<Response<ListKnownResponse>, Status> {
        auth::require_service(&request)?;
        let request = request.into_inner();
        if !crate::nats::is_token(&request.consumer) {
            return Err(Error::invalid("INVALID_REQUEST", "no such consumer")
                .field("consumer", "must be a token")
                .into());
        }
        let ids = request.ids.iter().map(|id| ids::parse(id, "ids")).collect::<Result<Vec<_>, _>>()?;
        let known = inbox::known(&self.db, &request.consumer, &ids).await?;
        Ok(Response::new(ListKnownResponse { known_ids: known.iter().map(Uuid::to_string).collect() }))
    }
}
