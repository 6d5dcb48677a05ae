//! Load on the routing service: messages as an ingest service hands them over, thousands of agents as gRPC streams, and what of it
//! was lost, doubled or out of order, seen from outside.
//!
//! *Assignment*: a newly arrived message whose offer is committed and received on an agent's stream. Its clock starts when the
//! message was due.

pub mod assign;
pub mod crowd;
pub mod events;
pub mod inflow;
pub mod ledger;
pub mod meter;
pub mod world;

pub use assign::{Assign, AssignReport, assign};
pub use crowd::Crowd;
pub use events::Order;
pub use inflow::{Due, Inflow, Sent};
pub use ledger::{Found, Ledger};
pub use meter::Meter;
pub use world::World;
