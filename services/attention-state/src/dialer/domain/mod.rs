//! What a dialer is, without database or clock: its life, the CSV of its rows, what a row's values make of its template.

pub(super) mod columns;
pub(super) mod csv;
pub(super) mod life;

hilo_kit::id_type!(
    /// Identifies a dialer.
    DialerId
);
