//! One module per kind of row; each measures and judges.

pub mod act;
pub mod cases;
pub mod change;
pub mod chaos;
pub mod chat;
pub mod demo;
pub mod desks;
pub mod engine;
pub mod explained;
pub mod failover;
pub mod fresh;
pub mod latency;
pub mod memory;
pub mod race;
pub mod routing;
pub mod search;
pub mod threads;
pub mod waiting;
pub mod wipe;
