//! hilo-faults.
