//! `hilo.internal.v1.StoredThreadService`: attention-state gets bodies back that it gave away. Services only.

use hilo_kit::auth::require_service;
use hilo_kit::error::Error;
use hilo_proto::internal::v1::stored_thread_service_server::StoredThreadService;
use hilo_proto::internal::v1::{GetStoredThreadRequest, GetStoredThreadResponse};
use tonic::{Request, Response, Status};

use crate::contract;
use crate::store::Store;

/// The service.
pub(crate) struct StoredThreadRpc {
    store: Store,
}

impl StoredThreadRpc {
    /// Answers from `store`.
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl StoredThreadService for StoredThreadRpc {
    async fn get_stored_thread(
        &self,
        request: Request<GetStoredThreadRequest>,
    ) -> Result<Response<GetStoredThreadResponse>, Status> {
        require_service(&request)?;
        let request = request.into_inner();
        let id = contract::interaction_id(&request.interaction_id)?;
        let page = self.store.stored_page(id, contract::page_place(&request.page_token)?).await?;
        let page = page.ok_or_else(|| Error::missing("THREAD_NOT_FOUND", "there is no such thread"))?;
        Ok(Response::new(GetStoredThreadResponse {
            thread: Some(contract::handed_back(page.thread)),
            next_page_token: page.next.map(|place| place.to_string()).unwrap_or_default(),
        }))
    }
}
