//! The service on real parts: PostgreSQL, nats-server, Dovecot, DNS over loopback, and an SMTP server that misbehaves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod again;
mod authenticating;
mod backlog;
mod bounced;
mod client;
mod conforming;
mod cut_off;
mod dns;
mod envelope_id;
mod feed;
mod fetching;
mod held;
mod large;
mod mailbox;
mod outgoing;
mod receiving;
mod repeated;
mod rig;
mod sending;
mod server;
mod store;
mod troubled;
