//! The service on real parts: PostgreSQL, nats-server, and a stand-in for the Graph API that does as it is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod bounded;
mod conforming;
mod cut;
mod doubts;
mod feed;
mod files;
mod graph;
mod held;
mod listening;
mod make;
mod paced;
mod patience;
mod receiving;
mod refused;
mod rig;
mod sendable;
mod sending;
mod signed;
mod simulated;
mod starts;
mod statuses;
mod store;
mod strays;
mod templates;
mod turns;
mod uploads;
