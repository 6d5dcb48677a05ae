//! Kit on real parts: a private PostgreSQL (fsync on) and a private nats-server per test.

mod conforming;
mod consuming;
mod database;
mod healing;
mod leases;
mod parts;
mod publishing;
mod serving;
