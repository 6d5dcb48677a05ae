//! Dialers: their settings, their state, and the claim of whoever sends the next row.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::dialer::domain::DialerId;
use crate::dialer::domain::life::Life;
use crate::directory::Hours;

/// A dialer as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub id: DialerId,
    pub settings: Settings,
    pub columns: Vec<String>,
    pub life: Life,
    /// Why it paused by itself; empty otherwise.
    pub reason: String,
    /// Rows ever added.
    pub total_rows: i32,
    pub created_by: String,
    pub created_at: OffsetDateTime,
    pub changed_at: OffsetDateTime,
}

/// What a person sets.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub name: String,
    pub campaign: String,
    pub account: String,
    pub template_name: String,
    pub template_language: String,
    pub per_minute: i32,
    /// Hours of its own.
    pub hours: Option<Hours>,
    pub answer_timeout_hours: i32,
}

struct Row {
    dialer_id: Uuid,
    name: String,
    campaign_key: String,
    account_key: String,
    template_name: String,
    template_language: String,
    columns: Vec<String>,
    per_minute: i32,
    hours: Option<Json<Hours>>,
    answer_timeout_hours: i32,
    state: String,
    state_reason: String,
    total_rows: i32,
    created_by: String,
    created_at: OffsetDateTime,
    changed_at: OffsetDateTime,
}

impl Row {
    fn load(self) -> Result<Dialer, Error> {
        let life = Life::of(&self.state)
            .ok_or_else(|| Error::corrupt("ROW_CONTRADICTS_ITSELF", "a dialer has an unknown state"))?;
        Ok(Dialer {
            id: DialerId(self.dialer_id),
            settings: Settings {
                name: self.name,
                campaign: self.campaign_key,
                account: self.account_key,
                template_name: self.template_name,
                template_language: self.template_language,
                per_minute: self.per_minute,
                hours: self.hours.map(|hours| hours.0),
                answer_timeout_hours: self.answer_timeout_hours,
            },
            columns: self.columns,
            life,
            reason: self.state_reason,
            total_rows: self.total_rows,
            created_by: self.created_by,
            created_at: self.created_at,
            changed_at: self.changed_at,
        })
    }
}

/// Stores a new one, as a draft.
pub(crate) async fn insert(
    tx: &mut PgConnection,
    id: DialerId,
    settings: &Settings,
    columns: &[String],
    by: &str,
) -> Result<(), Error> {
    let hours = settings.hours.as_ref().map(serde_json::to_value).transpose();
    let hours =
        hours.map_err(|error| Error::internal("UNENCODABLE", "hours cannot be stored").with_source(error))?;
    sqlx::query!(
        "INSERT INTO dialer.dialer (dialer_id, name, campaign_key, account_key, template_name, template_language, columns,
           per_minute, hours, answer_timeout_hours, state, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'draft', $11)",
        id.uuid(),
        settings.name,
        settings.campaign,
        settings.account,
        settings.template_name,
        settings.template_language,
        columns,
        settings.per_minute,
        hours,
        settings.answer_timeout_hours,
        by
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// One dialer.
pub(crate) async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<Dialer>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT dialer_id, name, campaign_key, account_key, template_name, template_language, columns, per_minute,
             hours AS "hours: Json<Hours>", answer_timeout_hours, state, state_reason, total_rows, created_by, created_at,
             changed_at
           FROM dialer.dialer WHERE dialer_id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await?;
    row.map(Row::load).transpose()
}

/// One dialer, kept from everybody else until the transaction ends: whoever changes it waits for the row that is being sent.
pub(crate) async fn lock(tx: &mut PgConnection, id: Uuid) -> Result<Option<Dialer>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT dialer_id, name, campaign_key, account_key, template_name, template_language, columns, per_minute,
             hours AS "hours: Json<Hours>", answer_timeout_hours, state, state_reason, total_rows, created_by, created_at,
             changed_at
           FROM dialer.dialer WHERE dialer_id = $1 FOR UPDATE"#,
        id
    )
    .fetch_optional(tx)
    .await?;
    row.map(Row::load).transpose()
}

/// A dialer whose next row is due, kept from other runners; `None` when it is not due any more or another runner is at it.
pub(crate) async fn claim(tx: &mut PgConnection, id: Uuid) -> Result<Option<Dialer>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT dialer_id, name, campaign_key, account_key, template_name, template_language, columns, per_minute,
             hours AS "hours: Json<Hours>", answer_timeout_hours, state, state_reason, total_rows, created_by, created_at,
             changed_at
           FROM dialer.dialer WHERE dialer_id = $1 AND state = 'running' AND next_at <= now()
           FOR UPDATE SKIP LOCKED"#,
        id
    )
    .fetch_optional(tx)
    .await?;
    row.map(Row::load).transpose()
}

