//! `hilo.identity.v1.IdentityService`: signing in and out.

use hilo_kit::auth::{Principal, principal};
use hilo_kit::db::Db;
use hilo_kit::{Error, clock};
use hilo_proto::identity::v1::identity_service_server::IdentityService;
use hilo_proto::identity::v1::{
    ChangePasswordRequest, ChangePasswordResponse, LoginRequest, LoginResponse, LogoutRequest,
    LogoutResponse, WhoAmIRequest, WhoAmIResponse,
};
use secrecy::SecretString;
use tonic::{Request, Response, Status};

use crate::identity::{Identity, caller};

/// The service.
#[derive(Debug)]
pub struct IdentityRpc {
    db: Db,
    identity: Identity,
}

impl IdentityRpc {
    /// Reads by `db`, signs by `identity`.
    pub fn new(db: Db, identity: Identity) -> Self {
        Self { db, identity }
    }
}

#[tonic::async_trait]
impl IdentityService for IdentityRpc {
    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        let request = request.into_inner();
        let mut missing = Error::invalid("INVALID_REQUEST", "user and password are required");
        for (field, value) in [("user", &request.user), ("password", &request.password)] {
            if value.is_empty() {
                missing = missing.field(field, "is required");
            }
        }
        if !missing.violations().is_empty() {
            return Err(missing.into());
        }
        let issued = self.identity.login(&request.user, SecretString::from(request.password)).await?;
        let expires_at = Some(clock::to_proto(issued.expires_at));
        Ok(Response::new(LoginResponse { token: issued.token, expires_at }))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        // Also a token that was revoked before, or whose user is inactive, may be revoked.
        match principal(&request) {
            Some(Principal::User { key, token_id, expires_at }) => {
                self.identity.logout(key, *token_id, *expires_at).await?;
                Ok(Response::new(LogoutResponse {}))
            }
            Some(Principal::Service { .. }) => {
                Err(Error::denied("USER_REQUIRED", "only a user may sign out").into())
            }
            None => Err(Error::unauthenticated("a token is required").into()),
        }
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        let request = request.into_inner();
        let (current, new) =
            (SecretString::from(request.current_password), SecretString::from(request.new_password));
        let issued = self.identity.change_password(&access.user_key, current, new).await?;
        let expires_at = Some(clock::to_proto(issued.expires_at));
        Ok(Response::new(ChangePasswordResponse { token: issued.token, expires_at }))
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        let access = caller::user(&self.db, &request).await?;
        Ok(Response::new(WhoAmIResponse {
            user_key: access.user_key,
            name: access.name,
            roles: access.roles.iter().map(|role| role.as_str().to_owned()).collect(),
            campaign_keys: access.campaigns.into_iter().collect(),
        }))
    }
}
