//! The outside world behind narrow types: DNS look-ups for sender authentication, the SMTP dialogue of a send.

pub mod authentication;
