//! Page tokens: where the next page starts, bound to the criteria it belongs to. Opaque to callers.
//!
//! A token grants nothing: rights are checked anew for every page, so it needs no signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hilo_kit::error::Error;
use hilo_kit::ids::Uuid;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::criteria::Criteria;
use super::thread::InteractionId;

const FORMAT: u8 = 1;
const FINGERPRINT: usize = 16;
const LENGTH: usize = 1 + FINGERPRINT + 8 + 16;

/// Place in the order of every search: newest end first, then the greater id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// End of the last thread of the page; microseconds, as the database keeps it.
    pub ended_at: OffsetDateTime,
    /// Its interaction.
    pub interaction_id: InteractionId,
}

/// The opaque form of a [`Position`].
#[derive(Debug)]
pub struct PageToken;

impl PageToken {
    /// The token for the page after `position`.
    pub fn encode(position: Position, criteria: &Criteria) -> String {
        let micros = i64::try_from(position.ended_at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX);
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&fingerprint(criteria));
        bytes.extend_from_slice(&micros.to_be_bytes());
        bytes.extend_from_slice(position.interaction_id.uuid().as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position in a token that was given out for the same criteria.
    ///
    /// # Errors
    /// `PAGE_TOKEN_INVALID` when it is not a token, `PAGE_TOKEN_MISMATCH` when it belongs to other criteria.
    pub fn decode(token: &str, criteria: &Criteria) -> Result<Position, Error> {
        let malformed = || {
            Error::invalid("PAGE_TOKEN_INVALID", "the page token is malformed")
                .field("page_token", "must come from the page before")
        };
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| malformed())?;
        let bytes: [u8; LENGTH] = bytes.try_into().map_err(|_| malformed())?;
        let (format, rest) = bytes.split_first().ok_or_else(malformed)?;
        let (print, rest) = rest.split_at_checked(FINGERPRINT).ok_or_else(malformed)?;
        let (micros, id) = rest.split_at_checked(8).ok_or_else(malformed)?;
        if *format != FORMAT {
            return Err(malformed());
        }
        if print != fingerprint(criteria) {
            return Err(Error::invalid("PAGE_TOKEN_MISMATCH", "the page token belongs to another search")
                .field("page_token", "must come from a page of the same criteria"));
        }
        let micros = i64::from_be_bytes(micros.try_into().map_err(|_| malformed())?);
        let ended_at =
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(|_| malformed())?;
        let id = Uuid::from_slice(id).map_err(|_| malformed())?;
        Ok(Position { ended_at, interaction_id: InteractionId(id) })
    }
}

fn fingerprint(criteria: &Criteria) -> [u8; FINGERPRINT] {
    // Debug of plain data with ordered maps: the same criteria give the same text within a release, which is all a
    // token needs; after an upgrade at worst a page is asked for anew.
    let digest: [u8; 32] = Sha256::digest(format!("{criteria:?}")).into();
    let mut print = [0; FINGERPRINT];
    for (to, from) in print.iter_mut().zip(digest) {
        *to = from;
    }
    print
}

#[cfg(test)]
mod tests {
    use super::super::criteria::Asked;
    use super::*;

    fn criteria(words: &str) -> Criteria {
        Criteria::parse(&Asked { words: words.into(), ..Asked::default() }).unwrap()
    }

    #[test]
    fn a_token_leads_back_to_its_position_and_only_with_its_criteria() {
        let ended_at = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_000).unwrap();
        let position = Position { ended_at, interaction_id: InteractionId::new() };
        let token = PageToken::encode(position, &criteria("camión"));
        assert_eq!(PageToken::decode(&token, &criteria("Camión!")).unwrap(), position);
        let refused = PageToken::decode(&token, &criteria("avión")).unwrap_err();
        assert_eq!(refused.reason(), "PAGE_TOKEN_MISMATCH");
        for bad in ["", "x", "%%%", &token[1..], &format!("{token}AAAA")] {
            let refused = PageToken::decode(bad, &criteria("camión")).unwrap_err();
            assert_eq!(refused.reason(), "PAGE_TOKEN_INVALID", "{bad}");
            assert_eq!(refused.violations()[0].field, "page_token");
        }
    }
}
