//! A whole installation of Hilo for tests: five separate processes on a private PostgreSQL and nats-server, an SMTP
//! server that is not our code for outgoing mail, and the people around it - customers, agents, a subscriber.
//!
//! Used by the end-to-end tests, the fault tests, the load generator and the acceptance run. It looks at the system
//! only from outside: SMTP, the phones of WhatsApp's simulator, gRPC, NATS subjects, the receiving mailbox. The one
//! exception is the fault directory, by which a test stops a process between two named source points.

pub mod agent;
pub mod binary;
pub mod case;
pub mod chat;
pub mod customer;
pub mod desk;
pub mod dialing;
pub mod directory;
pub mod download;
pub mod embedded;
pub mod faults;
pub mod foreign;
pub mod installation;
pub mod sink;
pub mod subscriber;
pub mod upload;

pub use agent::Agent;
pub use chat::{Chat, Poster};
pub use desk::Desk;
pub use installation::{Installation, Options, Service};
