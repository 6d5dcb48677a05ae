//! Files of customers: what is believed of a fetched one, and what becomes of it after a try.
//!
//! Source: Meta, "Media" of the Cloud API (June 2026): an id of a webhook lives seven days, an address five minutes.

use std::time::Duration;

use infer::MatcherType;

/// Meta keeps a customer's file for so long.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Tries after the file that came was not the one Meta told of.
const WRONG_TRIES: u32 = 3;
/// Tries after Meta knew of no such file: a new one is not known everywhere at once.
const GONE_TRIES: u32 = 5;
/// Longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(3600);
/// Pause before a try that did not depend on Meta.
const OWN_PAUSE: Duration = Duration::from_secs(60);

/// Why there is no content and will be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Meta has it no more.
    Expired,
    /// It is larger than is taken here.
    TooLarge,
    /// What came is not what Meta told of.
    HashMismatch,
    /// It is not of the type that was told.
    TypeRefused,
    /// Its address leads where our token must not go.
    AddressRefused,
    /// It could not be fetched in all the time Meta keeps it.
    Unavailable,
}

impl Failure {
    /// Stable word of hand-overs.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Expired => "MEDIA_EXPIRED",
            Failure::TooLarge => "MEDIA_TOO_LARGE",
            Failure::HashMismatch => "MEDIA_HASH_MISMATCH",
            Failure::TypeRefused => "MEDIA_TYPE_REFUSED",
            Failure::AddressRefused => "MEDIA_ADDRESS_REFUSED",
            Failure::Unavailable => "MEDIA_UNAVAILABLE",
        }
    }
}

/// How a try ended without the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Meta knows of no such file, or of none at the address it gave.
    Gone,
    /// It is larger than is taken here.
    TooLarge,
    /// Its digest is another one.
    HashMismatch,
    /// It is of another type.
    TypeRefused,
    /// The address is at another host, or leads on to another one.
    AddressRefused,
    /// Meta refuses us: token, limits.
    Refused,
    /// No connection, no answer, half a file, trouble of Meta's.
    Away,
    /// We did not ask: the number is switched off, the token is missing, our object store is away.
    NotAsked,
}

impl Trouble {
    /// Stable word for the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Trouble::Gone => "GONE",
            Trouble::TooLarge => "TOO_LARGE",
            Trouble::HashMismatch => "HASH_MISMATCH",
            Trouble::TypeRefused => "TYPE_REFUSED",
            Trouble::AddressRefused => "ADDRESS_REFUSED",
            Trouble::Refused => "REFUSED",
            Trouble::Away => "AWAY",
            Trouble::NotAsked => "NOT_ASKED",
        }
    }

    /// True for an answer that will hardly be another one: so many of them are enough.
    pub fn is_fault(self) -> bool {
        self.verdict().is_some()
    }

    /// What it means in the end, and how many such answers are the end.
    fn verdict(self) -> Option<(Failure, u32)> {
        match self {
            Trouble::Gone => Some((Failure::Expired, GONE_TRIES)),
            Trouble::TooLarge => Some((Failure::TooLarge, 1)),
            Trouble::HashMismatch => Some((Failure::HashMismatch, WRONG_TRIES)),
            Trouble::TypeRefused => Some((Failure::TypeRefused, WRONG_TRIES)),
            Trouble::AddressRefused => Some((Failure::AddressRefused, WRONG_TRIES)),
            Trouble::Refused | Trouble::Away | Trouble::NotAsked => None,
        }
    }
}

/// What is known when a try ends without the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// Tries begun, this one included.
    pub attempts: u32,
    /// Faults, this one included.
    pub faults: u32,
    /// Time since the webhook came.
    pub age: Duration,
    /// First pause; it grows fourfold.
    pub retry: Duration,
    /// Spreads tries, 0 to 1.
    pub jitter: f64,
}

/// What becomes of a file that was not fetched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Another try after this time, with a new address.
    Again(Duration),
    /// The end.
    Failed(Failure),
}

/// Decides; pure.
pub fn next(trouble: Trouble, tried: Tried) -> Next {
    if let Some((failure, tries)) = trouble.verdict()
        && (tried.faults >= tries || tried.age >= KEPT)
    {
        return Next::Failed(failure);
    }
    if tried.age >= KEPT {
        return Next::Failed(Failure::Unavailable);
    }
    let base = if trouble == Trouble::NotAsked { OWN_PAUSE } else { tried.retry };
    let times = if trouble == Trouble::NotAsked { 0 } else { tried.attempts.saturating_sub(1).min(8) };
    let pause = base.saturating_mul(4_u32.saturating_pow(times)).min(LONGEST);
    Next::Again(pause.mul_f64(1.0 + tried.jitter.clamp(0.0, 1.0) / 4.0))
}

