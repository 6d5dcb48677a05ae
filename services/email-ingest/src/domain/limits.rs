//! Every limit on a mail in one place, each with its reason; beyond one the mail is quarantined, visible and whole.

/// Largest mail taken (the usual limit of public mail servers); configuration may only lower it.
pub const MESSAGE_BYTES: usize = 25 * 1024 * 1024;
/// Deepest nesting of multiparts; real mails stay below ten.
pub const NESTING: usize = 50;
/// Most MIME parts.
pub const PARTS: usize = 1_000;
/// Most bytes of one header block.
pub const HEADER_BYTES: usize = 256 * 1024;
/// Most bytes of all header blocks together, since every part brings one.
pub const ALL_HEADER_BYTES: usize = 4 * HEADER_BYTES;
/// Most addresses in To, Cc and Reply-To together.
pub const ADDRESSES: usize = 1_000;
/// Most Message-IDs kept of In-Reply-To and References.
pub const REFERENCES: usize = 100;
/// Longest subject, in characters (the line limit of RFC 5322 section 2.1.1).
pub const SUBJECT_CHARS: usize = 998;
/// Longest display name or file name, in characters.
pub const NAME_CHARS: usize = 255;
/// Longest address: 64 octets, `@`, 255 octets (RFC 5321 section 4.5.3.1).
pub const ADDRESS_BYTES: usize = 320;
/// Longest Message-ID that is indexed: an index entry of PostgreSQL must stay below 2,704 bytes.
pub const MESSAGE_ID_BYTES: usize = 998;
/// Most characters of text carried in the message; a longer part is cut and also kept whole as an attachment.
pub const TEXT_CHARS: usize = 200_000;
/// Largest HTML body that is sanitised; a larger one is kept as an attachment.
pub const HTML_BYTES: usize = 1024 * 1024;
/// Most work the HTML parser may be asked for, in re-opened formatting elements (see `domain::html`).
pub const HTML_COST: usize = 200_000;
/// Most bytes that writing sanitised HTML out may read (see `domain::html`): a tenth of a second.
pub const HTML_SCANNED: usize = 1 << 30;
/// Largest encoded mail fetched from the object store to be sent: twice the bodies that attention-state lets through.
pub const STORED_MAIL_BYTES: i64 = 4 * 1024 * 1024;
