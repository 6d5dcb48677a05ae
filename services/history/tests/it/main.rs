//! History on real parts: PostgreSQL, nats-server, gRPC over loopback; only attention-state is played by a small fake.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a step that fails ends its test")]

mod conforming;
mod detail;
mod events;
mod exporting;
mod fake;
mod keeping;
mod naive;
mod pages;
mod recipients;
mod reporting;
mod reports;
mod rights;
mod sample;
mod search;
mod store;
mod wake;
mod whatsapp;
