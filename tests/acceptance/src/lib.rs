//! hilo-acceptance.
