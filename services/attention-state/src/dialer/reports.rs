//! What the channel says became of a row's send, and what follows for the dialer.

use std::collections::HashMap;

use hilo_kit::error::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::life::{self, Ask, Life};
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

/// Notes a report on a locked row.
///
/// # Errors
/// Database errors.
pub(crate) async fn report(
    tx: &mut PgConnection,
    row: &mut Sent,
    reported: Reported<'_>,
) -> Result<(), Error> {
    if !reported.wamid.is_empty() && row.wamid.is_empty() && row.account == reported.account {
        sends::set_wamid(tx, row.send, reported.wamid).await?;
        row.wamid = reported.wamid.to_owned();
    }
    let code = reported.detail.split(' ').next().and_then(|word| word.parse::<i32>().ok());
    if let Some((_, why)) = HALTING.iter().find(|(known, _)| Some(*known) == code) {
        halt(tx, row, why).await?;
    }
    let settles = reported.state == DeliveryState::Failed;
    if settles && reported.reason == OPTED_OUT {
        opt_outs::add(tx, &row.campaign, &row.number, None, OPTED_OUT).await?;
    }
    // Meta accepts first and may give up later.
    if !row.delivery.rises_to(reported.state, true) {
        return Ok(());
    }
    let words = if settles || reported.state == DeliveryState::Unknown {
        (reported.reason, reported.detail)
    } else {
        ("", "")
    };
    sends::set_delivery(tx, row.send, reported.state, words.0, words.1).await?;
    row.delivery = reported.state;
    Ok(())
}

async fn halt(tx: &mut PgConnection, row: &Sent, why: &str) -> Result<(), Error> {
    // Not the dialer's lock: the runner takes that before the rows, and here a row is held already.
    let Some(dialer) = dialers::find(tx, row.dialer.uuid()).await? else { return Ok(()) };
    if dialer.life == Life::Running && life::decide(dialer.life, Ask::Halt).is_ok() {
        tracing::warn!(dialer = %dialer.id, why, "Meta's answer holds a dialer");
        dialers::halt_running(tx, dialer.id, why).await?;
    }
    Ok(())
}
