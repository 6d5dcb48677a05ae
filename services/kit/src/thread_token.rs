//! The keyed token by which a mail proves that it answers one of ours: in our Message-IDs and reply plus-addresses.
//!
//! A guessable reply address let strangers into other people's threads (Zendesk, 2024), so the token carries a MAC of
//! at least 128 bits over the attention's id. Only lower-case letters and digits: mail servers fold case in local parts.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// Characters of a token: 16 bytes of id and 16 bytes of MAC, each in base 32.
pub const TOKEN_LEN: usize = 52;
/// Bytes the key must have at least, the strength of the MAC.
pub const MIN_KEY_BYTES: usize = 16;
/// Octets of a local part (RFC 5321 section 4.5.3.1.1).
const MAX_LOCAL_PART: usize = 64;
/// Bytes of HMAC-SHA256 that the token keeps: 128 bits.
const MAC_BYTES: usize = 16;
const HALF: usize = TOKEN_LEN / 2;
/// RFC 4648 base 32, in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Keeps this MAC apart from every other use of the same key.
const CONTEXT: &[u8] = b"hilo thread token v1";

/// The token of an attention under a key.
pub fn make(key: &[u8], attention_id: Uuid) -> String {
    let mut token = encode(attention_id.as_bytes());
    token.push_str(&encode(&tag(key, attention_id)));
    token
}

/// The attention of a token, when its MAC is right; compared in constant time.
pub fn verify(key: &[u8], token: &str) -> Option<Uuid> {
    let token = token.to_ascii_lowercase();
    let (id, mac) = token.split_at_checked(HALF)?;
    let id = Uuid::from_bytes(decode(id)?);
    let given = decode(mac)?;
    keyed(key, id).verify_truncated_left(&given).is_ok().then_some(id)
}

/// Every attention whose valid token stands in the text (a Message-ID or an address), in order, each once.
pub fn find(key: &[u8], text: &str) -> Vec<Uuid> {
    let mut found = Vec::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| word.len() == TOKEN_LEN) {
        if let Some(id) = verify(key, word).filter(|id| !found.contains(id)) {
            found.push(id);
        }
    }
    found
}

/// `local+token@domain`; `None` when the local part would grow beyond 64 octets, or the address has no domain.
pub fn plus_address(address: &str, token: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    let fits = local.len() + 1 + token.len() <= MAX_LOCAL_PART && !local.is_empty() && !domain.is_empty();
    fits.then(|| format!("{local}+{token}@{domain}"))
}

fn keyed(key: &[u8], id: Uuid) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(CONTEXT);
    mac.update(id.as_bytes());
    mac
}

fn tag(key: &[u8], id: Uuid) -> [u8; MAC_BYTES] {
    let full = keyed(key, id).finalize().into_bytes();
    let mut short = [0; MAC_BYTES];
    for (to, from) in short.iter_mut().zip(full.iter()) {
        *to = *from;
    }
    short
}

fn encode(bytes: &[u8; MAC_BYTES]) -> String {
    // 128 bits in 26 characters; the last one carries 3 bits.
    let mut rest = u128::from_be_bytes(*bytes);
    let mut characters = Vec::with_capacity(HALF);
    for _ in 0..HALF {
        let index = usize::try_from(rest & 31).expect("five bits fit a usize");
        characters.push(ALPHABET.get(index).copied().map_or('a', char::from));
        rest >>= 5;
    }
    characters.into_iter().rev().collect()
}

fn decode(text: &str) -> Option<[u8; MAC_BYTES]> {
    let mut value: u128 = 0;
    for (position, character) in text.bytes().enumerate() {
        let digit = ALPHABET.iter().position(|known| *known == character)?;
        // 26 characters hold 130 bits: a first character above 7 would be a second spelling of the same token.
        if position == 0 && digit > 7 {
            return None;
        }
        value = (value << 5) | u128::try_from(digit).ok()?;
    }
    (text.len() == HALF).then(|| value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn a_token_is_found_in_message_ids_and_addresses_whatever_their_case() {
        let id = Uuid::now_v7();
        let token = make(KEY, id);
        assert_eq!(token.len(), TOKEN_LEN);
        assert_eq!(find(KEY, &format!("0198.{token}@mail.example.com")), vec![id]);
        assert_eq!(find(KEY, &format!("ventas+{}@example.com", token.to_uppercase())), vec![id]);
        assert_eq!(find(b"another key of 32 bytes, altogether", &format!("a+{token}@b")), Vec::<Uuid>::new());
    }

    #[test]
    fn the_plus_address_keeps_the_limit_of_local_parts() {
        let token = make(KEY, Uuid::nil());
        assert_eq!(plus_address("ventas@example.com", &token), Some(format!("ventas+{token}@example.com")));
        assert_eq!(plus_address("atencion.al.cliente@example.com", &token), None);
        assert_eq!(plus_address("nothing", &token), None);
    }

    proptest! {
        #[test]
        fn only_the_token_made_with_the_key_verifies(bytes: [u8; 16], position in 0..TOKEN_LEN, letter in 0usize..32) {
            let id = Uuid::from_bytes(bytes);
            let token = make(KEY, id);
            prop_assert_eq!(verify(KEY, &token), Some(id));
            let mut altered = token.clone().into_bytes();
            altered[position] = ALPHABET[letter];
            let altered = String::from_utf8(altered).unwrap();
            prop_assert_eq!(verify(KEY, &altered).is_some(), altered == token);
        }

        #[test]
        fn any_text_is_survived(text in ".*") {
            prop_assert_eq!(find(KEY, &text), Vec::<Uuid>::new());
            prop_assert_eq!(verify(KEY, &text), None);
        }
    }
}
