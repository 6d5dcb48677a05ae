//! The outside world behind narrow types: DNS look-ups for sender authentication, the SMTP dialogue of a send, TLS.

pub mod authentication;
pub mod smtp;
pub mod tls;
