//! The directory in PostgreSQL: `read` loads it, `write` stores what an apply changed, `lookup` answers single questions.

pub mod catalogue;
pub mod lookup;
pub mod read;
pub mod write;
