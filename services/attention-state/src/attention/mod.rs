//! Attentions: life cycle, messages, threads. `domain` decides, `store` keeps, `work` and `commands` bring both together
//! in one transaction with the outbox; nobody else writes these tables.

pub(crate) mod automatic;
pub(crate) mod chat;
pub mod commands;
pub(crate) mod customer;
pub mod domain;
pub(crate) mod ended;
pub(crate) mod envelope;
pub(crate) mod note;
pub(crate) mod outbox;
mod outgoing;
pub(crate) mod published;
pub(crate) mod purge;
pub(crate) mod quote;
pub mod reload;
pub(crate) mod reply;
pub(crate) mod retry;
pub(crate) mod send;
pub(crate) mod start;
pub(crate) mod store;
pub(crate) mod tags;
pub(crate) mod threads;
pub mod work;

pub use store::Wait;
