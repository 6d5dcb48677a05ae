//! What a caller may read, from the directory and never from the token: agents, supervisors and reporters the history of
//! their campaigns, coordinators and services all of it.

use hilo_kit::auth::{self, Principal};
use hilo_kit::directory::{Directory, DirectoryCache, Role};
use hilo_kit::error::Error;
use tonic::Request;

use crate::domain::Scope;

/// Days begin and end in this zone until the directory names another.
const DEFAULT_TIME_ZONE: &str = "UTC";

/// Answers who may read what.
#[derive(Clone, Debug)]
pub struct Rights {
    directory: DirectoryCache,
}

impl Rights {
    /// By this directory.
    pub fn new(directory: DirectoryCache) -> Self {
        Self { directory }
    }

    /// The caller's scope.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a valid token, `ROLE_REQUIRED` for users who have no business with the history,
    /// `DIRECTORY_NOT_LOADED` before the directory was read.
    pub fn scope<T>(&self, request: &Request<T>) -> Result<Scope, Error> {
        match auth::principal(request) {
            None => Err(Error::unauthenticated("a token is required")),
            Some(Principal::Service { .. }) => Ok(Scope::All),
            Some(Principal::User { key, token_id, .. }) => self.scope_of(key, &token_id.to_string()),
        }
    }

    fn scope_of(&self, user: &str, token_id: &str) -> Result<Scope, Error> {
        let directory = self.directory.current();
        if !directory.is_loaded() {
            return Err(Error::unavailable("DIRECTORY_NOT_LOADED", "the directory was not read yet"));
        }
        if directory.is_revoked(user, token_id) {
            return Err(Error::unauthenticated("the token is not valid any more"));
        }
        granted(&directory, user)
    }

    /// True for an active coordinator.
    pub fn is_coordinator(&self, user: &str) -> bool {
        self.directory.current().has_role(user, Role::Coordinator)
    }

    /// IANA name of the installation's time zone.
    pub fn time_zone(&self) -> String {
        let directory = self.directory.current();
        match directory.time_zone() {
            "" => DEFAULT_TIME_ZONE.to_owned(),
            zone => zone.to_owned(),
        }
    }
}

fn granted(directory: &Directory, user: &str) -> Result<Scope, Error> {
    if directory.has_role(user, Role::Coordinator) {
        return Ok(Scope::All);
    }
    let reads =
        [Role::Agent, Role::Supervisor, Role::Reporter].iter().any(|role| directory.has_role(user, *role));
    if !reads {
        return Err(Error::denied(
            "ROLE_REQUIRED",
            "the history is for agents, supervisors, reporters and coordinators",
        ));
    }
    Ok(Scope::Campaigns(directory.campaigns_of(user).into_iter().collect()))
}