/// Dialers whose next row is due, the longest due first.
pub(crate) async fn due(conn: &mut PgConnection, limit: i64) -> Result<Vec<Uuid>, Error> {
    Ok(sqlx::query_scalar!(
        "SELECT dialer_id FROM dialer.dialer WHERE state = 'running' AND next_at <= now() ORDER BY next_at LIMIT $1",
        limit
    )
    .fetch_all(conn)
    .await?)
}

/// A row of it went out: the next one is due a step of its pace later. What was missed is not made up for, but for a second's worth, so
/// that a late look does not slow it down.
pub(crate) async fn advance(tx: &mut PgConnection, id: DialerId) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE dialer.dialer SET next_at = greatest(next_at, now() - interval '1 second')
           + make_interval(secs => 60.0 / per_minute)
         WHERE dialer_id = $1",
        id.uuid()
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Looks at it again after so many seconds.
pub(crate) async fn put_off(tx: &mut PgConnection, id: Uuid, seconds: f64) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE dialer.dialer SET next_at = greatest(next_at, now() + make_interval(secs => $2)) WHERE dialer_id = $1",
        id,
        seconds
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Sets the state of a locked one.
pub(crate) async fn set_life(
    tx: &mut PgConnection,
    id: DialerId,
    life: Life,
    reason: &str,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE dialer.dialer SET state = $2, state_reason = $3, changed_at = clock_timestamp() WHERE dialer_id = $1",
        id.uuid(),
        life.word(),
        reason
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Holds the running dialers of these sends, each for the reason of its newest, unless it was changed after that was sent; locks them in
/// the order of their ids. Answers whom it held, and why.
pub(crate) async fn halt_of_sends(
    tx: &mut PgConnection,
    sends: &[Uuid],
    reasons: &[String],
) -> Result<Vec<(DialerId, String)>, Error> {
    let held = sqlx::query!(
        r#"WITH refused AS (
             SELECT DISTINCT ON (r.dialer_id) r.dialer_id, r.sent_at, v.reason
             FROM unnest($1::uuid[], $2::text[]) AS v(send_id, reason) JOIN dialer.row r USING (send_id)
             ORDER BY r.dialer_id, r.sent_at DESC),
           locked AS (
             SELECT dialer_id FROM dialer.dialer
             WHERE state = 'running' AND dialer_id IN (SELECT dialer_id FROM refused) ORDER BY dialer_id FOR UPDATE)
           UPDATE dialer.dialer AS d SET state = 'paused', state_reason = refused.reason, changed_at = clock_timestamp()
           FROM refused JOIN locked USING (dialer_id)
           WHERE d.dialer_id = refused.dialer_id AND d.state = 'running' AND refused.sent_at >= d.changed_at
           RETURNING d.dialer_id, d.state_reason"#,
        sends,
        reasons
    )
    .fetch_all(tx)
    .await?;
    Ok(held.into_iter().map(|row| (DialerId(row.dialer_id), row.state_reason)).collect())
}

/// Notes how many rows a locked one has.
pub(crate) async fn set_total(tx: &mut PgConnection, id: DialerId, total: i32) -> Result<(), Error> {
    sqlx::query!("UPDATE dialer.dialer SET total_rows = $2 WHERE dialer_id = $1", id.uuid(), total)
        .execute(tx)
        .await?;
    Ok(())
}

/// Dialers of these campaigns (`None`: of all), newest first, behind a place.
pub(crate) async fn page(
    conn: &mut PgConnection,
    campaigns: Option<&[String]>,
    before: Option<(OffsetDateTime, Uuid)>,
    limit: i64,
) -> Result<Vec<Dialer>, Error> {
    let (at, id) = before.unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT dialer_id, name, campaign_key, account_key, template_name, template_language, columns, per_minute,
             hours AS "hours: Json<Hours>", answer_timeout_hours, state, state_reason, total_rows, created_by, created_at,
             changed_at
           FROM dialer.dialer WHERE ($1::text[] IS NULL OR campaign_key = ANY($1))
             AND ($2::timestamptz IS NULL OR (created_at, dialer_id) < ($2, $3::uuid))
           ORDER BY created_at DESC, dialer_id DESC LIMIT $4"#,
        campaigns,
        at,
        id,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Row::load).collect()
}
