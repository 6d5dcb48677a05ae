//! The service on real parts: PostgreSQL, nats-server, Dovecot, DNS over loopback, and an SMTP server that misbehaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod authenticating;
mod client;
mod conforming;
mod dns;
mod fetching;
mod receiving;
mod rig;
mod sending;
mod server;
mod store;
