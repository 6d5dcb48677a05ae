//! email-ingest.
pub mod adapter;
pub mod config;
pub mod domain;
pub mod transport;
