//! Kit on real parts: a private PostgreSQL (fsync on) and a private nats-server per test.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

mod conforming;
mod consuming;
mod database;
mod healing;
mod leases;
mod oidc;
mod parts;
mod publishing;
mod serving;
