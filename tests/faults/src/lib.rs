//! Hilo under faults: the path of an email and of its thread into the history and back, files and templates of WhatsApp and dialers
//! under `kill -9`, with what is killed, where, and the whole journey as seen by its people; and the hardening cases as scenarios with
//! a size.

pub mod beside;
pub mod cases;
pub mod channel;
pub mod chat;
pub mod dialers;
pub mod journey;
pub mod round;
pub mod steps;

pub use journey::{Journey, Witness};
pub use round::Tally;
pub use steps::{ARCHIVE, BESIDE, CHANNEL, DIALERS, STEPS, Step};
