//! Meta's error codes as classes: the class alone decides what becomes of a send and of its number.
//!
//! Source: Meta, "Error codes" of the WhatsApp Business Platform
//! (<https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes>, May 2026). Codes and details decide,
//! titles never. Codes that only calls answer which are never made here (numbers moved, templates written, statistics) stand under
//! [`ErrorClass::Content`], so that none of the list is unlisted.

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
    /// This business may not write to customers of this country: a matter of the one customer, not of the number.
    Country,
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
            ErrorClass::Country => "COUNTRY_RESTRICTED",
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
            | ErrorClass::Country
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
        // 102 and 104 are the Graph API's own words for a token that is none.
        0 | 3 | 10 | 102 | 104 | 190 | 200..=299 | 131_005 => ErrorClass::Credentials,
        // 33 is a number that was deleted, 131037 a name that is not approved, 133xxx a number that is not, or half, registered.
        33 | 368 | 131_031 | 131_037 | 131_042 | 131_045 => ErrorClass::Blocked,
        133_000 | 133_005 | 133_006 | 133_008..=133_010 | 133_015 => ErrorClass::Blocked,
        131_056 => ErrorClass::Throttled(Scope::Pair),
        // 17, 32, 613 and 80008 are those of the Graph API in general.
        4 | 17 | 32 | 613 | 80_007 | 80_008 => ErrorClass::Throttled(Scope::Number),
        130_429 | 131_048 | 131_064 | 133_016 => ErrorClass::Throttled(Scope::Number),
        131_047 => ErrorClass::Window,
        131_050 => ErrorClass::OptedOut,
        131_049 | 130_472 => ErrorClass::Withheld,
        130_403 | 131_021 | 131_026 | 131_030 | 131_062 | 137_000 => ErrorClass::Recipient,
        130_497 => ErrorClass::Country,
        100 | 131_008 | 131_009 | 131_051 | 131_055 | 131_063 => ErrorClass::Content,
        132_000..=132_069 | 134_011 | 134_100 | 134_102 => ErrorClass::Content,
        200_005..=200_007 | 1_752_041 | 2_593_107 | 2_593_108 => ErrorClass::Content,
        2_388_012..=2_388_299 => ErrorClass::Content,
        131_052 | 131_053 => ErrorClass::Media,
        // 134101 is a template that Meta has not copied everywhere yet, 131057 and 2494100 an account under maintenance.
        1 | 2 | 131_000 | 131_016 | 131_057 | 133_004 | 134_101 | 135_000 | 2_494_100 => {
            ErrorClass::Transient
        }
        _ => ErrorClass::Unlisted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Meta's list, whole; 2xx stands there as a span.
    #[test]
    fn every_code_of_the_list_has_its_class() {
        let table: [(&[i32], ErrorClass); 12] = [
            (&[0, 3, 10, 102, 104, 190, 200, 219, 299, 131_005], ErrorClass::Credentials),
            (&[33, 368, 131_031, 131_037, 131_042, 131_045], ErrorClass::Blocked),
            (&[133_000, 133_005, 133_006, 133_008, 133_009, 133_010, 133_015], ErrorClass::Blocked),
            (
                &[4, 17, 32, 613, 80_007, 80_008, 130_429, 131_048, 131_064, 133_016],
                ErrorClass::Throttled(Scope::Number),
            ),
            (&[131_056], ErrorClass::Throttled(Scope::Pair)),
            (&[131_047], ErrorClass::Window),
            (&[131_050], ErrorClass::OptedOut),
            (&[131_049, 130_472], ErrorClass::Withheld),
            (&[130_403, 131_026, 131_021, 131_030, 131_062, 137_000], ErrorClass::Recipient),
            (&[130_497], ErrorClass::Country),
            (&[131_052, 131_053], ErrorClass::Media),
            (&[1, 2, 131_000, 131_016, 131_057, 133_004, 134_101, 135_000, 2_494_100], ErrorClass::Transient),
        ];
        let content = [
            &[100, 131_008, 131_009, 131_051, 131_055, 131_063, 134_011, 134_100, 134_102][..],
            &[132_000, 132_001, 132_005, 132_007, 132_012, 132_015, 132_016, 132_018, 132_068, 132_069],
            &[2_388_012, 2_388_019, 2_388_039, 2_388_040, 2_388_047, 2_388_072, 2_388_073, 2_388_091],
            &[2_388_093, 2_388_103, 2_388_293, 2_388_299, 2_593_107, 2_593_108],
            &[200_005, 200_006, 200_007, 1_752_041],
        ];
        for (codes, expected) in table.into_iter().chain(content.map(|codes| (codes, ErrorClass::Content))) {
            for code in codes {
                assert_eq!(class(*code), expected, "{code}");
                assert_eq!(class_of_status(*code), if *code == 0 { ErrorClass::Unlisted } else { expected });
            }
        }
        assert_eq!(class(999_999), ErrorClass::Unlisted);
    }
}
