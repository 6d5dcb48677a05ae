//! Templates of WhatsApp: what Meta has approved for the accounts, as whatsapp-ingest reports it, and whether the values of a send fit.
//!
//! Others speak to it through the functions re-exported here: [`approved`] and [`check`] before a template is sent, [`rendered`] for
//! what the customer reads, [`usable`] for what a refusal offers instead of free text. It sends nothing itself.

mod list;
mod report;
mod store;
mod values;

pub(crate) use list::{list, usable};
pub(crate) use report::report;
pub(crate) use store::approved;
#[cfg(test)]
pub(crate) use values::MAX_VALUE;
pub(crate) use values::{check, header_media, problem, rendered};
