//! Load on a whole installation, from outside: mails by SMTP on a fixed schedule, agents as gRPC clients.
//!
//! The schedule is open: a mail's clock starts when it was due, not when the sender got round to it, so a stall is charged
//! to every mail that waited behind it (no coordinated omission).

pub mod act;
pub mod change;
pub mod desks;
pub mod flaps;
pub mod probe;
pub mod report;
pub mod routing;
pub mod steady;
pub mod took;
pub mod webhooks;

pub use act::{Act, ActReport, act};
pub use change::{Change, ChangeReport, change};
pub use desks::{Desks, DesksReport, desks};
pub use flaps::{Flaps, FlapsReport, flaps};
pub use report::Report;
pub use steady::{Steady, steady};
pub use took::Took;
pub use webhooks::{Floor, Webhooks, WebhooksReport, webhooks};
