//! hilo-history.
