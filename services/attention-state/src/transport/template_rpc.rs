//! `hilo.internal.v1.TemplateService`: whatsapp-ingest reports the templates it read from Meta. Services only.

use hilo_kit::auth::require_service;
use hilo_kit::db::Db;
use hilo_proto::internal::v1::template_service_server::TemplateService;
use hilo_proto::internal::v1::{ReportTemplatesRequest, ReportTemplatesResponse};
use tonic::{Request, Response, Status};

use crate::templates;

/// The service.
pub(crate) struct TemplateRpc {
    db: Db,
}

impl TemplateRpc {
    /// Writes by `db`.
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }
}

#[tonic::async_trait]
impl TemplateService for TemplateRpc {
    async fn report_templates(
        &self,
        request: Request<ReportTemplatesRequest>,
    ) -> Result<Response<ReportTemplatesResponse>, Status> {
        require_service(&request)?;
        Ok(Response::new(templates::report(&self.db, request.into_inner()).await?))
    }
}
