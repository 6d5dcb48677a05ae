//! A telephone number that is written to, as people write it.

use std::fmt;

/// Fewest and most digits of an international number (ITU-T E.164 allows 15; shorter than 8 is a short code).
const DIGITS: std::ops::RangeInclusive<usize> = 8..=15;

/// A number as `+` and 8 to 15 digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Number(String);

impl Number {
    /// Reads a number with its country code: `+` first; spaces, dots, dashes and brackets between the digits are left out. Without `+`
    /// nobody can tell a country code from the beginning of a national number.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().strip_prefix('+')?;
        let digits: String = digits.chars().filter(|one| !" .-()\u{a0}".contains(*one)).collect();
        let plain = digits.bytes().all(|one| one.is_ascii_digit()) && !digits.starts_with('0');
        (plain && DIGITS.contains(&digits.len())).then(|| Self(format!("+{digits}")))
    }

    /// As `+` and digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Number;

    #[test]
    fn numbers_as_people_write_them() {
        for (text, read) in [
            ("+51987654321", Some("+51987654321")),
            (" +51 987 654-321 ", Some("+51987654321")),
            ("+51 (987) 654.321", Some("+51987654321")),
            ("+51\u{a0}987654321", Some("+51987654321")),
            ("+12345678", Some("+12345678")),
            ("+123456789012345", Some("+123456789012345")),
            ("+1234567", None),
            ("+1234567890123456", None),
            ("51987654321", None),
            ("0051987654321", None),
            ("+0987654321", None),
            ("+51 98765432a", None),
            ("++51987654321", None),
            ("+٥١٩٨٧٦٥٤٣٢", None),
            ("", None),
            ("+", None),
        ] {
            assert_eq!(Number::parse(text).as_ref().map(Number::as_str), read, "{text:?}");
        }
    }
}
