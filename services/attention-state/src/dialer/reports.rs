//! What the channel says became of rows' sends, and what follows for the dialers.

use std::collections::HashMap;

use hilo_kit::error::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::sends::{self, Sent};
use super::store::{dialers, opt_outs};
use crate::attention::domain::DeliveryState;

/// Reason of a failure by which Meta says that the customer takes no such messages (error 131050).
const OPTED_OUT: &str = "OPTED_OUT";
/// Meta's errors after which every further row would meet the same, with what the dialer then says
/// (<https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes>).
const HALTING: [(i32, &str); 5] = [
    (131_048, "SPAM_LIMIT"),
    (132_001, "TEMPLATE_NOT_APPROVED"),
    (132_007, "TEMPLATE_REFUSED"),
    (132_015, "TEMPLATE_PAUSED"),
    (132_016, "TEMPLATE_DISABLED"),
];

/// A report on a send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported<'a> {
    pub state: DeliveryState,
    pub reason: &'a str,
    /// Meta's code, when there is one, and words.
    pub detail: &'a str,
    pub wamid: &'a str,
    pub account: &'a str,
}

/// Holds the dialers of sends that Meta refused for what every further row would meet; pairs of send and Meta's error code. A dialer that a
/// person has started since the send goes on: he knew. Call it before anything else is locked: whoever sends a row holds the dialer first.
///
/// # Errors
/// Database errors.
pub(crate) async fn halt(
    tx: &mut PgConnection,
    codes: impl IntoIterator<Item = (Uuid, i32)>,
) -> Result<(), Error> {
    let (mut refused, mut reasons) = (Vec::new(), Vec::new());
    for (send, code) in codes {
        if let Some((_, why)) = HALTING.iter().find(|(known, _)| *known == code) {
            refused.push(send);
            reasons.push((*why).to_owned());
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    for (dialer, why) in dialers::halt_of_sends(tx, &refused, &reasons).await? {
        tracing::warn!(%dialer, why, "Meta's answer holds a dialer");
    }
    Ok(())
}

/// Rows of these sends, kept from others until the transaction ends; sends of no dialer are left out.
///
/// # Errors
/// Database errors.
pub(crate) async fn lock_reports(
    tx: &mut PgConnection,
    sends: &[Uuid],
) -> Result<HashMap<Uuid, Sent>, Error> {
    let rows = sends::lock_sends(tx, sends).await?;
    Ok(rows.into_iter().map(|row| (row.send, row)).collect())
}

/// What reports changed of locked rows, to be written at once.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Rows as they are now, by send.
    rows: HashMap<Uuid, Sent>,
    /// Campaigns and numbers whose customers take no such messages.
    opted_out: Vec<(String, String)>,
}

impl Changed {
    /// Notes a report on a locked row, which is changed as well.
    pub(crate) fn report(&mut self, row: &mut Sent, reported: Reported<'_>) {
        let settles = reported.state == DeliveryState::Failed;
        if settles && reported.reason == OPTED_OUT {
            self.opted_out.push((row.campaign.clone(), row.number.clone()));
        }
        let named = !reported.wamid.is_empty() && row.wamid.is_empty() && row.account == reported.account;
        if named {
            reported.wamid.clone_into(&mut row.wamid);
        }
        // Meta accepts first and may give up later.
        let rises = row.delivery.rises_to(reported.state, true);
        if rises {
            let told = settles || reported.state == DeliveryState::Unknown;
            let (reason, detail) = if told { (reported.reason, reported.detail) } else { ("", "") };
            row.delivery = reported.state;
            reason.clone_into(&mut row.delivery_reason);
            detail.clone_into(&mut row.delivery_detail);
        }
        if named || rises {
            self.rows.insert(row.send, row.clone());
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn write(mut self, tx: &mut PgConnection) -> Result<(), Error> {
        if !self.rows.is_empty() {
            let rows: Vec<Sent> = self.rows.into_values().collect();
            sends::set_reported(tx, &rows).await?;
        }
        if !self.opted_out.is_empty() {
            // In one order for all transactions.
            self.opted_out.sort_unstable();
            self.opted_out.dedup();
            opt_outs::add_by_customers(tx, &self.opted_out, OPTED_OUT).await?;
        }
        Ok(())
    }
}
