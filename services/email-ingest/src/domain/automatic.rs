//! The header fields that tell other machines that no person wrote a mail, so that none of them answers it.

use lettre::message::header::{Header, HeaderName, HeaderValue};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// `Auto-Submitted: auto-replied` (RFC 3834 section 5).
#[derive(Clone, Copy, Debug)]
pub struct AutoSubmitted;

/// `X-Auto-Response-Suppress: All` (MS-OXCMAIL section 2.1.3.2.14): Exchange answers neither with an absence nor with a receipt.
#[derive(Clone, Copy, Debug)]
pub struct AutoResponseSuppress;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-replied".to_owned())
    }
}

impl Header for AutoResponseSuppress {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("X-Auto-Response-Suppress")
    }

    fn parse(_: &str) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "All".to_owned())
    }
}
