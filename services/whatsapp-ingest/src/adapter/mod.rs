//! The outside world as this service calls it.

pub mod files;
pub mod graph;
mod templates;
pub mod version;
