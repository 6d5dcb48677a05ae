//! `hilo.dialer.v1.DialerService`: dialers and opt-outs, for the supervisors of a campaign and coordinators.

use hilo_kit::db::Db;
use hilo_proto::dialer::v1::dialer_service_server::DialerService;
use hilo_proto::dialer::v1::{
    AddOptOutRequest, AddOptOutResponse, CreateDialerRequest, CreateDialerResponse, GetDialerRequest,
    GetDialerResponse, ImportRowsRequest, ImportRowsResponse, ListDialersRequest, ListDialersResponse,
    ListOptOutsRequest, ListOptOutsResponse, ListRowsRequest, ListRowsResponse, PauseDialerRequest,
    PauseDialerResponse, RemoveOptOutRequest, RemoveOptOutResponse, StartDialerRequest, StartDialerResponse,
    StopDialerRequest, StopDialerResponse,
};
use tonic::{Request, Response, Status};

use crate::dialer::Dialers;
use crate::identity::caller;

/// The service.
pub(crate) struct DialerRpc {
    db: Db,
    dialers: Dialers,
}

impl DialerRpc {
    /// Reads and writes by `db`.
    pub(crate) fn new(db: Db) -> Self {
        Self { dialers: Dialers::new(db.clone()), db }
    }
}

#[tonic::async_trait]
impl DialerService for DialerRpc {
    async fn create_dialer(
        &self,
        request: Request<CreateDialerRequest>,
    ) -> Result<Response<CreateDialerResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.create(access, request.into_inner()).await?))
    }

    async fn import_rows(
        &self,
        request: Request<ImportRowsRequest>,
    ) -> Result<Response<ImportRowsResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.import(access, request.into_inner()).await?))
    }

    async fn get_dialer(
        &self,
        request: Request<GetDialerRequest>,
    ) -> Result<Response<GetDialerResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.get(access, request.into_inner()).await?))
    }

    async fn list_dialers(
        &self,
        request: Request<ListDialersRequest>,
    ) -> Result<Response<ListDialersResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.list(access, request.into_inner()).await?))
    }

    async fn list_rows(
        &self,
        request: Request<ListRowsRequest>,
    ) -> Result<Response<ListRowsResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.rows(access, request.into_inner()).await?))
    }

    async fn start_dialer(
        &self,
        request: Request<StartDialerRequest>,
    ) -> Result<Response<StartDialerResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.start(access, request.into_inner()).await?))
    }

    async fn pause_dialer(
        &self,
        request: Request<PauseDialerRequest>,
    ) -> Result<Response<PauseDialerResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.pause(access, request.into_inner()).await?))
    }

    async fn stop_dialer(
        &self,
        request: Request<StopDialerRequest>,
    ) -> Result<Response<StopDialerResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.stop(access, request.into_inner()).await?))
    }

    async fn add_opt_out(
        &self,
        request: Request<AddOptOutRequest>,
    ) -> Result<Response<AddOptOutResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.add_opt_out(access, request.into_inner()).await?))
    }

    async fn remove_opt_out(
        &self,
        request: Request<RemoveOptOutRequest>,
    ) -> Result<Response<RemoveOptOutResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.remove_opt_out(access, request.into_inner()).await?))
    }

    async fn list_opt_outs(
        &self,
        request: Request<ListOptOutsRequest>,
    ) -> Result<Response<ListOptOutsResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(self.dialers.list_opt_outs(access, request.into_inner()).await?))
    }
}
