//! Load on the routing service: messages as an ingest service hands them over, thousands of agents as gRPC streams, and what of it
//! was lost, doubled or out of order, seen from outside.
//!
//! *Assignment*: a newly arrived message whose offer is committed and received on an agent's stream. Its clock starts when the
//! message was due.

pub mod course;
pub mod crowd;
pub mod disturb;
pub mod events;
pub mod floor;
pub mod history;
pub mod inflow;
pub mod ledger;
pub mod meter;
pub mod page;
pub mod peer;
pub mod plans;
pub mod plot;
pub mod progress;
pub mod scenario;
pub mod summary;
pub mod work;
pub mod world;

pub use course::{on, run};
pub use crowd::{Crowd, Rang};
pub use disturb::{Disturbance, Effect};
pub use events::Order;
pub use inflow::{Due, Inflow, Sent};
pub use ledger::{Found, Ledger};
pub use meter::Meter;
pub use scenario::{Compared, Outcome, Phase, Scenario};
pub use summary::Summary;
pub use work::{Cycles, Work};
pub use world::World;
