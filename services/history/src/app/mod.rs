//! What history does by itself: fetch ended threads, keep them, tell attention-state that they are kept.
//!
//! Two ways lead here. The event of an ended interaction makes it happen at once; the sweep finds whatever is ended and
//! not confirmed, and so heals a crash at any point.

mod keeper;
mod sweep;

pub use keeper::{Ended, Keeper, Kept};
pub use sweep::Sweep;