/// A media type without its parameters, in lower case: `audio/ogg; codecs=opus` is `audio/ogg`.
pub fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// True when the first bytes are of the type that was declared, as far as bytes can tell: what is shown (an image) must be
/// recognised, what is played may be of a kind without a sign, and nothing may be a page or a program in disguise.
pub fn is_of_type(bytes: &[u8], declared: &str) -> bool {
    let declared = essence(declared);
    let found = infer::get(bytes);
    let kind = found.map(|found| found.matcher_type());
    match declared.split_once('/') {
        Some(("image", _)) => found.is_some_and(|found| same_image(found.mime_type(), &declared)),
        Some(("audio" | "video", _)) => {
            matches!(kind, None | Some(MatcherType::Audio | MatcherType::Video))
        }
        _ if declared == "application/pdf" => found.is_some_and(|found| found.mime_type() == declared),
        _ if declared == "text/html" => true,
        _ => found.is_none_or(|found| found.mime_type() != "text/html") && kind != Some(MatcherType::App),
    }
}

fn same_image(found: &str, declared: &str) -> bool {
    found == declared || (found == "image/jpeg" && declared == "image/jpg")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &[u8] = b"<!DOCTYPE html><html><body>Sorry</body></html>";
    const PROGRAM: &[u8] =
        b"\x7fELF\x02\x01\x01\x00 and so on, long enough to be one, with more bytes behind it for the look";
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF";

    #[test]
    fn a_page_or_a_program_is_nothing_else() {
        let table: [(&[u8], &str, bool); 16] = [
            (JPEG, "image/jpeg", true),
            (JPEG, "image/jpg", true),
            (JPEG, "image/png", false),
            (PAGE, "image/jpeg", false),
            (b"anything", "image/jpeg", false),
            (b"", "image/jpeg", false),
            (b"OggS\x00\x02", "audio/ogg; codecs=opus", true),
            (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00", "audio/mp4", true),
            (b"a sound without a sign", "audio/aac", true),
            (PAGE, "video/mp4", false),
            (JPEG, "audio/mpeg", false),
            (b"%PDF-1.4", "application/pdf", true),
            (PAGE, "application/pdf", false),
            (b"nothing but text", "text/plain", true),
            (PAGE, "text/plain", false),
            (PROGRAM, "application/vnd.ms-excel", false),
        ];
        for (bytes, declared, expected) in table {
            assert_eq!(
                is_of_type(bytes, declared),
                expected,
                "{declared}: {}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    fn tried(attempts: u32, faults: u32, days: u64) -> Tried {
        Tried {
            attempts,
            faults,
            age: Duration::from_secs(days * 24 * 3600),
            retry: Duration::from_secs(10),
            jitter: 0.0,
        }
    }

    #[test]
    fn every_trouble_has_its_end() {
        let again = |seconds| Next::Again(Duration::from_secs(seconds));
        let table = [
            (Trouble::Away, tried(1, 0, 0), again(10)),
            (Trouble::Away, tried(3, 0, 0), again(160)),
            (Trouble::Away, tried(50, 0, 6), again(3600)),
            (Trouble::Away, tried(50, 0, 7), Next::Failed(Failure::Unavailable)),
            (Trouble::Refused, tried(2, 0, 0), again(40)),
            (Trouble::NotAsked, tried(9, 0, 0), again(60)),
            (Trouble::NotAsked, tried(9, 0, 7), Next::Failed(Failure::Unavailable)),
            (Trouble::Gone, tried(1, 1, 0), again(10)),
            (Trouble::Gone, tried(9, 5, 0), Next::Failed(Failure::Expired)),
            (Trouble::Gone, tried(1, 1, 7), Next::Failed(Failure::Expired)),
            (Trouble::TooLarge, tried(1, 1, 0), Next::Failed(Failure::TooLarge)),
            (Trouble::HashMismatch, tried(2, 2, 0), again(40)),
            (Trouble::HashMismatch, tried(3, 3, 0), Next::Failed(Failure::HashMismatch)),
            (Trouble::TypeRefused, tried(3, 3, 0), Next::Failed(Failure::TypeRefused)),
            (Trouble::AddressRefused, tried(7, 3, 0), Next::Failed(Failure::AddressRefused)),
        ];
        for (trouble, tried, expected) in table {
            assert_eq!(next(trouble, tried), expected, "{trouble:?} {tried:?}");
        }
    }
}
