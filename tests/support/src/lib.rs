//! hilo-test-support.
