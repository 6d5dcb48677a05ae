//! `ListMatches`: contacts that may be the same person as the customer of an attention, or as a contact.
//!
//! One address belongs to one contact, so candidates are those with the same name, and those who own an address that the
//! customer's own messages name as their author or as where answers go.

use std::collections::BTreeMap;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::contact::v1::{ContactMatch, ListMatchesRequest, ListMatchesResponse};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rights;
use crate::attention::customer;
use crate::desk::read;
use crate::directory::Access;

/// Most candidates of an answer.
const MAX_MATCHES: usize = 20;
/// Candidates looked at before rights are checked: a common name must not cost a walk over all who bear it.
const MAX_LOOKED_AT: i64 = 200;
/// Newest messages whose addresses count.
const MAX_MESSAGES: i64 = 500;

/// Candidates the caller may see.
///
/// # Errors
/// `INVALID_REQUEST`, `ATTENTION_NOT_FOUND`, `CONTACT_NOT_FOUND`; database errors.
pub(crate) async fn list(
    db: &Db,
    access: Access,
    request: ListMatchesRequest,
) -> Result<ListMatchesResponse, Error> {
    let of = match (request.attention_id.as_str(), request.contact_id.as_str()) {
        ("", id) if !id.is_empty() => Of::Contact(ids::parse(id, "contact_id")?),
        (id, "") if !id.is_empty() => Of::Attention(ids::parse(id, "attention_id")?),
        (_, _) => {
            let bad = Error::invalid("INVALID_REQUEST", "exactly one id is needed");
            return Err(bad.field("contact_id", "give this or attention_id"));
        }
    };
    let matches = db.snapshot(move |tx| Box::pin(async move { of.matches(tx, &access).await })).await?;
    Ok(ListMatchesResponse { matches })
}

#[derive(Clone, Copy, Debug)]
enum Of {
    Attention(Uuid),
    Contact(Uuid),
}

impl Of {
    async fn matches(self, tx: &mut PgConnection, access: &Access) -> Result<Vec<ContactMatch>, Error> {
        let contact = match self {
            Of::Contact(id) => rights::visible(tx, access, id).await?.contact_id,
            Of::Attention(id) => {
                read::check(tx, access, id).await?;
                customer::contact_of(tx, id).await?.ok_or_else(rights::not_found)?.to_string()
            }
        };
        let contact = ids::parse(&contact, "contact_id")?;
        let mut reasons: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        for (id, reason) in candidates(tx, contact, self).await? {
            reasons.entry(id).or_default().push(reason);
        }
        let mut ranked: Vec<(Uuid, Vec<String>)> = reasons.into_iter().collect();
        ranked.sort_by_key(|(_, reasons)| std::cmp::Reverse(reasons.len()));
        let mut matches = Vec::new();
        for (id, reasons) in ranked {
            if matches.len() == MAX_MATCHES {
                break;
            }
            match rights::visible(tx, access, id).await {
                Ok(contact) => matches.push(ContactMatch { contact: Some(contact), reasons }),
                Err(error) if error.class() == hilo_kit::Class::Missing => {}
                Err(error) => return Err(error),
            }
        }
        Ok(matches)
    }
}

/// Pairs of contact and reason, the contact itself left out.
async fn candidates(tx: &mut PgConnection, contact: Uuid, of: Of) -> Result<Vec<(Uuid, String)>, Error> {
    let attention = match of {
        Of::Attention(id) => Some(id),
        Of::Contact(_) => None,
    };
    let rows = sqlx::query!(
        r#"WITH written AS (
             SELECT m.from_address, m.reply_to_addresses FROM attention.message m
               JOIN attention.attention a USING (attention_id)
             WHERE a.contact_id = $1 AND m.direction = 'inbound' AND ($2::uuid IS NULL OR a.attention_id = $2)
             ORDER BY m.occurred_at DESC LIMIT $4),
           address AS (
             SELECT lower(from_address) AS value FROM written
             UNION SELECT lower(reply ->> 'address') FROM written, jsonb_array_elements(reply_to_addresses) AS reply)
           (SELECT other.contact_id AS "contact_id!", 'same_name' AS "reason!"
            FROM contact.contact own JOIN contact.contact other USING (name_folded)
            WHERE own.contact_id = $1 AND own.name_folded <> '' AND other.contact_id <> $1 AND other.merged_into IS NULL
            ORDER BY other.contact_id LIMIT $3)
           UNION ALL
           (SELECT DISTINCT n.contact_id, 'same_address' FROM address
              JOIN contact.identity n ON n.kind = 'email' AND n.value = address.value
            WHERE n.contact_id <> $1 LIMIT $3)"#,
        contact,
        attention,
        MAX_LOOKED_AT,
        MAX_MESSAGES
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.contact_id, row.reason)).collect())
}
