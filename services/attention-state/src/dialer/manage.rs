//! What people do with dialers: make them, look at them, start, hold and end them.

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::dialer::v1 as wire;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::domain::life::{self, Ask};
use super::domain::{DialerId, columns};
use super::store::dialers::{self, Dialer, Settings};
use super::store::rows;
use super::words::{in_zone, row, row_state, state_word, told};
use super::{hours, rights};
use crate::desk::once::Once;
use crate::directory::{self, Access, Channel};
use crate::templates;

/// Longest name, in characters.
const MAX_NAME: usize = 100;
/// Fastest pace, rows per minute: what a number sends by default (80 a second,
/// <https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput>).
const MAX_PACE: i32 = 4_800;
/// Hours after which nobody is waited for, when none are named; and the most.
const ANSWER_TIMEOUT: i32 = 72;
const MAX_ANSWER_TIMEOUT: i32 = 720;
/// Page size of dialers when none is named, and the largest.
const PAGE: (i32, i32) = (50, 200);
/// Page size of rows when none is named, and the largest.
const ROW_PAGE: (i32, i32) = (100, 1_000);

/// The dialers.
#[derive(Clone, Debug)]
pub(crate) struct Dialers {
    pub(super) db: Db,
}

impl Dialers {
    /// Reads and writes by `db`.
    pub(crate) fn new(db: Db) -> Self {
        Self { db }
    }

