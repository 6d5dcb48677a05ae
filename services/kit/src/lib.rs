//! What every Hilo service stands on: configuration, life cycle, telemetry, gRPC server and client, identity of
//! callers, PostgreSQL access, NATS streams, transactional outbox and inbox, consumers and dead letters.
//!
//! Owns the schema `kit` in every service's database. It knows nothing of the domain: no attention, no mail.

pub mod auth;
pub mod clock;
pub mod config;
pub mod conformance;
pub mod consumer;
pub mod db;
pub mod dead;
pub mod directory;
pub mod download;
pub mod error;
pub mod fault;
pub mod grpc;
pub mod health;
pub mod html;
pub mod idempotency;
pub mod ids;
pub mod inbox;
pub mod lease;
pub mod lifecycle;
mod memory;
pub mod nats;
pub mod objects;
pub mod outbox;
pub mod program;
pub mod secrets;
pub mod telemetry;
pub mod thread_token;

pub use error::{Class, Error};

/// Installs ring as the process-wide TLS provider. Call it first in every main and in every test that uses TLS;
/// calling it again does nothing.
pub fn install_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // A second installer may win the race; both install the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
