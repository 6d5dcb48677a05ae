//! A stand-in for attention-state's directory.

use std::sync::Arc;

use hilo_kit::auth::{Keys, Verifier};
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::directory::v1::{Account, Directory};
use hilo_proto::internal::v1::directory_feed_service_server::{
    DirectoryFeedService, DirectoryFeedServiceServer,
};
use hilo_proto::internal::v1::{GetDirectoryRequest, GetDirectoryResponse};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// The accounts and their version.
#[derive(Clone)]
pub struct Feed(Arc<Mutex<(i64, Vec<Account>)>>);

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
        Self(Arc::new(Mutex::new((1, accounts))))
    }

    /// The next version.
    pub fn set(&self, accounts: Vec<Account>) {
        let mut feed = self.0.lock();
        *feed = (feed.0 + 1, accounts);
    }

    /// Serves until told to stop; answers the URL.
    pub async fn serve(&self, keys: &Keys, around: &Shutdown) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut routes = tonic::service::Routes::builder();
        routes.add_service(DirectoryFeedServiceServer::new(self.clone()));
        let server = hilo_kit::grpc::Server::new(listener, Readiness::new())
            .add_routes(routes.routes())
            .authenticate(Verifier::new(&keys.auth_config("hilo")).unwrap());
        tokio::spawn(server.serve(around.clone()));
        url
    }
}
