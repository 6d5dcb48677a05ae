//! hilo-email-ingest.
