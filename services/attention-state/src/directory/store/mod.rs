//! The directory in PostgreSQL: `read` loads it, `write` stores what an apply changed, `lookup` answers single questions,
//! `catalogue` does all three for what desks choose from, `audit` is the trail.

pub mod audit;
pub mod catalogue;
pub mod lookup;
pub mod read;
pub mod write;
