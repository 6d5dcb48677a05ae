//! hilo-attention-state.
