//! The signature of a webhook: HMAC-SHA256 of the raw body with the app secret, in hexadecimal.
//!
//! <https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads>; Meta escapes what is
//! beyond ASCII before it signs, so the bytes that were signed are the bytes that are sent.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// Name of the header.
pub const HEADER: &str = "X-Hub-Signature-256";

/// Value of the header for `body`: `sha256=` and 64 hexadecimal digits.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("invariant: HMAC takes keys of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// The body as it is signed and sent; with `escape` as Meta writes it, in ASCII and with `\/`.
pub fn body(value: &Value, escape: bool) -> Vec<u8> {
    let plain = value.to_string();
    if !escape {
        return plain.into_bytes();
    }
    // Outside of strings JSON has neither slashes nor anything beyond ASCII, so the text can be escaped as a whole.
    let mut text = String::with_capacity(plain.len() + plain.len() / 8);
    for character in plain.chars() {
        if character == '/' {
            text.push_str("\\/");
        } else if character.is_ascii() {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn the_signature_is_the_published_one() {
        assert_eq!(
            signature("Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn the_escaped_body_is_ascii_and_means_the_same() {
        let value = json!({"body": "Grüße 👍 https://a/b", "empty": ""});
        let bytes = body(&value, true);
        assert!(bytes.is_ascii());
        let text = String::from_utf8(bytes.clone()).expect("ASCII");
        assert!(text.contains(r"Gr\u00fc\u00dfe \ud83d\udc4d https:\/\/a\/b"), "{text}");
        assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), value);
        assert_ne!(body(&value, false), bytes);
    }
}
