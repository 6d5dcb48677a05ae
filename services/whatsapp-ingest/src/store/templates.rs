//! When whose templates are to be read again.

use std::time::Duration;

use hilo_kit::error::Error;
use time::OffsetDateTime;

use super::Store;
use crate::domain::templates::CHANGES;

impl Store {
    /// Of these accounts and their business accounts, those whose templates are due: never read, long ago, or changed since by a
    /// notice of Meta's. With the instant now, by the database's clock.
    ///
    /// # Errors
    /// Database errors.
    pub async fn due_templates(
        &self,
        accounts: Vec<(String, String)>,
    ) -> Result<(Vec<String>, OffsetDateTime), Error> {
        let (keys, business): (Vec<String>, Vec<String>) = accounts.into_iter().unzip();
        let changes: Vec<String> = CHANGES.iter().map(|&field| field.to_owned()).collect();
        let rows = self
            .db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query!(
                        r#"SELECT now() AS "now!", array(
                             SELECT a.key FROM unnest($1::text[], $2::text[]) AS a (key, business)
                             LEFT JOIN whatsapp.template_sync s ON s.account_key = a.key
                             WHERE s.next_at IS NULL OR s.next_at <= now()
                                OR (s.failures = 0 AND EXISTS (
                                      SELECT FROM whatsapp.notice n
                                      WHERE n.business_account_id = a.business AND n.field = ANY($3)
                                        AND n.parsed_at > s.read_at))
                             ORDER BY a.key) AS "due!: Vec<String>""#,
                        &keys,
                        &business,
                        &changes,
                    )
                    .fetch_one(conn)
                    .await?)
                })
            })
            .await?;
        Ok((rows.due, rows.now))
    }

    /// The list that was asked for at this instant was reported; the next one is due after `refresh`.
    ///
    /// # Errors
    /// Database errors.
    pub async fn templates_reported(
        &self,
        account: &str,
        read_at: OffsetDateTime,
        refresh: Duration,
    ) -> Result<(), Error> {
        let account = account.to_owned();
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    sqlx::query!(
                        "INSERT INTO whatsapp.template_sync (account_key, read_at, next_at)
                         VALUES ($1, $2, now() + make_interval(secs => $3))
                         ON CONFLICT (account_key)
                         DO UPDATE SET read_at = excluded.read_at, next_at = excluded.next_at, failures = 0",
                        account,
                        read_at,
                        refresh.as_secs_f64(),
                    )
                    .execute(conn)
                    .await?;
                    Ok(())
                })
            })
            .await
    }

    /// It could not be read or reported; the pause doubles from `retry` up to `refresh`. Answers the failures in a row.
    ///
    /// # Errors
    /// Database errors.
    pub async fn templates_failed(
        &self,
        account: &str,
        retry: Duration,
        refresh: Duration,
    ) -> Result<i32, Error> {
        let account = account.to_owned();
        self.db
            .read(move |conn| {
                Box::pin(async move {
                    Ok(sqlx::query_scalar!(
                        "INSERT INTO whatsapp.template_sync AS known (account_key, next_at, failures)
                         VALUES ($1, now() + make_interval(secs => least($2::float8, $3)), 1)
                         ON CONFLICT (account_key) DO UPDATE
                         SET failures = known.failures + 1,
                             next_at = now() + make_interval(secs => least($2 * 2.0 ^ least(known.failures, 20), $3))
                         RETURNING failures",
                        account,
                        retry.as_secs_f64(),
                        refresh.as_secs_f64(),
                    )
                    .fetch_one(conn)
                    .await?)
                })
            })
            .await
    }
}
