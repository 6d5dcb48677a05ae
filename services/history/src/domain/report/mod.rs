//! Reports: what the events say of an interaction (`fact`), what may be asked (`query`), which figures there are (`kind`).

pub mod fact;
pub mod kind;
pub mod query;

pub use fact::{Fact, Happened, InteractionFacts};
pub use kind::Kind;
pub use query::{Group, Grouping, Query};
