//! Who may set up dialers: the supervisors of their campaign and coordinators. What is foreign answers as if it did not exist.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::dialers::{self, Dialer};
use crate::directory::domain::model::Campaign;
use crate::directory::{self, Access, Role};

/// The one answer for dialers that do not exist and for those the caller may not know of.
pub(super) fn no_dialer() -> Error {
    Error::missing("DIALER_NOT_FOUND", "there is no such dialer")
}

fn no_campaign() -> Error {
    Error::missing("CAMPAIGN_NOT_FOUND", "there is no such campaign")
}

fn denied() -> Error {
    Error::denied("SUPERVISOR_REQUIRED", "only a supervisor or coordinator may do this")
}

/// Checks that the caller may direct what belongs to a campaign.
///
/// # Errors
/// `missing` when he may not even know of it, `SUPERVISOR_REQUIRED`.
fn check(access: &Access, campaign: &str, missing: fn() -> Error) -> Result<(), Error> {
    if !access.may_see(campaign) {
        return Err(missing());
    }
    if access.may_direct(campaign) { Ok(()) } else { Err(denied()) }
}

/// A dialer the caller directs, without a lock.
///
/// # Errors
/// `DIALER_NOT_FOUND`, `SUPERVISOR_REQUIRED`; database errors.
pub(super) async fn seen(conn: &mut PgConnection, access: &Access, id: Uuid) -> Result<Dialer, Error> {
    let dialer = dialers::find(conn, id).await?.ok_or_else(no_dialer)?;
    check(access, &dialer.settings.campaign, no_dialer)?;
    Ok(dialer)
}

/// A dialer the caller directs, locked.
///
/// # Errors
/// As [`seen`].
pub(super) async fn locked(tx: &mut PgConnection, access: &Access, id: Uuid) -> Result<Dialer, Error> {
    seen(tx, access, id).await?;
    let dialer = dialers::lock(tx, id).await?.ok_or_else(no_dialer)?;
    check(access, &dialer.settings.campaign, no_dialer)?;
    Ok(dialer)
}

/// A WhatsApp campaign the caller directs.
///
/// # Errors
/// `CAMPAIGN_NOT_FOUND`, `SUPERVISOR_REQUIRED`, `OTHER_CHANNEL`; database errors.
pub(super) async fn campaign(conn: &mut PgConnection, access: &Access, key: &str) -> Result<Campaign, Error> {
    let found = if key.contains('\0') { None } else { directory::campaign(conn, key).await? };
    let found = found.ok_or_else(no_campaign)?;
    check(access, key, no_campaign)?;
    if found.channel.as_str() != "whatsapp" {
        return Err(Error::rejected("OTHER_CHANNEL", "the campaign serves another channel"));
    }
    Ok(found)
}

/// Campaigns whose dialers the caller directs; `None` is all.
///
/// # Errors
/// `SUPERVISOR_REQUIRED`.
pub(super) fn campaigns(access: &Access) -> Result<Option<Vec<String>>, Error> {
    if access.has(Role::Coordinator) {
        return Ok(None);
    }
    if !access.has(Role::Supervisor) {
        return Err(denied());
    }
    Ok(Some(access.campaigns.iter().cloned().collect()))
}
