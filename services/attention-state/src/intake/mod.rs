//! Takes in what the channel services hand over: mails and WhatsApp items (INBOUND) and the fate of sends (DELIVERY).
//!
//! Batches: many messages, one transaction, multi-row statements, acknowledged after the commit. What another transaction
//! has locked answers busy and comes again; a failed batch is tried again one by one. Who a mail belongs to is decided
//! here, inside the transaction (`threading`), from the evidence the channel service delivered.

mod chat;
mod delivery;
mod inbound;
mod mail;
mod plan;
mod threading;

use hilo_kit::consumer::Outcome;
use hilo_kit::error::{BrokerAction, Error};

#[cfg(test)]
pub(crate) use chat::{apply_late, forget_windows, give_up_waiting};
pub(crate) use chat::{card_line, line, media_word, place_line, spawn_late, spawn_sweep};
pub(crate) use delivery::DeliveryHandler;
pub(crate) use inbound::InboundHandler;
pub(crate) use mail::normal;
pub(crate) use plan::{lock_address, preview};

/// Durable consumer of INBOUND; also the name in the inbox.
pub(crate) const INBOUND_CONSUMER: &str = "attention-intake";
/// Durable consumer of DELIVERY.
pub(crate) const DELIVERY_CONSUMER: &str = "attention-delivery";

/// A message is never given up because of a race or a missing part; what the database refuses is tried a few times.
fn failed(error: Error) -> Outcome {
    match error.class().broker_action() {
        BrokerAction::Wait | BrokerAction::Retry => Outcome::Retry(error),
        // A unique index that another transaction filled first: the next try sees its row.
        BrokerAction::Ack => {
            Outcome::Retry(Error::conflict("LOST_RACE", "another transaction was first").with_source(error))
        }
        BrokerAction::DeadLetter => Outcome::Dead(error),
    }
}
