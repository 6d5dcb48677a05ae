//! hilo-whatsapp-ingest.
