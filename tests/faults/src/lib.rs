//! The path of an email under `kill -9`: what is killed, where, and one mail's whole journey as seen by its people.

pub mod journey;
pub mod steps;

pub use journey::{Journey, Witness};
pub use steps::{STEPS, Step};
