//! Customers: created by their first message, found by any of their addresses and numbers.
//!
//! Owns schema `contact`. Others speak to it through the functions re-exported here.

mod store;

pub(crate) use store::{EmailIdentity, contact, is_known_in, resolve_emails, update};
