//! Who may see and change a contact. A foreign one answers as if it did not exist.

use hilo_kit::error::Error;
use hilo_proto::contact::v1::Contact;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::directory::{Access, Role};

/// The one answer for ids that do not exist and for those the caller may not know of.
pub(super) fn not_found() -> Error {
    Error::missing("CONTACT_NOT_FOUND", "there is no such contact")
}

/// Only agents and coordinators change contacts.
///
/// # Errors
/// `AGENT_REQUIRED`.
pub(super) fn check_change(access: &Access) -> Result<(), Error> {
    if access.has(Role::Agent) || access.has(Role::Coordinator) {
        return Ok(());
    }
    Err(Error::denied("AGENT_REQUIRED", "only an agent may change a contact"))
}

/// True when the caller sees all contacts.
pub(super) fn sees_all(access: &Access) -> bool {
    access.has(Role::Coordinator)
}

/// Campaigns whose customers the caller sees.
pub(super) fn campaigns(access: &Access) -> Vec<String> {
    if access.active { access.campaigns.iter().cloned().collect() } else { Vec::new() }
}

/// The contact, when the caller may see it. The id of a merged one means the one it was merged into.
///
/// # Errors
/// `CONTACT_NOT_FOUND`; database errors.
pub(crate) async fn visible(tx: &mut PgConnection, access: &Access, id: Uuid) -> Result<Contact, Error> {
    let id = store::current(tx, id).await?.ok_or_else(not_found)?;
    let sees = sees_all(access) || is_known_to(tx, id, access).await?;
    let found = if sees { store::contact(tx, id).await? } else { None };
    found.ok_or_else(not_found)
}

/// True when the contact has an attention in a campaign of the caller, or he created it.
async fn is_known_to(tx: &mut PgConnection, id: Uuid, access: &Access) -> Result<bool, Error> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM contact.contact WHERE contact_id = $1 AND created_by = $3)
             OR EXISTS (SELECT 1 FROM attention.attention a
               WHERE a.contact_id = $1 AND (a.campaign_key = ANY($2) OR EXISTS (
                 SELECT 1 FROM attention.interaction i
                 WHERE i.attention_id = a.attention_id AND i.campaign_key = ANY($2)))) AS "known!""#,
        id,
        &campaigns(access),
        access.user_key
    )
    .fetch_one(tx)
    .await?;
    Ok(known)
}
