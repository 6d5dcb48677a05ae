//! The life cycle of an attention: a pure `decide(state, command, now)` and its `evolve(state, event)`.
//!
//! Plain synchronous Rust: ids, instants and numbers come in as arguments, so that tests, tables and production run the
//! same code. The state holds the attention and the one interaction a command addresses.

mod command;
mod decide;
pub mod delivery;
mod event;
mod evolve;
pub mod form;
mod keys;
mod rejection;
mod state;
#[cfg(test)]
mod tests;
mod transfer;

pub use command::{Command, Destination, Expire, Opening};
pub use decide::{Decision, Happened, MAX_MESSAGES, MAX_TAGS, decide};
pub use delivery::DeliveryState;
pub use event::{Altered, Closed, Event, Handover, Offered, Opened, Withdrawn};
pub use evolve::evolve;
pub use keys::{
    AccountKey, AttentionId, CampaignKey, ContactId, InteractionId, MessageId, OfferId, TagKey, UserKey,
};
pub use rejection::{FieldProblem, Rejection};
pub use state::{
    Attention, Channel, Demand, Direction, Interaction, MailClass, MessageKind, MessageSummary, Offer, Phase,
    Preferred, Stage,
};
