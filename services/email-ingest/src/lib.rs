//! Email in and out: mailboxes, the mail ledger, parsing, sending by SMTP.
//!
//! Owns the raw mails and the life of every send, in its own database (schema `mail`). A mail is acknowledged only
//! after the ledger has committed it; an attempt to send is committed before it begins. It never decides which
//! attention a mail belongs to: it delivers evidence, attention-state decides.
//!
//! - [`domain`]: the rules, plain synchronous Rust. [`store`]: the ledger in PostgreSQL.
//! - [`transport`]: the SMTP listener and the IMAP fetcher. [`adapter`]: DNS, TLS and the SMTP client.
//! - `ledger` takes mail in, [`parser`] turns it into INBOUND, `consumer` takes sends, [`sender`] sends them.

pub mod accounts;
pub mod adapter;
pub mod config;
mod consumer;
pub mod domain;
pub mod ledger;
mod metrics;
pub mod parser;
mod run;
pub mod sender;
pub mod store;
pub mod transport;

pub use config::{Config, Section};
pub use run::{Listeners, main, migrate, run};

/// The handler behind the consumer `email-sender`, for the conformance suite.
pub fn sending_consumer(
    db: hilo_kit::db::Db,
    subjects: hilo_kit::nats::Subjects,
    objects: hilo_kit::objects::Objects,
) -> std::sync::Arc<dyn hilo_kit::consumer::BatchHandler> {
    consumer::SendIntake::new(store::Store::new(db, subjects), objects)
}
