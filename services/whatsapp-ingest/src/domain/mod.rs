//! The rules of the channel, plain synchronous Rust: time and randomness come in as arguments.

pub mod accounts;
pub mod choice;
pub mod class;
pub mod compose;
mod filled;
pub mod identity;
pub mod item;
pub mod json;
pub mod kinds;
pub mod media;
pub mod notices;
pub mod outgoing;
pub mod pace;
pub mod send;
pub mod signature;
pub mod status;
pub mod templates;
pub mod tolerant;
pub mod unfit;
pub mod webhook;
