//! History on real parts: PostgreSQL, nats-server, gRPC over loopback; only attention-state is played by a small fake.

mod fake;
mod keeping;
mod rights;
mod sample;
mod search;
mod store;
mod wake;
