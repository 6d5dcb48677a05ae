//! Customers: created by their first message or by hand, found by any of their addresses and numbers, merged when two turn
//! out to be one person.
//!
//! Owns schema `contact`. Others speak to it through the functions re-exported here. What a change means for attentions
//! (desks, history) is told to `attention::customer`, in the same transaction.
//!
//! Lock order: identity keys ([`keys`]), contacts by id, then attentions and loads as everywhere.

pub(crate) mod change;
pub(crate) mod domain;
mod fields;
mod keys;
pub(crate) mod matches;
pub(crate) mod merge;
mod number;
pub(crate) mod rights;
pub(crate) mod search;
mod store;
pub(crate) mod whatsapp;

pub(crate) use keys::lock_number;
pub(crate) use number::Number;
pub(crate) use store::{EmailIdentity, contact, resolve_emails};
