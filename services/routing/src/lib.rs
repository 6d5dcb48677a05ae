//! hilo-routing.
