//! What an ended thread is, how versions of it meet, and what may be searched: plain, synchronous Rust.
//!
//! No database, network or clock here; instants and ids come in as arguments.

pub mod criteria;
pub mod export;
pub mod merge;
pub mod page;
pub mod people;
pub mod report;
pub mod scope;
pub mod thread;
pub mod words;

pub use criteria::{Asked, Criteria};
pub use page::{PageToken, Position};
pub use scope::Scope;
pub use thread::{AttentionId, ContactId, InteractionId, MessageId, NoteId, Thread};
