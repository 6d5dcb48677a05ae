//! `hilo.history.v1.HistoryService`: checks the caller, the request, then asks the store with the caller's scope.

use std::time::Instant;

use hilo_kit::error::Error;
use hilo_proto::history::v1::history_service_server::HistoryService;
use hilo_proto::history::v1::{
    ExportThreadsRequest, ExportThreadsResponse, GetThreadRequest, GetThreadResponse, SearchThreadsRequest,
    SearchThreadsResponse,
};
use tonic::{Request, Response, Status};

use crate::contract;
use crate::domain::{Criteria, PageToken, criteria};
use crate::metrics::Metrics;
use crate::rights::Rights;
use crate::store::{PageRequest, Store};

/// The public service.
pub struct HistoryRpc {
    store: Store,
    rights: Rights,
    metrics: Metrics,
}

impl HistoryRpc {
    /// Answers from `store` what `rights` allow.
    pub fn new(store: Store, rights: Rights, metrics: Metrics) -> Self {
        Self { store, rights, metrics }
    }

    async fn search(&self, request: Request<SearchThreadsRequest>) -> Result<SearchThreadsResponse, Error> {
        let scope = self.rights.scope(&request)?;
        let asked = request.into_inner();
        let criteria = Criteria::parse(&contract::asked(&asked)?)?;
        let size = criteria::page_size(asked.page_size)?;
        let mut page = PageRequest::first(scope, criteria.clone(), self.rights.time_zone(), size);
        if !asked.page_token.is_empty() {
            page = page.after(PageToken::decode(&asked.page_token, &criteria)?);
        }
        let started = Instant::now();
        let found = self.store.search(page).await?;
        self.metrics.searched(started);
        let next = found.next.map(|position| PageToken::encode(position, &criteria));
        Ok(SearchThreadsResponse {
            threads: found.heads.into_iter().map(contract::summary).collect(),
            next_page_token: next.unwrap_or_default(),
        })
    }

    async fn thread(&self, request: Request<GetThreadRequest>) -> Result<GetThreadResponse, Error> {
        let scope = self.rights.scope(&request)?;
        let id = contract::interaction_id(&request.get_ref().interaction_id)?;
        let thread = self.store.thread(&scope, id).await?;
        // The same answer for a thread that is not there and one of another campaign.
        let thread = thread.ok_or_else(|| Error::missing("THREAD_NOT_FOUND", "no such thread"))?;
        Ok(GetThreadResponse { thread: Some(contract::answer(thread)) })
    }
}

#[tonic::async_trait]
impl HistoryService for HistoryRpc {
    async fn search_threads(
        &self,
        request: Request<SearchThreadsRequest>,
    ) -> Result<Response<SearchThreadsResponse>, Status> {
        Ok(Response::new(self.search(request).await?))
    }

    async fn get_thread(
        &self,
        request: Request<GetThreadRequest>,
    ) -> Result<Response<GetThreadResponse>, Status> {
        Ok(Response::new(self.thread(request).await?))
    }

    type ExportThreadsStream = tokio_stream::Empty<Result<ExportThreadsResponse, Status>>;

    async fn export_threads(
        &self,
        request: Request<ExportThreadsRequest>,
    ) -> Result<Response<Self::ExportThreadsStream>, Status> {
        self.rights.scope(&request)?;
        Err(Error::rejected("UNIMPLEMENTED", "export is not there yet").into())
    }
}
