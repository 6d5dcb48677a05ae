//! The rules of mail as plain synchronous Rust: parsing, classes, evidence, composing, the life of a send.
//!
//! No tokio, sqlx, tonic or NATS in here; time, keys and ids come in as arguments.

pub mod accounts;
pub mod authentication;
pub mod automatic;
pub mod body;
pub mod bounce;
pub mod class;
pub mod compose;
pub mod decode;
pub mod fields;
pub mod html;
pub mod limits;
pub mod mime;
pub mod parse;
pub mod results;
pub mod send;
pub mod text;
pub mod threading;
