//! Hardening cases as scenarios with a size: `make test` runs them small, the acceptance row `cases` at the size of the case.
//! Each reports figures and says itself whether the case holds; none judges by time.

mod bench;
pub mod cancelled;
pub mod large;
pub mod poison;
pub mod relay;
pub mod writers;

pub use cancelled::{Cancelled, cancelled};
pub use large::{Large, large};
pub use poison::{Poison, poison};
pub use relay::{RelayKills, child_relay, relay_kills};
pub use writers::{Writers, writers};
