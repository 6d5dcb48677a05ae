//! The one place that says who may do what to an item. Ids of foreign campaigns answer as if they did not exist.

use hilo_kit::error::Error;
use sqlx::PgConnection;

use crate::attention::commands::not_found;
use crate::directory::{Access, Role};

/// What the caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// To see it: members, and those who were given the campaign, and coordinators.
    See,
    /// To serve the customer: agents who are members.
    Serve,
    /// To move items by hand: supervisors who were given the campaign, and coordinators.
    Direct,
    /// To write notes: whoever may serve or direct.
    Annotate,
}

/// Checks the right to what belongs to a campaign.
///
/// # Errors
/// `INTERACTION_NOT_FOUND` when the caller may not even know of it, `AGENT_REQUIRED` or `SUPERVISOR_REQUIRED` when he may
/// only look.
pub(crate) fn check(access: &Access, right: Right, campaign: &str) -> Result<(), Error> {
    if !access.may_see(campaign) {
        return Err(not_found());
    }
    match right {
        Right::See => Ok(()),
        Right::Serve if access.may_serve(campaign) => Ok(()),
        Right::Direct if access.may_direct(campaign) => Ok(()),
        Right::Annotate if access.may_serve(campaign) || access.may_direct(campaign) => Ok(()),
        Right::Serve | Right::Annotate => {
            Err(Error::denied("AGENT_REQUIRED", "only an agent of the campaign may do this"))
        }
        Right::Direct => {
            Err(Error::denied("SUPERVISOR_REQUIRED", "only a supervisor or coordinator may do this"))
        }
    }
}

/// Checks that the caller works at a desk at all.
///
/// # Errors
/// `AGENT_REQUIRED`.
pub(crate) fn check_agent(access: &Access) -> Result<(), Error> {
    if access.has(Role::Agent) {
        return Ok(());
    }
    Err(Error::denied("AGENT_REQUIRED", "only an agent has a desk"))
}

/// Whose list it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Desk {
    /// An agent's: his campaigns' queues and what he has open; items ring.
    Serving,
    /// A supervisor's or coordinator's who is no agent: the queues he may see; nothing rings.
    Watching,
}

impl Desk {
    /// The desk that roles give.
    ///
    /// # Errors
    /// `AGENT_REQUIRED` for everybody else.
    pub(crate) fn of(has: impl Fn(Role) -> bool) -> Result<Self, Error> {
        if has(Role::Agent) {
            return Ok(Desk::Serving);
        }
        if has(Role::Supervisor) || has(Role::Coordinator) {
            return Ok(Desk::Watching);
        }
        Err(Error::denied("AGENT_REQUIRED", "only an agent or a supervisor has a list"))
    }

    /// Campaigns whose queues it shows.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn queues(self, tx: &mut PgConnection, access: &Access) -> Result<Vec<String>, Error> {
        match self {
            Desk::Serving => Ok(access.member_of.clone()),
            Desk::Watching if access.has(Role::Coordinator) => {
                Ok(sqlx::query_scalar!("SELECT campaign_key FROM directory.campaign").fetch_all(tx).await?)
            }
            Desk::Watching => Ok(access.campaigns.iter().cloned().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn access(roles: &[Role], member_of: &[&str], given: &[&str], active: bool) -> Access {
        Access {
            user_key: "u".into(),
            name: "U".into(),
            active,
            roles: roles.iter().copied().collect::<BTreeSet<_>>(),
            member_of: member_of.iter().map(|key| (*key).to_owned()).collect(),
            campaigns: member_of.iter().chain(given).map(|key| (*key).to_owned()).collect(),
        }
    }

    #[test]
    fn rights_as_a_table() {
        let agent = access(&[Role::Agent], &["ventas"], &[], true);
        let supervisor = access(&[Role::Supervisor], &[], &["ventas"], true);
        let coordinator = access(&[Role::Coordinator], &[], &[], true);
        let reporter = access(&[Role::Reporter], &[], &["ventas"], true);
        let gone = access(&[Role::Agent, Role::Coordinator], &["ventas"], &[], false);
        let rows = [
            (&agent, Right::See, "ventas", "ok"),
            (&agent, Right::Serve, "ventas", "ok"),
            (&agent, Right::See, "soporte", "INTERACTION_NOT_FOUND"),
            (&agent, Right::Serve, "soporte", "INTERACTION_NOT_FOUND"),
            (&supervisor, Right::See, "ventas", "ok"),
            (&supervisor, Right::Serve, "ventas", "AGENT_REQUIRED"),
            (&supervisor, Right::See, "soporte", "INTERACTION_NOT_FOUND"),
            (&coordinator, Right::See, "soporte", "ok"),
            (&agent, Right::Direct, "ventas", "SUPERVISOR_REQUIRED"),
            (&agent, Right::Direct, "soporte", "INTERACTION_NOT_FOUND"),
            (&agent, Right::Annotate, "ventas", "ok"),
            (&agent, Right::Annotate, "soporte", "INTERACTION_NOT_FOUND"),
            (&supervisor, Right::Direct, "ventas", "ok"),
            (&supervisor, Right::Annotate, "ventas", "ok"),
            (&supervisor, Right::Direct, "soporte", "INTERACTION_NOT_FOUND"),
            (&coordinator, Right::Direct, "soporte", "ok"),
            (&coordinator, Right::Annotate, "soporte", "ok"),
            (&reporter, Right::See, "ventas", "ok"),
            (&reporter, Right::Direct, "ventas", "SUPERVISOR_REQUIRED"),
            (&reporter, Right::Annotate, "ventas", "AGENT_REQUIRED"),
            (&gone, Right::Direct, "ventas", "INTERACTION_NOT_FOUND"),
            (&coordinator, Right::Serve, "soporte", "AGENT_REQUIRED"),
            (&gone, Right::See, "ventas", "INTERACTION_NOT_FOUND"),
            (&gone, Right::Serve, "ventas", "INTERACTION_NOT_FOUND"),
        ];
        for (who, right, campaign, expected) in rows {
            let answer =
                check(who, right, campaign).map_or_else(|error| error.reason().to_owned(), |()| "ok".into());
            assert_eq!(answer, expected, "{:?} {right:?} {campaign}", who.roles);
        }
    }
}
