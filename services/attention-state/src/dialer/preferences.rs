//! A customer stops, or resumes, what is sent to many in WhatsApp's own menu
//! (<https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/user_preferences>). It holds for the number
//! of ours that it names, and stands on the list of its campaign with a source of its own.

use std::collections::BTreeSet;

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::store::stops;
use crate::contact::{Number, whatsapp};

/// Reason that the list gives of such an entry.
pub(super) const STOPPED: &str = "STOPPED_IN_WHATSAPP";

/// What a customer set.
#[derive(Clone, Debug)]
pub(crate) struct Preference {
    /// Account of the number of ours.
    pub account: String,
    /// Digits of his numbers.
    pub numbers: BTreeSet<String>,
    /// He wants none any more.
    pub stop: bool,
    /// His own instant.
    pub said_at: OffsetDateTime,
}

/// Notes what customers set. Their identities are locked, so that no row goes out to them meanwhile.
///
/// # Errors
/// Database errors.
pub(crate) async fn preferred(tx: &mut PgConnection, set: Vec<Preference>) -> Result<(), Error> {
    // In one order for all transactions.
    let mut all: Vec<(String, String, OffsetDateTime, bool)> = Vec::new();
    for one in set {
        let numbers = one.numbers.iter().filter_map(|digits| Number::parse(&format!("+{digits}")));
        let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
        if numbers.is_empty() {
            tracing::info!(stop = one.stop, "a customer whose number nobody knows set what he wants to get");
        }
        all.extend(numbers.into_iter().map(|number| (one.account.clone(), number, one.said_at, one.stop)));
    }
    all.sort_unstable();
    for (account, number, said_at, stop) in all {
        stops::note(tx, (&account, &number), stop, said_at).await?;
    }
    Ok(())
}

/// Whether a customer who is dialled wants nothing of the account: by the number as it is dialled, by the digits that Meta may have for
/// it, and by his other numbers.
///
/// # Errors
/// Database errors.
pub(super) async fn binds(
    tx: &mut PgConnection,
    account: &str,
    dialled: &str,
    his: BTreeSet<String>,
) -> Result<bool, Error> {
    let digits = dialled.trim_start_matches('+');
    let all = his.into_iter().chain([digits.to_owned()]).chain(whatsapp::other_digits(digits));
    let numbers: Vec<String> = all.map(|digits| format!("+{digits}")).collect();
    stops::binds(tx, account, &numbers).await
}
