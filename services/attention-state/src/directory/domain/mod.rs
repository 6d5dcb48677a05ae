//! The directory as plain values: reading it from YAML with a line for every error, comparing two of them, and finding
//! which campaigns must be routed together. No database, no clock.

pub mod catalogue;
mod catalogue_yaml;
pub mod check;
pub mod diff;
pub mod entries;
pub mod forms;
pub mod groups;
pub mod hours;
pub mod hours_yaml;
pub mod immutable;
pub mod key;
pub mod merge;
pub mod model;
pub mod parse;
pub mod people;
pub mod problems;
pub mod section;
pub mod selection;
pub mod tree;
pub mod whatsapp;
