//! A stand-in for attention-state's directory.

use std::sync::Arc;

use hilo_kit::auth::{Keys, Verifier};
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::directory::v1::{Account, Directory};
use hilo_proto::internal::v1::directory_feed_service_server::{
    DirectoryFeedService, DirectoryFeedServiceServer,
};
use hilo_proto::internal::v1::template_service_server::{TemplateService, TemplateServiceServer};
use hilo_proto::internal::v1::{
    GetDirectoryRequest, GetDirectoryResponse, ReportTemplatesRequest, ReportTemplatesResponse,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// The accounts and their version, and what was reported of templates.
#[derive(Clone)]
pub struct Feed(Arc<Mutex<(i64, Vec<Account>)>>, Arc<Mutex<Reports>>);

/// What whatsapp-ingest reports.
#[derive(Default)]
struct Reports {
    taken: Vec<ReportTemplatesRequest>,
    refused: bool,
}

#[tonic::async_trait]
impl TemplateService for Feed {
    async fn report_templates(
        &self,
        request: Request<ReportTemplatesRequest>,
    ) -> Result<Response<ReportTemplatesResponse>, Status> {
        let mut reports = self.1.lock();
        if reports.refused {
            return Err(Status::unimplemented("not yet"));
        }
        reports.taken.push(request.into_inner());
        Ok(Response::new(ReportTemplatesResponse { stored: true }))
    }
}

#[tonic::async_trait]
impl DirectoryFeedService for Feed {
    async fn get_directory(
        &self,
        request: Request<GetDirectoryRequest>,
    ) -> Result<Response<GetDirectoryResponse>, Status> {
        let (version, accounts) = self.0.lock().clone();
        let changed = request.into_inner().known_version != version;
        let directory = changed.then(|| Directory { accounts, ..Directory::default() });
        Ok(Response::new(GetDirectoryResponse { version, changed, directory, revoked_token_ids: vec![] }))
    }
}

impl Feed {
    pub fn of(accounts: Vec<Account>) -> Self {
        Self(Arc::new(Mutex::new((1, accounts))), Arc::default())
    }

    /// The next version.
    pub fn set(&self, accounts: Vec<Account>) {
        let mut feed = self.0.lock();
        *feed = (feed.0 + 1, accounts);
    }

    /// Whether reports of templates are refused, as by a release that knows none.
    pub fn refuse_reports(&self, refused: bool) {
        self.1.lock().refused = refused;
    }

    /// Reports of templates, oldest first.
    pub fn reports(&self) -> Vec<ReportTemplatesRequest> {
        self.1.lock().taken.clone()
    }

    /// Serves until told to stop; answers the URL.
    pub async fn serve(&self, keys: &Keys, around: &Shutdown) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut routes = tonic::service::Routes::builder();
        routes.add_service(DirectoryFeedServiceServer::new(self.clone()));
        routes.add_service(TemplateServiceServer::new(self.clone()));
        let server = hilo_kit::grpc::Server::new(listener, Readiness::new())
            .add_routes(routes.routes())
            .authenticate(Verifier::new(&keys.auth_config("hilo")).unwrap());
        tokio::spawn(server.serve(around.clone()));
        url
    }
}
