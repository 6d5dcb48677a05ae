//! Rows come in as CSV: all of a text or nothing, unless bad rows are to be left out.

use hilo_kit::error::Error;
use hilo_kit::{fault, ids};
use hilo_proto::dialer::v1::{ImportRowsRequest, ImportRowsResponse};
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::csv::{self, Sheet};
use super::domain::life::{self, Ask};
use super::manage::Dialers;
use super::rights;
use super::store::{dialers, rows};
use crate::desk::once::Once;
use crate::directory::Access;

/// Most rows of a dialer.
pub(crate) const MAX_ROWS: i32 = 100_000;
/// Rows of one statement: a list of as many as there may be is more than one statement has time for on a busy server.
const ROWS_AT_ONCE: usize = 5_000;

impl Dialers {
    /// Adds the rows of a text.
    ///
    /// # Errors
    /// `DIALER_NOT_FOUND`, `SUPERVISOR_REQUIRED`, `DIALER_STOPPED`, `INVALID_REQUEST` for a text that is no list, `TOO_MANY_ROWS`,
    /// `REQUEST_ID_REUSED`; database errors.
    pub(crate) async fn import(
        &self,
        access: Access,
        mut request: ImportRowsRequest,
    ) -> Result<ImportRowsResponse, Error> {
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "ImportRows", &request_id, &request)?;
        let id = ids::parse(&request.dialer_id, "dialer_id")?;
        let (who, text, skip_bad) = (access.clone(), request.csv, request.skip_bad);
        // Read before any lock is taken: a long list takes its time.
        let dialer =
            self.db.read(move |conn| Box::pin(async move { rights::seen(conn, &who, id).await })).await?;
        let sheet = std::sync::Arc::new(csv::read(&text, &dialer.columns)?);
        let answered = once.answered(&self.db, move |tx| {
            let (access, sheet) = (access.clone(), sheet.clone());
            Box::pin(async move {
                let answer = imported(tx, &access, id, &sheet, skip_bad).await?;
                fault::point("attention.dialer.import.before_commit").await;
                Ok(answer)
            })
        });
        let answer = answered.await?;
        fault::point("attention.dialer.import.after_commit").await;
        Ok(answer)
    }
}

async fn imported(
    tx: &mut PgConnection,
    access: &Access,
    id: Uuid,
    sheet: &Sheet,
    skip_bad: bool,
) -> Result<ImportRowsResponse, Error> {
    let dialer = rights::locked(tx, access, id).await?;
    life::decide(dialer.life, Ask::Import)?;
    let count = |rows: usize| i32::try_from(rows).unwrap_or(i32::MAX);
    let mut answer = ImportRowsResponse {
        problems: sheet.problems.clone(),
        bad_rows: count(sheet.bad),
        duplicates: count(sheet.repeated),
        total_rows: dialer.total_rows,
        imported: 0,
    };
    if sheet.bad > 0 && !skip_bad {
        return Ok(answer);
    }
    for part in sheet.rows.chunks(ROWS_AT_ONCE) {
        let came = rows::insert(tx, dialer.id, answer.total_rows, part).await?;
        answer.total_rows = answer.total_rows.saturating_add(i32::try_from(came).unwrap_or(i32::MAX));
    }
    answer.imported = answer.total_rows.saturating_sub(dialer.total_rows);
    answer.duplicates = answer.duplicates.saturating_add(count(sheet.rows.len()) - answer.imported);
    if answer.total_rows > MAX_ROWS {
        let text =
            format!("a dialer has at most {MAX_ROWS} rows, with these it would have {}", answer.total_rows);
        return Err(Error::rejected("TOO_MANY_ROWS", text));
    }
    dialers::set_total(tx, dialer.id, answer.total_rows).await?;
    Ok(answer)
}
