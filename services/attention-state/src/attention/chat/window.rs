//! The window of a customer, which an attention that begins later takes over: he may be written to freely because he wrote on this number
//! less than a day ago, whatever became of the conversation he wrote in.

use hilo_kit::error::Error;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use sqlx::PgConnection;

use crate::attention::commands::not_found;
use crate::attention::domain::{AttentionId, Command};
use crate::attention::store::window;
use crate::attention::work::{Actor, Work};
use crate::contact::whatsapp;

/// Moves the window of a locked attention to that of the customer who is written to as `to` on its number, when his is open and ends
/// later. Hold the locks of his identities, so that what he writes at this moment comes before or after.
///
/// # Errors
/// The rejection; database errors.
pub(crate) async fn take(
    tx: &mut PgConnection,
    work: &mut Work,
    attention: AttentionId,
    to: &WhatsAppIdentity,
) -> Result<(), Error> {
    let state = work.state(attention, None).ok_or_else(not_found)?;
    let names = whatsapp::of_user(tx, state.contact, to).await?;
    let known = (state.contact, names.as_slice());
    let open = window::open(tx, state.account.as_str(), known, attention, work.now()).await?;
    if let Some(ends_at) = open {
        work.decide_at(attention, None, Command::MoveWindow { ends_at }, &Actor::System, "")?;
    }
    Ok(())
}
