//! The simulator from outside: called over HTTP like Meta, and receiving its webhooks like a business.

mod control;
mod faults;
mod files;
mod phones;
mod refusals;
mod webhooks;
mod world;