    /// Makes a dialer without rows.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with violations, `CAMPAIGN_NOT_FOUND`, `SUPERVISOR_REQUIRED`, `OTHER_CHANNEL`, `CAMPAIGN_INACTIVE`,
    /// `NO_ACCOUNT`, `TEMPLATE_NOT_APPROVED`, `TEMPLATE_NOT_DIALLED`, `REQUEST_ID_REUSED`; database errors.
    pub(crate) async fn create(
        &self,
        access: Access,
        mut request: wire::CreateDialerRequest,
    ) -> Result<wire::CreateDialerResponse, Error> {
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "CreateDialer", &request_id, &request)?;
        once.answered(&self.db, move |tx| {
            let (access, request) = (access.clone(), request.clone());
            Box::pin(async move {
                let dialer = created(tx, &access, request).await?;
                Ok(wire::CreateDialerResponse { dialer: Some(told(tx, dialer).await?) })
            })
        })
        .await
    }

    /// A dialer with its counts.
    ///
    /// # Errors
    /// `DIALER_NOT_FOUND`, `SUPERVISOR_REQUIRED`; database errors.
    pub(crate) async fn get(
        &self,
        access: Access,
        request: wire::GetDialerRequest,
    ) -> Result<wire::GetDialerResponse, Error> {
        let id = ids::parse(&request.dialer_id, "dialer_id")?;
        self.db
            .snapshot(move |tx| {
                Box::pin(async move {
                    let dialer = rights::seen(tx, &access, id).await?;
                    let counts = rows::counts(tx, dialer.id).await?;
                    let count = |(state, rows): (String, i64)| wire::RowCount {
                        state: row_state(&state).into(),
                        rows: i32::try_from(rows).unwrap_or(i32::MAX),
                    };
                    Ok(wire::GetDialerResponse {
                        dialer: Some(told(tx, dialer).await?),
                        counts: counts.into_iter().map(count).collect(),
                    })
                })
            })
            .await
    }

    /// Dialers the caller directs, newest first.
    ///
    /// # Errors
    /// `SUPERVISOR_REQUIRED`, `INVALID_PAGE_TOKEN`; database errors.
    pub(crate) async fn list(
        &self,
        access: Access,
        request: wire::ListDialersRequest,
    ) -> Result<wire::ListDialersResponse, Error> {
        let mine = rights::campaigns(&access)?;
        // PostgreSQL knows no NUL, and no key has one.
        let wanted = Some(request.campaign_key.replace('\0', " ")).filter(|key| !key.is_empty());
        let campaigns = match (mine, wanted) {
            (None, wanted) => wanted.map(|one| vec![one]),
            (Some(mine), None) => Some(mine),
            (Some(mine), Some(wanted)) => Some(mine.into_iter().filter(|one| *one == wanted).collect()),
        };
        let before = place(&request.page_token)?;
        let size = page_size(request.page_size, PAGE);
        self.db
            .snapshot(move |tx| {
                Box::pin(async move {
                    let mut found =
                        dialers::page(tx, campaigns.as_deref(), before, i64::from(size) + 1).await?;
                    let more = found.len() > usize::try_from(size).unwrap_or(usize::MAX);
                    found.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                    let last = found.last().filter(|_| more);
                    let next_page_token = last.map(|one| token(one.created_at, one.id)).unwrap_or_default();
                    let zone = directory::time_zone(tx).await?;
                    let dialers = found.into_iter().map(|one| in_zone(one, &zone)).collect();
                    Ok(wire::ListDialersResponse { dialers, next_page_token })
                })
            })
            .await
    }

    /// Rows of a dialer in the order of the list.
    ///
    /// # Errors
    /// `DIALER_NOT_FOUND`, `SUPERVISOR_REQUIRED`, `INVALID_PAGE_TOKEN`, `INVALID_REQUEST`; database errors.
    pub(crate) async fn rows(
        &self,
        access: Access,
        request: wire::ListRowsRequest,
    ) -> Result<wire::ListRowsResponse, Error> {
        let id = ids::parse(&request.dialer_id, "dialer_id")?;
        let state = match wire::RowState::try_from(request.state) {
            Ok(wire::RowState::Unspecified) => None,
            Ok(state) => Some(state_word(state)),
            Err(_) => {
                let bad = Error::invalid("INVALID_REQUEST", "there is no such state");
                return Err(bad.field("state", "unknown"));
            }
        };
        let after = match request.page_token.as_str() {
            "" => 0,
            token => token.parse().map_err(|_| bad_token())?,
        };
        let size = page_size(request.page_size, ROW_PAGE);
        self.db
            .snapshot(move |tx| {
                Box::pin(async move {
                    let dialer = rights::seen(tx, &access, id).await?;
                    let mut found = rows::page(tx, dialer.id, state, after, i64::from(size) + 1).await?;
                    let more = found.len() > usize::try_from(size).unwrap_or(usize::MAX);
                    found.truncate(usize::try_from(size).unwrap_or(usize::MAX));
                    let last = found.last().filter(|_| more);
                    let next_page_token = last.map(|one| one.ordinal.to_string()).unwrap_or_default();
                    Ok(wire::ListRowsResponse { rows: found.into_iter().map(row).collect(), next_page_token })
                })
            })
            .await
    }

    /// Starts a dialer, or goes on with it.
    ///
    /// # Errors
    /// `DIALER_NOT_FOUND`, `SUPERVISOR_REQUIRED`, `DIALER_STOPPED`, `TEMPLATE_NOT_APPROVED`; database errors.
    pub(crate) async fn start(
        &self,
        access: Access,
        request: wire::StartDialerRequest,
    ) -> Result<wire::StartDialerResponse, Error> {
        let (dialer, _) = self.ask(access, &request.dialer_id, Ask::Start).await?;
        Ok(wire::StartDialerResponse { dialer: Some(dialer) })
    }

    /// Holds a dialer.
    ///
    /// # Errors
    /// `DIALER_NOT_FOUND`, `SUPERVISOR_REQUIRED`, `DIALER_STOPPED`, `DIALER_NOT_RUNNING`; database errors.
    pub(crate) async fn pause(
        &self,
        access: Access,
        request: wire::PauseDialerRequest,
    ) -> Result<wire::PauseDialerResponse, Error> {
        let (dialer, _) = self.ask(access, &request.dialer_id, Ask::Pause).await?;
        Ok(wire::PauseDialerResponse { dialer: Some(dialer) })
    }

    /// Ends a dialer for good.
    ///
    /// # Errors
    /// `DIALER_NOT_FOUND`, `SUPERVISOR_REQUIRED`; database errors.
    pub(crate) async fn stop(
        &self,
        access: Access,
        request: wire::StopDialerRequest,
    ) -> Result<wire::StopDialerResponse, Error> {
        let (dialer, skipped) = self.ask(access, &request.dialer_id, Ask::Stop).await?;
        Ok(wire::StopDialerResponse {
            dialer: Some(dialer),
            skipped: i32::try_from(skipped).unwrap_or(i32::MAX),
        })
    }

    /// One wish, under the lock that the runner takes for every row. Answers also how many rows it skipped.
    async fn ask(&self, access: Access, id: &str, ask: Ask) -> Result<(wire::Dialer, u64), Error> {
        let id = ids::parse(id, "dialer_id")?;
        self.db
            .transaction(move |tx| {
                let access = access.clone();
                Box::pin(async move {
                    let dialer = rights::locked(tx, &access, id).await?;
                    let next = life::decide(dialer.life, ask)?;
                    if ask == Ask::Start {
                        let of = &dialer.settings;
                        templates::approved(tx, &of.account, &of.template_name, &of.template_language)
                            .await?;
                    }
                    if next != dialer.life || !dialer.reason.is_empty() {
                        dialers::set_life(tx, dialer.id, next, "").await?;
                    }
                    let skipped = match ask {
                        Ask::Stop => rows::skip_pending(tx, dialer.id, dialer.total_rows, "STOPPED").await?,
                        Ask::Start | Ask::Pause | Ask::Halt | Ask::Finish | Ask::Import => 0,
                    };
                    let after = dialers::find(tx, id).await?.ok_or_else(rights::no_dialer)?;
                    Ok((told(tx, after).await?, skipped))
                })
            })
            .await
    }
}

