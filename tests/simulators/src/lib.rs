//! The other side of Hilo's channels, for tests, load and playing by hand: today WhatsApp.
//!
//! [`Simulator`] is the WhatsApp Cloud API as Meta documents it, on loopback: the Graph endpoints a business calls, the
//! signed webhooks it gets, and the phones of its customers. It refuses what Meta refuses, in Meta's words, and writes
//! down all it saw. It shares no code and no types with the service it tests: what both know, they know from Meta's
//! pages, which the files in `fixtures/` name.
//!
//! It never simulates what no page says: groups cannot be written to, calls are only told, flows are not run.

mod config;
mod control;
mod customer;
mod errors;
mod faults;
pub mod fixtures;
mod graph;
mod keep;
mod media;
mod pace;
mod phone;
mod record;
mod say;
mod serve;
mod simulator;
mod statuses;
mod webhook;
mod world;

pub use config::{
    App, Behaviour, Config, Delivery, Number, Pace, Refusals, Retry, Shape, StatusPlan, Strangers, Template,
};
pub use customer::Customer;
pub use errors::GraphError;
pub use faults::{Effect, Endpoint, Fault};
pub use media::MediaFault;
pub use pace::{Excess, Pacer};
pub use phone::PhoneError;
pub use record::{Attempt, Request, Totals, Violation};
pub use say::{File, Say};
pub use simulator::{Phone, Simulator};
pub use webhook::sign::{HEADER as SIGNATURE_HEADER, signature};
pub use world::{Said, Sent};
