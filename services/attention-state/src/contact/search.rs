//! `GetContact` and `SearchContacts`: by part of name, address or number, accents and case ignored, in keyset pages.

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::contact::v1::{
    GetContactRequest, GetContactResponse, SearchContactsRequest, SearchContactsResponse,
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{domain, rights, store};
use crate::directory::Access;

/// Page size when none is named.
const DEFAULT_PAGE: i32 = 25;
/// Largest page.
const MAX_PAGE: i32 = 100;
/// Least and most characters of a search.
const QUERY: std::ops::RangeInclusive<usize> = 3..=100;

/// One contact the caller may see.
///
/// # Errors
/// `CONTACT_NOT_FOUND`, `INVALID_ID`; database errors.
pub(crate) async fn get(
    db: &Db,
    access: Access,
    request: GetContactRequest,
) -> Result<GetContactResponse, Error> {
    let id = ids::parse(&request.contact_id, "contact_id")?;
    let found =
        db.snapshot(move |tx| Box::pin(async move { rights::visible(tx, &access, id).await })).await?;
    Ok(GetContactResponse { contact: Some(found) })
}

/// A place in the order of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
struct After {
    name: String,
    id: Uuid,
}

impl After {
    fn encode(&self) -> String {
        format!("{}.{}", self.id.simple(), self.name)
    }

    fn decode(token: &str) -> Result<Option<Self>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let place = token
            .split_once('.')
            .and_then(|(id, name)| Some(Self { name: name.to_owned(), id: Uuid::try_parse(id).ok()? }));
        // A name is at most 200 characters; folding makes of one character at most a few.
        let place = place.filter(|place| place.name.len() <= 4_000 && !place.name.contains('\0'));
        place.map(Some).ok_or_else(|| {
            Error::invalid("INVALID_PAGE_TOKEN", "the page token is not one of ours")
                .field("page_token", "malformed")
        })
    }
}

/// A page of contacts the caller may see.
///
/// # Errors
/// `QUERY_TOO_SHORT`, `INVALID_PAGE_TOKEN`; database errors.
pub(crate) async fn search(
    db: &Db,
    access: Access,
    request: SearchContactsRequest,
) -> Result<SearchContactsResponse, Error> {
    let query = request.query.trim().to_owned();
    if !QUERY.contains(&query.chars().count()) || query.contains('\0') {
        let text = format!("{} to {} characters", QUERY.start(), QUERY.end());
        return Err(Error::invalid("QUERY_TOO_SHORT", "the search does not fit").field("query", text));
    }
    let after = After::decode(&request.page_token)?;
    let size = if request.page_size <= 0 { DEFAULT_PAGE } else { request.page_size.min(MAX_PAGE) };
    db.snapshot(move |tx| {
        Box::pin(async move {
            let mut hits = hits(tx, &access, &query, after, i64::from(size) + 1).await?;
            let more = i64::try_from(hits.len()).unwrap_or(i64::MAX) > i64::from(size);
            hits.truncate(usize::try_from(size).unwrap_or_default());
            let next_page_token = hits.last().filter(|_| more).map(After::encode).unwrap_or_default();
            let ids: Vec<Uuid> = hits.iter().map(|hit| hit.id).collect();
            let mut found = store::contacts(tx, &ids).await?;
            let contacts = ids.iter().filter_map(|id| found.remove(id)).collect();
            Ok(SearchContactsResponse { contacts, next_page_token })
        })
    })
    .await
}

/// Places of the contacts that fit, by folded name. Each part of the union has an index of its own (trigrams).
async fn hits(
    tx: &mut PgConnection,
    access: &Access,
    query: &str,
    after: Option<After>,
    limit: i64,
) -> Result<Vec<After>, Error> {
    // Of `987-654 321` only the digits are stored.
    let digits = domain::digits_of(query).filter(|digits| digits.len() >= *QUERY.start());
    let rows = sqlx::query!(
        r#"WITH hit AS (
             SELECT contact_id FROM contact.contact WHERE name_folded LIKE contact.part($1)
             UNION SELECT contact_id FROM contact.identity WHERE value_folded LIKE contact.part($1)
             UNION SELECT contact_id FROM contact.identity
               WHERE $2::text IS NOT NULL AND kind = 'phone' AND value_folded LIKE contact.part($2))
           SELECT c.contact_id, c.name_folded FROM hit JOIN contact.contact c USING (contact_id)
           WHERE c.merged_into IS NULL
             AND ($3 OR c.created_by = $4 OR EXISTS (
               SELECT 1 FROM attention.attention a WHERE a.contact_id = c.contact_id
                 AND (a.campaign_key = ANY($5) OR EXISTS (SELECT 1 FROM attention.interaction i
                   WHERE i.attention_id = a.attention_id AND i.campaign_key = ANY($5)))))
             AND ($6::text IS NULL OR (c.name_folded, c.contact_id) > ($6, $7::uuid))
           ORDER BY c.name_folded, c.contact_id LIMIT $8"#,
        query,
        digits,
        rights::sees_all(access),
        access.user_key,
        &rights::campaigns(access),
        after.as_ref().map(|after| after.name.as_str()),
        after.as_ref().map(|after| after.id),
        limit
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| After { name: row.name_folded, id: row.contact_id }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tokens_survive_and_junk_is_refused() {
        let place = After { name: "quispe. eva".into(), id: Uuid::from_u128(7) };
        assert_eq!(After::decode(&place.encode()).unwrap(), Some(place));
        assert_eq!(After::decode("").unwrap(), None);
        for junk in ["7", "7.x", "00000000000000000000000000000007.a\0b"] {
            assert!(After::decode(junk).is_err(), "{junk}");
        }
    }
}
