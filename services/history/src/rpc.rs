//! `hilo.history.v1.HistoryService`: checks the caller, the request, then asks the store with the caller's scope.

use std::time::Instant;

use hilo_kit::error::Error;
use hilo_proto::history::v1::history_service_server::HistoryService;
use hilo_proto::history::v1::{
    ExportFormat, ExportThreadsRequest, ExportThreadsResponse, GetDownloadUrlRequest, GetDownloadUrlResponse,
    GetThreadRequest, GetThreadResponse, SearchThreadsRequest, SearchThreadsResponse,
};
use tonic::{Request, Response, Status};

use crate::contract;
use crate::domain::{Criteria, PageToken, Scope, criteria};
use crate::download::Downloads;
use crate::export::Exporter;
use crate::export::pipe::Receiving;
use crate::metrics::Metrics;
use crate::rights::{Right, Rights};
use crate::store::{PageRequest, Store};

/// The public service.
pub struct HistoryRpc {
    store: Store,
    rights: Rights,
    exporter: Exporter,
    downloads: Downloads,
    metrics: Metrics,
}

impl HistoryRpc {
    /// Answers from `store` what `rights` allow.
    pub fn new(
        store: Store,
        rights: Rights,
        exporter: Exporter,
        downloads: Downloads,
        metrics: Metrics,
    ) -> Self {
        Self { store, rights, exporter, downloads, metrics }
    }

    async fn search(&self, request: Request<SearchThreadsRequest>) -> Result<SearchThreadsResponse, Error> {
        let scope = self.rights.scope(&request, Right::Threads)?;
        let asked = request.into_inner();
        let size = criteria::page_size(asked.page_size)?;
        let (mut page, criteria) = self.page(scope, &asked, size).await?;
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

    /// The first page of what is asked for.
    async fn page(
        &self,
        scope: Scope,
        asked: &SearchThreadsRequest,
        size: i32,
    ) -> Result<(PageRequest, Criteria), Error> {
        let criteria = Criteria::parse(&contract::asked(asked)?)?;
        self.check_fields(&scope, asked).await?;
        let zone = self.rights.time_zone(criteria.campaign_key.as_deref());
        let tags = criteria.tag.iter().flat_map(|tag| self.rights.tags_named(tag)).collect();
        Ok((PageRequest::first(scope, criteria.clone(), zone, size).or_tags(tags), criteria))
    }

    /// A field that no form of the caller's campaigns has or ever had is a mistake, not a search without result.
    async fn check_fields(&self, scope: &Scope, asked: &SearchThreadsRequest) -> Result<(), Error> {
        if asked.form_values.is_empty() {
            return Ok(());
        }
        let now = self.rights.form_fields(scope);
        let unknown = asked.form_values.keys().filter(|field| !now.contains(*field));
        let mut unknown: Vec<String> = unknown.cloned().collect();
        if !unknown.is_empty() {
            let once = self.store.form_fields(scope, None).await?;
            unknown.retain(|field| !once.contains(field));
        }
        unknown.sort();
        criteria::refuse_unknown_fields(&unknown)
    }

    async fn thread(&self, request: Request<GetThreadRequest>) -> Result<GetThreadResponse, Error> {
        let scope = self.rights.scope(&request, Right::Threads)?;
        let asked = request.into_inner();
        let id = contract::interaction_id(&asked.interaction_id)?;
        let (size, from) =
            (contract::thread_page_size(asked.page_size)?, contract::page_place(&asked.page_token)?);
        let page = self.store.thread_page(&scope, id, from, size).await?;
        // The same answer for a thread that is not there and one of another campaign.
        let page = page.ok_or_else(|| Error::missing("THREAD_NOT_FOUND", "no such thread"))?;
        let place = self.store.place(&scope, &page.thread).await?.map(contract::place);
        let next_page_token = page.next.map(|place| place.to_string()).unwrap_or_default();
        Ok(GetThreadResponse { thread: Some(contract::answer(page.thread)), place, next_page_token })
    }

    async fn export(
        &self,
        request: Request<ExportThreadsRequest>,
    ) -> Result<Receiving<ExportThreadsResponse>, Error> {
        let caller = self.rights.caller(&request, Right::Threads)?;
        let scope = self.rights.scope_of(&caller)?;
        let asked = request.into_inner();
        let refused =
            |field, why| Error::invalid("INVALID_EXPORT", "the export is malformed").field(field, why);
        let format = ExportFormat::try_from(asked.format)
            .map_err(|_| refused("format", "is not a format of the contract"))?;
        let search =
            asked.search.ok_or_else(|| refused("search", "is missing; an empty one exports everything"))?;
        let (page, _) = self.page(scope, &search, criteria::DEFAULT_PAGE).await?;
        self.exporter.begin(caller, page, format)
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

    async fn get_download_url(
        &self,
        request: Request<GetDownloadUrlRequest>,
    ) -> Result<Response<GetDownloadUrlResponse>, Status> {
        let scope = self.rights.scope(&request, Right::Threads)?;
        Ok(Response::new(self.downloads.link(&scope, request.into_inner()).await?))
    }

    type ExportThreadsStream = Receiving<ExportThreadsResponse>;

    async fn export_threads(
        &self,
        request: Request<ExportThreadsRequest>,
    ) -> Result<Response<Self::ExportThreadsStream>, Status> {
        Ok(Response::new(self.export(request).await?))
    }
}
