//! Reports on what went to a customer beside messages.

use hilo_kit::error::Error;
use sqlx::PgConnection;

use crate::attention::domain::{Altered, Command, DeliveryState};
use crate::attention::store::aside;
use crate::attention::store::chat::{self, StoredItem};
use crate::attention::work::{Actor, Found, Work};

/// What became of our reaction shows at the message it is on, while it is the newest one there. A read mark has nothing to show.
/// `changed` are items that change in this transaction.
///
/// # Errors
/// Database errors.
pub(in crate::intake) async fn reported(
    tx: &mut PgConnection,
    work: &mut Work,
    aside: &aside::Known,
    state: DeliveryState,
    changed: &mut Vec<StoredItem>,
) -> Result<(), Error> {
    let Found::Locked(attention) = work.find(aside.place.interaction) else { return Ok(()) };
    let here = changed.iter().position(|one| one.message == aside.place.message);
    let target = match here.map(|at| changed.swap_remove(at)) {
        Some(target) => Some(target),
        None => chat::items(tx, &[aside.place.message]).await?.pop(),
    };
    let Some(mut target) = target.filter(|one| !one.purged) else { return Ok(()) };
    let mark = target.item.own_reaction.as_mut().filter(|mark| Some(mark.order) == aside.reaction);
    let known = mark.as_ref().and_then(|mark| DeliveryState::of(&mark.delivery_state));
    if let Some((mark, _)) = mark.zip(known.filter(|known| known.rises_to(state, true))) {
        state.word().clone_into(&mut mark.delivery_state);
        let command = Command::AlterMessage { message: target.summary(), because: Altered::Reacted };
        work.decide_at(attention, None, command, &Actor::System, "")?;
    }
    changed.push(target);
    Ok(())
}
