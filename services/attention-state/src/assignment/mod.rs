//! What routing needs from the one writer: who holds which partition, the configuration it decides by, what is live, and
//! the commit of what it decided. Also agents' state, load and the record of every decision.
//!
//! Owns the schema `assignment`. It decides nothing: routing decides outside, and every change of an interaction goes
//! through `attention::work`, where the domain accepts or refuses it.

pub mod agents;
pub mod config;
pub mod decisions;
pub mod groups;
pub mod live;
pub mod load;
pub mod offers;
pub mod orphans;
pub mod partition;
pub(crate) mod present;
pub mod queues;
pub mod release;
pub mod standing;
pub mod together;
pub mod verdict;

#[cfg(test)]
mod tests;
