//! Meta's error codes as classes: the class alone decides what becomes of a send and of its number.
//!
//! Source: Meta, "Error codes" of the WhatsApp Business Platform (May 2026). Codes and details decide, titles never.

/// Whom a limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The number, its account or the app: nothing of the number goes out for a while.
    Number,
    /// One customer.
    Pair,
}

/// What an error code means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The token or its rights: the number stops, what it has to send is kept.
    Credentials,
    /// Meta has blocked the account or the number, or it was not paid: the number stops.
    Blocked,
    /// Too much at once.
    Throttled(Scope),
    /// The customer service window is closed.
    Window,
    /// The customer wants none of these.
    OptedOut,
    /// Meta keeps it back for reasons of its own.
    Withheld,
    /// The customer cannot be reached.
    Recipient,
    /// The message itself is refused.
    Content,
    /// A file is refused.
    Media,
    /// Meta's trouble: later again.
    Transient,
    /// A code that no page names.
    Unlisted,
}

/// Class of the code in a `failed` status. Of a code that is missing or unreadable nothing follows, least of all that our token is
/// wrong (which is what 0 means in an answer).
pub fn class_of_status(code: i32) -> ErrorClass {
    if code == 0 { ErrorClass::Unlisted } else { class(code) }
}

impl ErrorClass {
    /// Stable reason of reports.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorClass::Credentials => "CREDENTIALS_REFUSED",
            ErrorClass::Blocked => "NUMBER_BLOCKED",
            ErrorClass::Throttled(_) => "RATE_LIMITED",
            ErrorClass::Window => "WINDOW_CLOSED",
            ErrorClass::OptedOut => "OPTED_OUT",
            ErrorClass::Withheld => "WITHHELD_BY_META",
            ErrorClass::Recipient => "RECIPIENT_UNREACHABLE",
            ErrorClass::Content => "CONTENT_REFUSED",
            ErrorClass::Media => "MEDIA_REFUSED",
            ErrorClass::Transient => "TEMPORARY_FAILURE",
            ErrorClass::Unlisted => "REFUSED",
        }
    }

    /// True when nothing of the number should go out until a person has looked.
    pub fn stops_number(self) -> bool {
        match self {
            ErrorClass::Credentials | ErrorClass::Blocked => true,
            ErrorClass::Throttled(_)
            | ErrorClass::Window
            | ErrorClass::OptedOut
            | ErrorClass::Withheld
            | ErrorClass::Recipient
            | ErrorClass::Content
            | ErrorClass::Media
            | ErrorClass::Transient
            | ErrorClass::Unlisted => false,
        }
    }
}

/// The class of a code.
pub fn class(code: i32) -> ErrorClass {
    match code {
        0 | 3 | 10 | 190 | 200..=299 | 131_005 => ErrorClass::Credentials,
        368 | 131_031 | 130_497 | 131_045 | 131_042 => ErrorClass::Blocked,
        131_056 => ErrorClass::Throttled(Scope::Pair),
        4 | 80_007 | 130_429 | 131_048 | 131_064 | 133_016 => ErrorClass::Throttled(Scope::Number),
        131_047 => ErrorClass::Window,
        131_050 => ErrorClass::OptedOut,
        131_049 | 130_472 => ErrorClass::Withheld,
        131_026 | 131_021 | 131_030 | 131_062 | 137_000 => ErrorClass::Recipient,
        33 | 100 | 131_008 | 131_009 | 131_051 | 132_000..=132_069 => ErrorClass::Content,
        131_052 | 131_053 => ErrorClass::Media,
        1 | 2 | 131_000 | 131_016 | 131_057 | 135_000 => ErrorClass::Transient,
        _ => ErrorClass::Unlisted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_list_has_its_class() {
        let table: [(&[i32], ErrorClass); 11] = [
            (&[0, 3, 10, 190, 200, 219, 299, 131_005], ErrorClass::Credentials),
            (&[368, 131_031, 130_497, 131_045, 131_042], ErrorClass::Blocked),
            (&[4, 80_007, 130_429, 131_048, 131_064, 133_016], ErrorClass::Throttled(Scope::Number)),
            (&[131_056], ErrorClass::Throttled(Scope::Pair)),
            (&[131_047], ErrorClass::Window),
            (&[131_050], ErrorClass::OptedOut),
            (&[131_049, 130_472], ErrorClass::Withheld),
            (&[131_026, 131_021, 131_030, 131_062, 137_000], ErrorClass::Recipient),
            (
                &[33, 100, 131_008, 131_009, 131_051, 132_000, 132_001, 132_015, 132_016, 132_068, 132_069],
                ErrorClass::Content,
            ),
            (&[131_052, 131_053], ErrorClass::Media),
            (&[1, 2, 131_000, 131_016, 131_057, 135_000], ErrorClass::Transient),
        ];
        for (codes, expected) in table {
            for code in codes {
                assert_eq!(class(*code), expected, "{code}");
            }
        }
        assert_eq!(class(999_999), ErrorClass::Unlisted);
        assert_eq!((class(0), class_of_status(0)), (ErrorClass::Credentials, ErrorClass::Unlisted));
        assert_eq!(class_of_status(190), ErrorClass::Credentials);
    }
}
