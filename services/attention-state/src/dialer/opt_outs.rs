//! Numbers that must not be written to: what people and customers put on the list.

use hilo_kit::clock::to_proto;
use hilo_kit::error::Error;
use hilo_proto::dialer::v1 as wire;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use sqlx::PgConnection;

use super::manage::{Dialers, page_size};
use super::preferences::STOPPED;
use super::rights;
use super::store::opt_outs::{self, OptOut};
use super::store::stops;
use crate::contact::{Number, whatsapp};
use crate::directory::Access;

/// Longest reason, in characters.
const MAX_REASON: usize = 200;
/// Page size when none is named, and the largest.
const PAGE: (i32, i32) = (100, 1_000);

impl Dialers {
    /// Puts a number on the list of a campaign. Once it answers, no dialer of the campaign writes to the number any more.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, `CAMPAIGN_NOT_FOUND`, `SUPERVISOR_REQUIRED`, `OTHER_CHANNEL`; database errors.
    pub(crate) async fn add_opt_out(
        &self,
        access: Access,
        request: wire::AddOptOutRequest,
    ) -> Result<wire::AddOptOutResponse, Error> {
        self.db
            .transaction(move |tx| {
                let (access, request) = (access.clone(), request.clone());
                Box::pin(async move {
                    rights::campaign(tx, &access, &request.campaign_key).await?;
                    let number = number(&request.number)?;
                    let reason = request.reason.trim();
                    if reason.chars().count() > MAX_REASON || reason.contains(char::is_control) {
                        let text = format!("at most {MAX_REASON} characters in one line");
                        return Err(invalid().field("reason", text));
                    }
                    alone(tx, &number).await?;
                    let (campaign, by) = (request.campaign_key.as_str(), access.user_key.as_str());
                    opt_outs::add(tx, campaign, number.as_str(), by, reason).await?;
                    let entry = opt_outs::find(tx, campaign, number.as_str()).await?;
                    Ok(wire::AddOptOutResponse { opt_out: entry.map(told) })
                })
            })
            .await
    }

    /// Takes a number off the list of a campaign.
    ///
    /// # Errors
    /// As [`Dialers::add_opt_out`].
    pub(crate) async fn remove_opt_out(
        &self,
        access: Access,
        request: wire::RemoveOptOutRequest,
    ) -> Result<wire::RemoveOptOutResponse, Error> {
        self.db
            .transaction(move |tx| {
                let (access, request) = (access.clone(), request.clone());
                Box::pin(async move {
                    rights::campaign(tx, &access, &request.campaign_key).await?;
                    let number = number(&request.number)?;
                    let (campaign, number) = (request.campaign_key.as_str(), number.as_str());
                    let listed = opt_outs::remove(tx, campaign, number).await?;
                    // When he stops again, or Meta refuses the next send, it is back.
                    let lifted = stops::lift(tx, campaign, number).await?;
                    let removed = listed || lifted;
                    Ok(wire::RemoveOptOutResponse { removed })
                })
            })
            .await
    }

    /// The list of a campaign by number.
    ///
    /// # Errors
    /// `CAMPAIGN_NOT_FOUND`, `SUPERVISOR_REQUIRED`, `OTHER_CHANNEL`, `INVALID_PAGE_TOKEN`; database errors.
    pub(crate) async fn list_opt_outs(
        &self,
        access: Access,
        request: wire::ListOptOutsRequest,
    ) -> Result<wire::ListOptOutsResponse, Error> {
        let after = request.page_token;
        if !after.is_empty() && Number::parse(&after).is_none() {
            return Err(super::manage::bad_token());
        }
        let size = page_size(request.page_size, PAGE);
        self.db
            .snapshot(move |tx| {
                Box::pin(async move {
                    rights::campaign(tx, &access, &request.campaign_key).await?;
                    let mut found =
                        opt_outs::page(tx, &request.campaign_key, (&after, i64::from(size) + 1), STOPPED)
                            .await?;
                    let most = usize::try_from(size).unwrap_or(usize::MAX);
                    let more = found.len() > most;
                    found.truncate(most);
                    let last = found.last().filter(|_| more);
                    let next_page_token = last.map(|one| one.number.clone()).unwrap_or_default();
                    Ok(wire::ListOptOutsResponse {
                        opt_outs: found.into_iter().map(told).collect(),
                        next_page_token,
                    })
                })
            })
            .await
    }
}

/// Waits for a row of this number that is being sent, and lets none begin until the transaction ends: the runner takes the same lock.
async fn alone(tx: &mut PgConnection, number: &Number) -> Result<(), Error> {
    let who = WhatsAppIdentity { phone: number.to_string(), ..WhatsAppIdentity::default() };
    whatsapp::locked(tx, &who).await.map(drop)
}

fn invalid() -> Error {
    Error::invalid("INVALID_REQUEST", "the entry is malformed")
}

fn number(text: &str) -> Result<Number, Error> {
    let why = "`+`, country code and 8 to 15 digits in all";
    Number::parse(text).ok_or_else(|| invalid().field("number", why))
}

fn told(entry: OptOut) -> wire::OptOut {
    wire::OptOut {
        campaign_key: entry.campaign_key,
        number: entry.number,
        added_by: entry.added_by.unwrap_or_default(),
        added_at: Some(to_proto(entry.added_at)),
        reason: entry.reason,
    }
}
