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
    /// What he is known by: digits of his numbers, user ids.
    pub names: BTreeSet<String>,
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
        let names = one.names.iter().filter_map(|name| kept(name));
        all.extend(names.map(|name| (one.account.clone(), name, one.said_at, one.stop)));
    }
    all.sort_unstable();
    for (account, name, said_at, stop) in all {
        stops::note(tx, (&account, &name), stop, said_at).await?;
    }
    Ok(())
}

/// A name as the table keeps it: a number as people write it, a user id as it is; `None` for what is neither.
fn kept(name: &str) -> Option<String> {
    if name.bytes().all(|one| one.is_ascii_digit()) {
        return Number::parse(&format!("+{name}")).map(|number| number.to_string());
    }
    let plain = name.bytes().all(|one| one.is_ascii_alphanumeric() || b"._-".contains(&one));
    (plain && name.len() <= 200).then(|| name.to_owned())
}

/// Whether a customer who is dialled wants nothing of the account: by the number as it is dialled, by the digits that Meta may have for
/// it, and by what else he is known by.
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
    let names: Vec<String> = all.filter_map(|name| kept(&name)).collect();
    stops::binds(tx, account, &names).await
}
