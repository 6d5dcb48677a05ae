//! The hardening cases of WhatsApp (24 to 32) and what its acceptance promises, as scenarios with a size on a whole house and the simulator
//! of the Cloud API. Each gives its figure, or an error that says what does not hold; none judges by time.

pub mod altered;
pub mod batch;
pub mod down;
pub mod graph;
pub mod kinds;
pub mod media;
pub mod pace;
pub mod people;
pub mod statuses;
pub mod window;

pub use altered::{altered, no_secret};
pub use batch::{Batch, batch, fifty};
pub use down::{Down, nats_down, postgres_down};
pub use graph::graph;
pub use kinds::kinds;
pub use media::media;
pub use pace::{Pace, pace};
pub use people::people;
pub use statuses::{Statuses, statuses};
pub use window::window;
