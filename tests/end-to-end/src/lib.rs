//! hilo-end-to-end.
