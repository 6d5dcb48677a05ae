//! Attention-state: the one writer of the life cycle of attentions and of the directory they live by.
//!
//! Owns identities and directory, contacts, attentions, interactions, messages and offers, in its own database. Every
//! command is one transaction: lock, decide (pure), write, outbox, commit. It never talks SMTP or IMAP.
//!
//! Inside, each module has its own domain and store and is spoken to through a few named functions:
//! - [`attention`]: the life cycle; `attention::commands` is the one way to change it.
//! - `contact`: customers. `intake`: INBOUND and DELIVERY consumers. `desk`: lists and live streams of agents.
//! - [`directory`], [`identity`], [`assignment`]: administration, sign-in, what routing needs.
//! - `templates`: what WhatsApp lets us write first.
//! - `dialer`: lists of numbers that a template is sent to, and who answers.
//! - `transport`: the gRPC services, thin.

pub mod assignment;
pub mod attention;
pub mod config;
mod contact;
mod conversation;
mod desk;
mod dialer;
pub mod directory;
pub mod identity;
mod intake;
mod metrics;
mod run;
mod templates;
mod transport;

#[cfg(test)]
mod tests;

pub use config::{Config, Section};
pub use run::{Listeners, SERVICE, main, migrate, run};
