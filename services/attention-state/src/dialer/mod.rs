//! Dialers: lists of numbers that an approved template is sent to within hours and at a pace, and what becomes of each.
//!
//! Owns schema `dialer`. A row that is sent begins an attention that waits, without an interaction; the dialer's message lies in its
//! row until there is one, and then goes into the thread ([`Kept`]). Others speak to it through the functions re-exported here: intake
//! when a customer answers ([`waiting_rows`], [`Kept`], [`answered`], [`unanswered`], [`answered_late`]) or wants nothing any more
//! ([`preferred`]), and when the channel reports ([`halt`], [`lock_reports`], [`Changed`]), an agent who starts an attention ([`take_over`]).
//!
//! Lock order: the dialer, identity keys, attentions, rows that were sent.

mod answers;
mod domain;
mod hours;
mod import;
mod manage;
mod opt_outs;
mod preferences;
mod reports;
mod rights;
mod run;
mod step;
mod store;
mod sweep;
mod words;

pub(crate) use answers::{Kept, answered, answered_late, unanswered, waiting_rows};
pub(crate) use answers::{Taking, take_over};
pub(crate) use manage::Dialers;
pub(crate) use preferences::{Preference, preferred};
pub(crate) use reports::{Changed, Reported, halt, lock_reports};
pub(crate) use run::Runner;
#[cfg(test)]
pub(crate) use step::{Step, step};
pub(crate) use store::sends::{Sent, Unanswered};
#[cfg(test)]
pub(crate) use sweep::all as give_up;
pub(crate) use sweep::spawn as spawn_sweep;
