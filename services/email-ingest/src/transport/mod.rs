//! Where mail comes in: the SMTP listener and the IMAP fetcher.

pub mod imap;
pub mod smtp;
