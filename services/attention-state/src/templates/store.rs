//! The tables of templates and of when they were read.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_proto::attention::v1::Template;
use prost::Message as _;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The only state in which a template may be sent.
const APPROVED: &str = "APPROVED";

/// A template as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub name: String,
    pub language: String,
    pub status: String,
    pub content: Vec<u8>,
}

/// Replaces the whole list of an account; false when a newer reading was stored already. An instant of the future counts as now: a
/// clock that was wrong for a moment must not shut out what is read later.
///
/// # Errors
/// Database errors.
pub(super) async fn replace(
    tx: &mut PgConnection,
    account: &str,
    read_at: OffsetDateTime,
    rows: &[Row],
) -> Result<bool, Error> {
    let newer = sqlx::query_scalar!(
        "INSERT INTO directory.template_reading AS known (account_key, read_at) VALUES ($1, least($2::timestamptz, now()))
         ON CONFLICT (account_key) DO UPDATE SET read_at = excluded.read_at WHERE known.read_at <= excluded.read_at
         RETURNING account_key",
        account,
        read_at
    )
    .fetch_optional(&mut *tx)
    .await?;
    if newer.is_none() {
        return Ok(false);
    }
    sqlx::query!("DELETE FROM directory.template WHERE account_key = $1", account).execute(&mut *tx).await?;
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    let languages: Vec<String> = rows.iter().map(|row| row.language.clone()).collect();
    let states: Vec<String> = rows.iter().map(|row| row.status.clone()).collect();
    let contents: Vec<Vec<u8>> = rows.iter().map(|row| row.content.clone()).collect();
    sqlx::query!(
        "INSERT INTO directory.template (account_key, name, language, status, content)
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::bytea[])",
        account,
        &names,
        &languages,
        &states,
        &contents
    )
    .execute(tx)
    .await?;
    Ok(true)
}

/// A template that may be sent from this account now.
///
/// # Errors
/// `TEMPLATE_NOT_APPROVED` with the state as Meta names it, `UNKNOWN` when the account has none of this name in this language; database
/// errors.
pub(crate) async fn approved(
    conn: &mut PgConnection,
    account: &str,
    name: &str,
    language: &str,
) -> Result<Template, Error> {
    let refused = |status: &str| {
        Error::rejected("TEMPLATE_NOT_APPROVED", "Meta has not approved such a template for this account")
            .metadata("status", status)
    };
    let row = sqlx::query!(
        "SELECT account_key, status, content, read_at FROM directory.template
         JOIN directory.template_reading USING (account_key) WHERE account_key = $1 AND name = $2 AND language = $3",
        account,
        name,
        language
    )
    .fetch_optional(conn)
    .await?;
    let row = row.ok_or_else(|| refused("UNKNOWN"))?;
    if row.status != APPROVED {
        return Err(refused(&row.status));
    }
    read(&row.account_key, &row.content, row.read_at)
}

/// Place of a template in the order of lists: name, language, account.
pub(super) type Place = (String, String, String);

/// Templates of these accounts that may be sent, by name and language, behind a place.
///
/// # Errors
/// `ROW_CONTRADICTS_ITSELF`; database errors.
pub(super) async fn page(
    conn: &mut PgConnection,
    accounts: &[String],
    after: &Place,
    limit: i64,
) -> Result<Vec<Template>, Error> {
    let rows = sqlx::query!(
        "SELECT account_key, content, read_at FROM directory.template
         JOIN directory.template_reading USING (account_key)
         WHERE status = 'APPROVED' AND account_key = ANY($1) AND (name, language, account_key) > ($2, $3, $4)
         ORDER BY name, language, account_key LIMIT $5",
        accounts,
        after.0,
        after.1,
        after.2,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| read(&row.account_key, &row.content, row.read_at)).collect()
}

fn read(account: &str, content: &[u8], read_at: OffsetDateTime) -> Result<Template, Error> {
    let template = Template::decode(content)
        .map_err(|_| Error::corrupt("ROW_CONTRADICTS_ITSELF", "a template cannot be read"))?;
    Ok(Template { account_key: account.to_owned(), synchronised_at: Some(to_proto(read_at)), ..template })
}
