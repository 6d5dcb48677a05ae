//! Tables of contacts and identities.

use std::collections::{BTreeMap, HashMap};

use hilo_kit::error::Error;
use hilo_proto::contact::v1::{Contact, ContactIdentity};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::attention::domain::ContactId;

/// An address that wrote, with the name it gave itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EmailIdentity {
    /// Normalised address (lower case).
    pub address: String,
    /// Display name; only used when the contact is new.
    pub name: String,
}

/// Longest stored name and address; longer ones are cut, they come from outside.
const MAX_NAME: usize = 200;

/// Finds or creates the contacts of addresses. The caller holds the locks of these identity keys; should another
/// transaction not have taken them, the primary key refuses the second contact and the batch is tried again.
pub(crate) async fn resolve_emails(
    tx: &mut PgConnection,
    wanted: &[EmailIdentity],
) -> Result<HashMap<String, ContactId>, Error> {
    let addresses: Vec<String> = wanted.iter().map(|identity| identity.address.clone()).collect();
    let rows = sqlx::query!(
        "SELECT value, contact_id FROM contact.identity WHERE kind = 'email' AND value = ANY($1)",
        &addresses
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut found: HashMap<String, ContactId> =
        rows.into_iter().map(|row| (row.value, ContactId(row.contact_id))).collect();
    let (mut ids, mut names, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for identity in wanted {
        if let std::collections::hash_map::Entry::Vacant(vacant) = found.entry(identity.address.clone()) {
            let id = *vacant.insert(ContactId::new());
            ids.push(id.uuid());
            names.push(identity.name.chars().take(MAX_NAME).collect::<String>());
            values.push(identity.address.clone());
        }
    }
    if ids.is_empty() {
        return Ok(found);
    }
    sqlx::query!(
        "INSERT INTO contact.contact (contact_id, name) SELECT * FROM unnest($1::uuid[], $2::text[])",
        &ids,
        &names
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "INSERT INTO contact.identity (kind, value, contact_id)
         SELECT 'email', value, contact_id FROM unnest($1::text[], $2::uuid[]) AS v(value, contact_id)",
        &values,
        &ids
    )
    .execute(tx)
    .await?;
    Ok(found)
}

/// Contacts by their ids.
async fn contacts(tx: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, Contact>, Error> {
    let rows = sqlx::query!(
        r#"SELECT contact_id, name, company, vip, extra AS "extra: Json<BTreeMap<String, String>>", version
           FROM contact.contact WHERE contact_id = ANY($1)"#,
        ids
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut found: HashMap<Uuid, Contact> = rows
        .into_iter()
        .map(|row| {
            let contact = Contact {
                contact_id: row.contact_id.to_string(),
                name: row.name,
                identities: Vec::new(),
                company: row.company,
                vip: row.vip,
                extra: row.extra.0.into_iter().collect(),
                version: row.version,
            };
            (row.contact_id, contact)
        })
        .collect();
    let identities = sqlx::query!(
        "SELECT contact_id, kind, value FROM contact.identity WHERE contact_id = ANY($1) ORDER BY kind, value",
        ids
    )
    .fetch_all(tx)
    .await?;
    for row in identities {
        if let Some(contact) = found.get_mut(&row.contact_id) {
            contact.identities.push(ContactIdentity { kind: row.kind, value: row.value });
        }
    }
    Ok(found)
}

/// One contact.
pub(crate) async fn contact(tx: &mut PgConnection, id: Uuid) -> Result<Option<Contact>, Error> {
    Ok(contacts(tx, &[id]).await?.remove(&id))
}

/// True when the contact has an attention in one of the campaigns: the right to see it.
pub(crate) async fn is_known_in(
    tx: &mut PgConnection,
    id: Uuid,
    campaigns: &[String],
) -> Result<bool, Error> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM attention.attention a
             WHERE a.contact_id = $1 AND (a.campaign_key = ANY($2) OR EXISTS (
               SELECT 1 FROM attention.interaction i WHERE i.attention_id = a.attention_id AND i.campaign_key = ANY($2))))
           AS "known!""#,
        id,
        campaigns
    )
    .fetch_one(tx)
    .await?;
    Ok(known)
}

/// Changes name, company, VIP and extra fields of a contact that is at the version given; `None` when it is not.
pub(crate) async fn update(
    tx: &mut PgConnection,
    id: Uuid,
    wanted: &Contact,
) -> Result<Option<Contact>, Error> {
    let extra: BTreeMap<&String, &String> = wanted.extra.iter().collect();
    let updated = sqlx::query!(
        "UPDATE contact.contact SET name = $3, company = $4, vip = $5, extra = $6, version = version + 1
         WHERE contact_id = $1 AND version = $2",
        id,
        wanted.version,
        wanted.name,
        wanted.company,
        wanted.vip,
        Json(&extra) as _
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if updated == 0 { Ok(None) } else { contact(tx, id).await }
}
