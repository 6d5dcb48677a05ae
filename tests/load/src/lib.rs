//! hilo-load.
