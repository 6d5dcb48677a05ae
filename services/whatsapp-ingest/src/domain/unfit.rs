//! What can never go out as it is, and why.

/// Why; every send that fails without Meta's word has one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Something is missing in it, or beyond Meta's limits.
    ContentInvalid,
    /// Its kind is not sent.
    KindNotCarried,
    /// The customer has neither number nor user id.
    RecipientMissing,
    /// Its file is too large.
    FileTooLarge,
    /// Its file is of a type that is not taken.
    TypeRefused,
    /// Its file is not in the object store.
    ObjectMissing,
    /// Its file is broken there.
    ObjectCorrupt,
    /// The customer service window closed before it went out.
    WindowClosed,
    /// A sign of writing that would tell what is over.
    TypingTooLate,
    /// A read mark that tells nothing any more.
    MarkTooLate,
}

impl Unfit {
    /// Stable reason of reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Unfit::ContentInvalid => "CONTENT_INVALID",
            Unfit::KindNotCarried => "KIND_NOT_CARRIED",
            Unfit::RecipientMissing => "RECIPIENT_MISSING",
            Unfit::FileTooLarge => "MEDIA_TOO_LARGE",
            Unfit::TypeRefused => "MEDIA_TYPE_REFUSED",
            Unfit::ObjectMissing => "OBJECT_MISSING",
            Unfit::ObjectCorrupt => "OBJECT_CORRUPT",
            Unfit::WindowClosed => "WINDOW_CLOSED",
            Unfit::TypingTooLate => "TYPING_TOO_LATE",
            Unfit::MarkTooLate => "MARK_TOO_LATE",
        }
    }
}

/// A send that can never be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsendable {
    /// Why.
    pub why: Unfit,
    /// For people.
    pub text: &'static str,
}
