//! WhatsApp in and out (Meta Cloud API): webhooks, their ledger, parsing, sending.
//!
//! Owns the raw webhooks and the life of every send, in its own database (schema `whatsapp`). A webhook is answered 200 only after
//! the ledger has committed its bytes; an attempt to send is committed before it begins. It never decides which attention an item
//! belongs to: it hands items over in order per customer, attention-state decides.
//!
//! - [`domain`]: the rules, plain synchronous Rust. [`store`]: the ledger in PostgreSQL.
//! - [`webhook`]: the HTTP endpoint and the group commit. `parser` turns bodies into INBOUND and statuses into DELIVERY.
//! - `fetcher` brings customers' files into the object store and hands them over as items of their own.
//! - `templates` keeps attention-state's templates like Meta's.
//! - `consumer` takes sends, [`sender`] sends them by [`adapter`].

pub mod accounts;
pub mod adapter;
pub mod config;
mod consumer;
pub mod domain;
mod fetcher;
pub mod memory;
mod metrics;
mod parser;
mod run;
pub mod sender;
pub mod store;
mod templates;
pub mod webhook;

use std::process::ExitCode;

use hilo_kit::error::Error;
use hilo_kit::program::Program;
use sqlx::migrate::Migrator;

pub use config::{Config, WhatsappConfig};
pub use run::{Listeners, run};

/// Name of the service in logs, tokens and configuration.
pub const NAME: &str = "whatsapp-ingest";

const PROGRAM: Program = Program {
    section: NAME,
    name: "hilo-whatsapp-ingest",
    about: "The WhatsApp channel",
    version: env!("CARGO_PKG_VERSION"),
};

/// The process: reads its arguments and the configuration, runs until a signal.
pub fn main() -> ExitCode {
    let database = |section: &WhatsappConfig| section.database.url.expose().to_owned();
    PROGRAM.main(database, migrate, async |config: Config, shutdown| {
        let listeners = Listeners::bind(&config).await?;
        run(config, listeners, shutdown).await
    })
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.dangerous_set_table_name("whatsapp.migrations");
    migrator.create_schema("whatsapp");
    migrator
}

/// Brings the database to this release, creating it when missing.
///
/// # Errors
/// `SCHEMA_TOO_NEW`, `MIGRATION_CHANGED`, `MIGRATION_FAILED`, `DATABASE_UNAVAILABLE`.
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    hilo_kit::db::migrate(database_url, &migrator()).await
}

/// The handler behind the consumer `whatsapp-sender`, for the conformance suite.
pub fn sending_consumer(
    db: hilo_kit::db::Db,
    subjects: hilo_kit::nats::Subjects,
) -> std::sync::Arc<dyn hilo_kit::consumer::BatchHandler> {
    consumer::SendIntake::new(store::Store::new(db, subjects))
}