async fn created(
    tx: &mut PgConnection,
    access: &Access,
    request: wire::CreateDialerRequest,
) -> Result<Dialer, Error> {
    let campaign = rights::campaign(tx, access, &request.campaign_key).await?;
    let mut settings = checked(request)?;
    if !campaign.active {
        return Err(Error::rejected("CAMPAIGN_INACTIVE", "the campaign is switched off"));
    }
    let (of, wanted) = (settings.campaign.as_str(), settings.account.as_str());
    settings.account = directory::account_of(tx, of, Channel::Whatsapp, wanted, invalid()).await?.key;
    let template =
        templates::approved(tx, &settings.account, &settings.template_name, &settings.template_language)
            .await?;
    let columns = columns::columns(&template)?;
    let id = DialerId::new();
    dialers::insert(tx, id, &settings, &columns, &access.user_key).await?;
    dialers::find(tx, id.uuid()).await?.ok_or_else(rights::no_dialer)
}

fn invalid() -> Error {
    Error::invalid("INVALID_REQUEST", "the dialer is malformed")
}

fn checked(request: wire::CreateDialerRequest) -> Result<Settings, Error> {
    let mut bad = invalid();
    let name = request.name.trim().to_owned();
    if !(1..=MAX_NAME).contains(&name.chars().count()) || name.contains(char::is_control) {
        bad = bad.field("name", format!("1 to {MAX_NAME} characters in one line"));
    }
    let texts = [
        ("account_key", &request.account_key, true),
        ("template_name", &request.template_name, false),
        ("template_language", &request.template_language, false),
    ];
    for (field, value, optional) in texts {
        if value.contains('\0') || value.len() > 512 || (value.is_empty() && !optional) {
            bad = bad.field(field, "required, at most 512 characters");
        }
    }
    if !(1..=MAX_PACE).contains(&request.per_minute) {
        bad = bad.field("per_minute", format!("1 to {MAX_PACE}"));
    }
    let answer_timeout_hours =
        if request.answer_timeout_hours == 0 { ANSWER_TIMEOUT } else { request.answer_timeout_hours };
    if !(1..=MAX_ANSWER_TIMEOUT).contains(&answer_timeout_hours) {
        bad = bad
            .field("answer_timeout_hours", format!("1 to {MAX_ANSWER_TIMEOUT}, or 0 for {ANSWER_TIMEOUT}"));
    }
    let hours = match request.hours {
        Some(from) => {
            let (hours, told) = hours::read(from, bad);
            bad = told;
            Some(hours)
        }
        None => None,
    };
    if !bad.violations().is_empty() {
        return Err(bad);
    }
    Ok(Settings {
        name,
        campaign: request.campaign_key,
        account: request.account_key,
        template_name: request.template_name,
        template_language: request.template_language,
        per_minute: request.per_minute,
        hours,
        answer_timeout_hours,
    })
}

/// A page size within its bounds; 0 and less mean the usual one.
pub(super) fn page_size(wanted: i32, (usual, most): (i32, i32)) -> i32 {
    if wanted <= 0 { usual } else { wanted.min(most) }
}

/// A page token of somebody else's.
pub(super) fn bad_token() -> Error {
    Error::invalid("INVALID_PAGE_TOKEN", "the page token is not one of ours").field("page_token", "malformed")
}

fn token(at: OffsetDateTime, id: DialerId) -> String {
    format!("{}.{id}", at.unix_timestamp_nanos() / 1_000)
}

fn place(token: &str) -> Result<Option<(OffsetDateTime, Uuid)>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let (at, id) = token.split_once('.')?;
        let micros = at.parse::<i64>().ok().filter(|micros| *micros >= 0)?;
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok()?;
        Some((at, Uuid::try_parse(id).ok()?))
    };
    read().map(Some).ok_or_else(bad_token)
}
