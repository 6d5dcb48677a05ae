//! Tables of contacts and identities.

use std::collections::{BTreeMap, HashMap};

use hilo_kit::error::Error;
use hilo_proto::contact::v1::{Contact, ContactIdentity};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::domain::{Data, Identity, Kind};
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
/// transaction not have taken them (`lock_number`), the primary key refuses the second contact and the batch is tried again.
pub(crate) async fn resolve_emails(
    tx: &mut PgConnection,
    wanted: &[EmailIdentity],
) -> Result<HashMap<String, ContactId>, Error> {
    let addresses: Vec<String> = wanted.iter().map(|identity| identity.address.clone()).collect();
    // One by one along the index. Of a list a plan made for an empty table makes a filter over all addresses.
    let rows = sqlx::query!(
        r#"SELECT known.value AS "value!", known.contact_id AS "contact_id!" FROM unnest($1::text[]) AS asked (value)
           CROSS JOIN LATERAL (SELECT value, contact_id FROM contact.identity
             WHERE kind = 'email' AND value = asked.value LIMIT 1) AS known"#,
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
pub(super) async fn contacts(tx: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, Contact>, Error> {
    let rows = sqlx::query!(
        r#"SELECT contact_id, name, company, vip, extra AS "extra: Json<BTreeMap<String, String>>", version,
             ARRAY(SELECT m.contact_id FROM contact.contact m WHERE m.merged_into = c.contact_id ORDER BY 1) AS "merged!"
           FROM contact.contact c WHERE contact_id = ANY($1)"#,
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
                merged_contact_ids: row.merged.iter().map(Uuid::to_string).collect(),
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

/// The id a contact has now: the one it was merged into, or its own; `None` when there is none.
pub(super) async fn current(tx: &mut PgConnection, id: Uuid) -> Result<Option<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        r#"SELECT coalesce(merged_into, contact_id) AS "id!" FROM contact.contact WHERE contact_id = $1"#,
        id
    )
    .fetch_optional(tx)
    .await?)
}

/// Addresses and numbers of contacts.
pub(super) async fn identities(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Identity>, Error> {
    let rows = sqlx::query!("SELECT kind, value FROM contact.identity WHERE contact_id = ANY($1)", ids)
        .fetch_all(tx)
        .await?;
    rows.into_iter()
        .map(|row| {
            let kind = Kind::of(&row.kind)
                .ok_or_else(|| Error::corrupt("ROW_CONTRADICTS_ITSELF", "an identity has an unknown kind"))?;
            Ok(Identity { kind, value: row.value })
        })
        .collect()
}

/// Inserts a contact made by hand.
pub(super) async fn insert(
    tx: &mut PgConnection,
    id: Uuid,
    data: &Data,
    created_by: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO contact.contact (contact_id, name, company, vip, extra, created_by) VALUES ($1, $2, $3, $4, $5, $6)",
        id,
        data.name,
        data.company,
        data.vip,
        Json(&data.extra) as _,
        created_by
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes the data of a contact that is at the version given and was not merged; answers false when it is not.
pub(super) async fn update(
    tx: &mut PgConnection,
    id: Uuid,
    version: i64,
    data: &Data,
) -> Result<bool, Error> {
    let updated = sqlx::query!(
        "UPDATE contact.contact SET name = $3, company = $4, vip = $5, extra = $6, version = version + 1
         WHERE contact_id = $1 AND version = $2 AND merged_into IS NULL",
        id,
        version,
        data.name,
        data.company,
        data.vip,
        Json(&data.extra) as _
    )
    .execute(tx)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Gives addresses and numbers to a contact; answers how many it has of them after it. Fewer than given means that some
/// belong to another.
pub(super) async fn add_identities(
    tx: &mut PgConnection,
    id: Uuid,
    identities: &[Identity],
) -> Result<usize, Error> {
    let (kinds, values) = columns(identities);
    sqlx::query!(
        "INSERT INTO contact.identity (kind, value, contact_id)
         SELECT kind, value, $3 FROM unnest($1::text[], $2::text[]) AS v(kind, value) ON CONFLICT DO NOTHING",
        &kinds,
        &values,
        id
    )
    .execute(&mut *tx)
    .await?;
    let own = sqlx::query_scalar!(
        r#"SELECT count(*) AS "own!" FROM contact.identity
           JOIN unnest($1::text[], $2::text[]) AS v(kind, value) USING (kind, value) WHERE contact_id = $3"#,
        &kinds,
        &values,
        id
    )
    .fetch_one(tx)
    .await?;
    Ok(usize::try_from(own).unwrap_or_default())
}

/// Takes addresses and numbers away from a contact; those of others stay theirs.
pub(super) async fn remove_identities(
    tx: &mut PgConnection,
    id: Uuid,
    identities: &[Identity],
) -> Result<(), Error> {
    let (kinds, values) = columns(identities);
    sqlx::query!(
        "DELETE FROM contact.identity AS own USING unnest($1::text[], $2::text[]) AS v(kind, value)
         WHERE own.kind = v.kind AND own.value = v.value AND own.contact_id = $3",
        &kinds,
        &values,
        id
    )
    .execute(tx)
    .await?;
    Ok(())
}

fn columns(identities: &[Identity]) -> (Vec<String>, Vec<String>) {
    identities.iter().map(|one| (one.kind.word().to_owned(), one.value.clone())).unzip()
}

/// How a contact changed, for the trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Made by hand.
    Created,
    /// Changed.
    Updated,
    /// Another was merged into it.
    Merged {
        /// The one that went.
        other: Uuid,
        /// Attentions that moved.
        moved: i32,
    },
}

/// Notes who changed a contact, at its version now.
pub(super) async fn note(tx: &mut PgConnection, id: Uuid, by: &str, what: What) -> Result<(), Error> {
    let (word, other, moved) = match what {
        What::Created => ("created", None, None),
        What::Updated => ("updated", None, None),
        What::Merged { other, moved } => ("merged", Some(other), Some(moved)),
    };
    sqlx::query!(
        "INSERT INTO contact.trail (contact_id, version, changed_by, what, merged_contact, moved_attentions)
         SELECT contact_id, version, $2, $3, $4, $5 FROM contact.contact WHERE contact_id = $1",
        id,
        by,
        word,
        other,
        moved
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Locks contacts in the order of their ids.
pub(super) async fn lock(tx: &mut PgConnection, ids: &[Uuid]) -> Result<(), Error> {
    // NO KEY: an attention that begins refers to its contact, and need not wait for that.
    sqlx::query!(
        "SELECT contact_id FROM contact.contact WHERE contact_id = ANY($1) ORDER BY contact_id FOR NO KEY UPDATE",
        ids
    )
    .fetch_all(tx)
    .await?;
    Ok(())
}

/// Gives a contact that is at the version given up for another: its addresses and numbers, the contacts that were merged
/// into it, and its words, which nobody needs twice. Answers false when it is not at the version, or was merged before.
pub(super) async fn give_up(tx: &mut PgConnection, id: Uuid, version: i64, to: Uuid) -> Result<bool, Error> {
    let given = sqlx::query!(
        "UPDATE contact.contact SET merged_into = $3, name = '', company = '', vip = false, extra = '{}',
           version = version + 1
         WHERE contact_id = $1 AND version = $2 AND merged_into IS NULL",
        id,
        version,
        to
    )
    .execute(&mut *tx)
    .await?;
    if given.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!("UPDATE contact.contact SET merged_into = $2 WHERE merged_into = $1", id, to)
        .execute(&mut *tx)
        .await?;
    sqlx::query!("UPDATE contact.identity SET contact_id = $2 WHERE contact_id = $1", id, to)
        .execute(tx)
        .await?;
    Ok(true)
}
