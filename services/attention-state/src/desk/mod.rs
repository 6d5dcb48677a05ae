//! The agent's desk: what he sees (lists, conversations, live stream) and what he does to one item.
//!
//! Every function takes the caller's [`Access`](crate::directory::Access) and checks it with `rights`, in the transaction
//! that reads or changes the item. Nothing here changes an interaction but through `attention`.

pub(crate) mod act;
pub(crate) mod answers;
mod avatar;
mod compose;
pub(crate) mod draft;
mod drafts;
pub(crate) mod events;
mod hand;
pub(crate) mod hub;
mod items;
pub(crate) mod list;
pub(crate) mod once;
mod place;
pub(crate) mod read;
mod reopen;
pub(crate) mod rights;
mod said;
mod start;
pub(crate) mod tags;
mod target;
mod told;
pub(crate) mod watch;

pub(crate) use draft::save_draft;
pub(crate) use drafts::save_form;
