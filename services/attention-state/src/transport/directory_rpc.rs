//! `hilo.directory.v1.DirectoryService`: coordinators and services apply, every signed-in user reads what concerns him.

use hilo_kit::Error;
use hilo_kit::auth::{Principal, principal};
use hilo_kit::db::Db;
use hilo_proto::directory::v1::directory_service_server::DirectoryService;
use hilo_proto::directory::v1::{
    ApplyDirectoryRequest, ApplyDirectoryResponse, DirectoryError, GetDirectoryRequest, GetDirectoryResponse,
    ListAuditRequest, ListAuditResponse,
};
use tonic::{Request, Response, Status};

use crate::directory::Role;
use crate::directory::apply::{Admin, Mode};
use crate::directory::audit;
use crate::directory::domain::problems::Problem;
use crate::directory::domain::tree::MAX_BYTES;
use crate::directory::proto;
use crate::directory::store::read;
use crate::identity::caller;

/// The service.
#[derive(Debug)]
pub struct DirectoryRpc {
    db: Db,
    admin: Admin,
}

impl DirectoryRpc {
    /// Reads by `db`, changes by `admin`.
    pub fn new(db: Db, admin: Admin) -> Self {
        Self { db, admin }
    }

    /// Who changes the directory, as the trail names him.
    async fn administrator<T>(&self, request: &Request<T>) -> Result<String, Error> {
        if let Some(Principal::Service { name }) = principal(request) {
            return Ok(format!("service:{name}"));
        }
        let access = caller::user(&self.db, request).await?;
        if access.has(Role::Coordinator) {
            return Ok(format!("user:{}", access.user_key));
        }
        Err(Error::denied("COORDINATOR_REQUIRED", "only a coordinator may change the directory"))
    }
}

#[tonic::async_trait]
impl DirectoryService for DirectoryRpc {
    async fn apply_directory(
        &self,
        request: Request<ApplyDirectoryRequest>,
    ) -> Result<Response<ApplyDirectoryResponse>, Status> {
        let by = self.administrator(&request).await?;
        let request = request.into_inner();
        if request.yaml.len() > MAX_BYTES {
            let error = Error::invalid("DIRECTORY_TOO_LARGE", "the directory is too large");
            return Err(error.field("yaml", format!("at most {MAX_BYTES} bytes")).into());
        }
        let mode = Mode { dry_run: request.dry_run, prune: request.prune };
        let outcome = self.admin.apply(request.yaml, mode, by).await?;
        Ok(Response::new(ApplyDirectoryResponse {
            version: outcome.version,
            differences: outcome.differences,
            errors: outcome.errors.into_iter().map(problem).collect(),
            omitted: outcome.omitted,
        }))
    }

    async fn get_directory(
        &self,
        request: Request<GetDirectoryRequest>,
    ) -> Result<Response<GetDirectoryResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        let (version, directory) = self.db.snapshot(|conn| Box::pin(read::directory(conn))).await?;
        let directory = Some(proto::visible(&directory, &access));
        Ok(Response::new(GetDirectoryResponse { version, directory }))
    }

    async fn list_audit(
        &self,
        request: Request<ListAuditRequest>,
    ) -> Result<Response<ListAuditResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        if !access.has(Role::Coordinator) {
            let error = Error::denied("COORDINATOR_REQUIRED", "only a coordinator may read the trail");
            return Err(error.into());
        }
        Ok(Response::new(audit::page(&self.db, request.into_inner()).await?))
    }
}

fn problem(problem: Problem) -> DirectoryError {
    DirectoryError {
        line: i32::try_from(problem.line).unwrap_or(i32::MAX),
        path: problem.path,
        reason: problem.reason.to_owned(),
        message: problem.message,
    }
}
