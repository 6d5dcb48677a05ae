//! Who signed a webhook: `X-Hub-Signature-256` over the bytes as they came, compared in constant time.
//!
//! Source: Meta, Graph API Webhooks, "Validate payloads" (HMAC-SHA256 of the body with the app secret, in hexadecimal after
//! `sha256=`).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The digest a header claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed([u8; 32]);

impl Claimed {
    /// Reads the header's value; `None` for anything but `sha256=` and 64 hexadecimal digits.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let digits = value.strip_prefix(b"sha256=")?;
        let mut digest = [0; 32];
        hex::decode_to_slice(digits, &mut digest).ok()?;
        Some(Self(digest))
    }

    /// True when the body was signed with this secret. An empty secret signs nothing.
    pub fn fits(&self, secret: &[u8], body: &[u8]) -> bool {
        if secret.is_empty() {
            return false;
        }
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
        mac.update(body);
        mac.verify_slice(&self.0).is_ok()
    }
}

/// Signs as Meta does; for tests.
pub fn sign(secret: &[u8], body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(body);
    Some(format!("sha256={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4231_case_2() {
        let told = Claimed::parse(b"sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
            .unwrap();
        assert!(told.fits(b"Jefe", b"what do ya want for nothing?"));
        assert!(!told.fits(b"Jefe", b"what do ya want for nothing!"));
        assert!(!told.fits(b"jefe", b"what do ya want for nothing?"));
    }

    #[test]
    fn other_forms_are_none_and_an_empty_secret_fits_nothing() {
        let good = sign(b"s", b"b").unwrap();
        assert!(Claimed::parse(good.as_bytes()).unwrap().fits(b"s", b"b"));
        let digits = good.strip_prefix("sha256=").unwrap();
        for bad in [
            "",
            digits,
            &format!("sha1={digits}"),
            &format!("sha256= {digits}"),
            &good[..good.len() - 1],
            &format!("{good}0"),
            &format!("{good}, {good}"),
        ] {
            assert_eq!(Claimed::parse(bad.as_bytes()), None, "{bad}");
        }
        let empty = sign(b"", b"b").unwrap();
        assert!(!Claimed::parse(empty.as_bytes()).unwrap().fits(b"", b"b"));
    }
}
