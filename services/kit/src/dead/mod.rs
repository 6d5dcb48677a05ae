//! Dead letters in the consumer's own database, and the operators' service over them.

mod service;
mod store;

pub use service::{DeadLetterEndpoint, IsCoordinator};
pub use store::{DeadLetters, bury_in};
