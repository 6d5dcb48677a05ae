//! What a caller may read, from the directory and never from the token: agents, supervisors and reporters the history of
//! their campaigns, coordinators and services all of it; reports only who reads reports.

use std::collections::BTreeSet;

use hilo_kit::auth::{self, Principal};
use hilo_kit::clock;
use hilo_kit::directory::{Directory, DirectoryCache, Role};
use hilo_kit::error::Error;
use tonic::Request;

use crate::domain::{Scope, words};

/// Days begin and end in this zone until the directory names another.
const DEFAULT_TIME_ZONE: &str = "UTC";

/// What the caller wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Threads.
    Threads,
    /// Reports.
    Reports,
}

impl Right {
    /// Roles that give it within the campaigns a user was given; coordinators have it everywhere, agents that of threads
    /// in the campaigns they serve.
    const GIVEN: [Role; 2] = [Role::Supervisor, Role::Reporter];

    fn refusal(self) -> Error {
        let text = match self {
            Right::Threads => "the history is for agents, supervisors, reporters and coordinators",
            Right::Reports => "reports are for supervisors, reporters and coordinators",
        };
        Error::denied("ROLE_REQUIRED", text)
    }
}

/// Who calls, kept for the length of a stream, so that his rights can be looked up again while it runs.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Principal,
    right: Right,
}

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
    /// `UNAUTHENTICATED` without a valid token, `ROLE_REQUIRED` for users who have no business here,
    /// `DIRECTORY_NOT_LOADED` before the directory was read.
    pub fn scope<T>(&self, request: &Request<T>, right: Right) -> Result<Scope, Error> {
        self.scope_of(&self.caller(request, right)?)
    }

    /// Who calls.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a valid token.
    pub fn caller<T>(&self, request: &Request<T>, right: Right) -> Result<Caller, Error> {
        let principal =
            auth::principal(request).ok_or_else(|| Error::unauthenticated("a token is required"))?;
        Ok(Caller { principal: principal.clone(), right })
    }

    /// The scope of a caller at this moment.
    ///
    /// # Errors
    /// As [`Rights::scope`]; also when the token has expired or was revoked meanwhile.
    pub fn scope_of(&self, caller: &Caller) -> Result<Scope, Error> {
        let (user, token_id, expires_at) = match &caller.principal {
            Principal::Service { .. } => return Ok(Scope::All),
            Principal::User { key, token_id, expires_at } => (key, token_id.to_string(), *expires_at),
        };
        let directory = self.directory.current();
        if !directory.is_loaded() {
            return Err(Error::unavailable("DIRECTORY_NOT_LOADED", "the directory was not read yet"));
        }
        if directory.is_revoked(user, &token_id) || expires_at < clock::wall() {
            return Err(Error::unauthenticated("the token is not valid any more"));
        }
        granted(&directory, user, caller.right)
    }

    /// True for an active coordinator.
    pub fn is_coordinator(&self, user: &str) -> bool {
        self.directory.current().has_role(user, Role::Coordinator)
    }

    /// IANA name of the time zone in which days are meant: the one of the named campaign's hours, when it has them, or else
    /// the installation's.
    pub fn time_zone(&self, campaign: Option<&str>) -> String {
        let directory = self.directory.current();
        let hours =
            campaign.and_then(|key| directory.campaign(key)).and_then(|campaign| campaign.hours.as_ref());
        let zones = [hours.map_or("", |hours| &hours.time_zone), directory.time_zone(), DEFAULT_TIME_ZONE];
        zones.into_iter().find(|zone| !zone.is_empty()).unwrap_or(DEFAULT_TIME_ZONE).to_owned()
    }

    /// Keys of the tags that are called so, whatever the accents.
    pub fn tags_named(&self, folded: &str) -> Vec<String> {
        let directory = self.directory.current();
        let named = directory.tags().filter(|tag| words::fold(&tag.name) == folded);
        named.map(|tag| tag.key.clone()).collect()
    }

    /// Fields of the forms that the scope's campaigns have now.
    pub fn form_fields(&self, scope: &Scope) -> BTreeSet<String> {
        let directory = self.directory.current();
        let forms = directory
            .campaigns()
            .filter(|campaign| scope.covers(&campaign.key))
            .flat_map(|campaign| [&campaign.inbound_form_key, &campaign.outbound_form_key])
            .filter_map(|key| directory.form(key));
        forms.flat_map(|form| form.fields.iter().map(|field| field.key.clone())).collect()
    }
}

fn granted(directory: &Directory, user: &str, right: Right) -> Result<Scope, Error> {
    if directory.has_role(user, Role::Coordinator) {
        return Ok(Scope::All);
    }
    if Right::GIVEN.iter().any(|role| directory.has_role(user, *role)) {
        return Ok(Scope::Campaigns(directory.campaigns_of(user).into_iter().collect()));
    }
    match right {
        // An agent who also watches a panel as a monitor reads nothing more for it.
        Right::Threads if directory.has_role(user, Role::Agent) => {
            Ok(Scope::Campaigns(directory.member_of(user).into_iter().collect()))
        }
        Right::Threads | Right::Reports => Err(right.refusal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hilo_proto::directory::v1::{Campaign, Directory as ProtoDirectory, User};

    fn directory(roles: &[Role]) -> Directory {
        let user = User {
            key: "mixta".into(),
            roles: roles.iter().map(|role| (*role).into()).collect(),
            campaign_keys: vec!["ventas".into()],
            active: true,
            ..User::default()
        };
        let campaign = |key: &str, members: &[&str]| Campaign {
            key: key.into(),
            member_keys: members.iter().map(|one| (*one).to_owned()).collect(),
            ..Campaign::default()
        };
        let campaigns = vec![campaign("soporte", &["mixta"]), campaign("ventas", &[])];
        let literal = ProtoDirectory { users: vec![user], campaigns, ..ProtoDirectory::default() };
        Directory::new(1, literal, [])
    }

    /// Member of `soporte`, given `ventas`. Without the difference between both an agent would read the threads of a
    /// campaign of which he only watches the panel.
    #[test]
    fn several_roles_give_no_more_than_each() {
        let campaigns =
            |keys: &[&str]| Some(keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>());
        let rows = [
            (vec![Role::Agent], campaigns(&["soporte"]), None),
            (vec![Role::Agent, Role::Monitor], campaigns(&["soporte"]), None),
            (vec![Role::Monitor], None, None),
            (
                vec![Role::Agent, Role::Supervisor],
                campaigns(&["soporte", "ventas"]),
                campaigns(&["soporte", "ventas"]),
            ),
            (vec![Role::Reporter], campaigns(&["soporte", "ventas"]), campaigns(&["soporte", "ventas"])),
        ];
        for (roles, threads, reports) in rows {
            let granted = |right| match granted(&directory(&roles), "mixta", right) {
                Ok(Scope::Campaigns(keys)) => Some(keys.into_iter().collect::<BTreeSet<_>>()),
                Ok(Scope::All) => panic!("{roles:?}: everything"),
                Err(error) => {
                    assert_eq!(error.reason(), "ROLE_REQUIRED");
                    None
                }
            };
            assert_eq!((granted(Right::Threads), granted(Right::Reports)), (threads, reports), "{roles:?}");
        }
        let all = granted(&directory(&[Role::Coordinator, Role::Agent]), "mixta", Right::Threads).unwrap();
        assert!(matches!(all, Scope::All));
    }
}
