//! Splits a mail into its parts (RFC 2046) under hard limits, in time linear in its size per level of nesting.
//!
//! The header fields are mail-parser's business. The tree is ours: mail-parser has no limits on depth, parts or work,
//! and a hostile mail must end as a quarantined row, not as a stuck or killed process.

use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders};

use super::limits::{ALL_HEADER_BYTES, HEADER_BYTES, MESSAGE_BYTES, NESTING, PARTS};

/// A limit that the mail breaks; the mail is quarantined with this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverLimit {
    /// Larger than the largest mail.
    Size,
    /// Header blocks too large.
    HeaderBytes,
    /// Too deep.
    Nesting,
    /// Too many parts.
    Parts,
    /// Too many addresses.
    Addresses,
}

impl OverLimit {
    /// Stable reason.
    pub fn reason(self) -> &'static str {
        match self {
            OverLimit::Size => "MAIL_TOO_LARGE",
            OverLimit::HeaderBytes => "MAIL_HEADERS_TOO_LARGE",
            OverLimit::Nesting => "MAIL_NESTED_TOO_DEEPLY",
            OverLimit::Parts => "MAIL_TOO_MANY_PARTS",
            OverLimit::Addresses => "MAIL_TOO_MANY_ADDRESSES",
        }
    }
}

/// A part of a mail.
pub struct Part<'a> {
    headers: Option<Message<'static>>,
    /// Type in lower case, for instance `text`.
    pub kind: String,
    /// Subtype in lower case, for instance `plain`.
    pub subtype: String,
    /// Body as it stands in the mail, still encoded.
    pub body: &'a [u8],
    /// Parts of a multipart; empty for every other part.
    pub children: Vec<Part<'a>>,
}

impl Part<'_> {
    /// Header fields; `None` when the part has none.
    pub fn headers(&self) -> Option<&MessagePart<'static>> {
        self.headers.as_ref().and_then(|message| message.parts.first())
    }

    /// The header block as a message, for the accessors of well-known fields.
    pub fn message(&self) -> Option<&Message<'static>> {
        self.headers.as_ref()
    }

    /// True for multiparts that were split.
    pub fn is_multipart(&self) -> bool {
        !self.children.is_empty()
    }
}

#[derive(Default)]
struct Budget {
    parts: usize,
    header_bytes: usize,
}

/// Splits the whole mail.
///
/// # Errors
/// The first limit it breaks.
pub fn split(raw: &[u8]) -> Result<Part<'_>, OverLimit> {
    if raw.len() > MESSAGE_BYTES {
        return Err(OverLimit::Size);
    }
    part(raw, 0, ("text", "plain"), &mut Budget::default())
}

/// The header block alone, for what must be known before the mail is parsed; `None` when there is none.
pub fn head(raw: &[u8]) -> Option<Message<'static>> {
    let (block, _) = header_block(raw.get(..HEADER_BYTES).unwrap_or(raw));
    parse_headers(block)
}

fn part<'a>(
    raw: &'a [u8],
    depth: usize,
    default: (&str, &str),
    budget: &mut Budget,
) -> Result<Part<'a>, OverLimit> {
    let (block, body) = header_block(raw);
    budget.parts += 1;
    budget.header_bytes += block.len();
    if block.len() > HEADER_BYTES || budget.header_bytes > ALL_HEADER_BYTES {
        return Err(OverLimit::HeaderBytes);
    }
    if budget.parts > PARTS {
        return Err(OverLimit::Parts);
    }
    let headers = parse_headers(block);
    let declared = headers.as_ref().and_then(MimeHeaders::content_type);
    let (kind, subtype) = match declared {
        Some(declared) => (declared.ctype(), declared.subtype().unwrap_or_default()),
        None => default,
    };
    let (mut kind, mut subtype) = (kind.to_ascii_lowercase(), subtype.to_ascii_lowercase());
    let boundary = declared.and_then(|declared| declared.attribute("boundary")).unwrap_or_default();
    let mut children = Vec::new();
    if kind == "multipart" {
        let below = if subtype == "digest" { ("message", "rfc822") } else { ("text", "plain") };
        for slice in slices(body, boundary.as_bytes()) {
            if depth >= NESTING {
                return Err(OverLimit::Nesting);
            }
            children.push(part(slice, depth + 1, below, budget)?);
        }
        if children.is_empty() {
            // A multipart without its boundary is shown as the text it is.
            (kind, subtype) = ("text".to_owned(), "plain".to_owned());
        }
    }
    Ok(Part { headers, kind, subtype, body, children })
}

/// Header block and body: they are separated by the first empty line.
fn header_block(raw: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    while let Some(rest) = raw.get(start..) {
        let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let line = rest.get(..length).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        let end = start + length;
        if matches!(line, b"\n" | b"\r\n") {
            return (raw.get(..start).unwrap_or_default(), raw.get(end..).unwrap_or_default());
        }
        start = end;
    }
    (raw, &[])
}

fn parse_headers(block: &[u8]) -> Option<Message<'static>> {
    if block.is_empty() {
        return None;
    }
    // mail-parser reads a field only up to its line end, which the last line of a cut mail lacks.
    let mut terminated = block.to_vec();
    terminated.extend_from_slice(b"\r\n\r\n");
    MessageParser::new().parse_headers(&terminated).map(Message::into_owned)
}

/// The bodies between the delimiter lines of RFC 2046 section 5.1.1; a missing last delimiter is forgiven.
fn slices<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mut found = Vec::new();
    if boundary.is_empty() {
        return found;
    }
    let mut open: Option<usize> = None;
    let mut start = 0;
    while let Some(rest) = body.get(start..).filter(|rest| !rest.is_empty()) {
        let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let line = rest.get(..length).unwrap_or_default();
        if let Some(closing) = delimiter(line, boundary) {
            if let Some(from) = open {
                found.push(without_line_end(body.get(from..start).unwrap_or_default()));
            }
            open = (!closing).then_some(start + length);
            if closing || found.len() > PARTS {
                return found;
            }
        }
        start += length;
    }
    if let Some(from) = open {
        found.push(body.get(from..).unwrap_or_default());
    }
    found
}

/// `Some(true)` for the closing delimiter, `Some(false)` for another one.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let (closing, rest) = match rest.strip_prefix(b"--") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    rest.iter().all(u8::is_ascii_whitespace).then_some(closing)
}

/// The line end before a delimiter belongs to the delimiter.
fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        let mut mail = Vec::new();
        for level in 0..depth {
            mail.extend_from_slice(
                format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n").as_bytes(),
            );
        }
        mail.extend_from_slice(b"Content-Type: text/plain\n\ndeep");
        mail
    }

    #[test]
    fn parts_are_found_between_their_delimiters() {
        let mail = b"Content-Type: multipart/mixed; boundary=\"x\"\r\n\r\npreamble\r\n--x\r\n\r\none\r\n--x \r\nContent-Type: text/html\r\n\r\ntwo\r\n--x--\r\nepilogue";
        let root = split(mail).ok().unwrap();
        let bodies: Vec<_> = root.children.iter().map(|part| (part.subtype.as_str(), part.body)).collect();
        assert_eq!(bodies, vec![("plain", &b"one"[..]), ("html", &b"two"[..])]);
    }

    #[test]
    fn a_longer_boundary_is_another_boundary() {
        let mail = b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\n--xy is text\n--x--\n";
        assert_eq!(split(mail).ok().unwrap().children.first().unwrap().body, b"--xy is text");
    }

    #[test]
    fn limits_end_the_work() {
        assert!(split(&nested(NESTING)).is_ok());
        assert_eq!(split(&nested(NESTING + 1)).err(), Some(OverLimit::Nesting));
        assert_eq!(split(&nested(10_000)).err(), Some(OverLimit::Nesting));
        let many =
            [b"Content-Type: multipart/mixed; boundary=b\n\n".to_vec(), b"--b\n\n".repeat(1_001)].concat();
        assert_eq!(split(&many).err(), Some(OverLimit::Parts));
        assert_eq!(split(&b"a: b\n".repeat(60_000)).err(), Some(OverLimit::HeaderBytes));
        assert_eq!(split(&vec![b'x'; MESSAGE_BYTES + 1]).err(), Some(OverLimit::Size));
    }

    #[test]
    fn a_multipart_without_boundary_is_text() {
        let root = split(b"Content-Type: multipart/mixed\n\nhello").ok().unwrap();
        assert_eq!(
            (root.kind.as_str(), root.subtype.as_str(), root.is_multipart()),
            ("text", "plain", false)
        );
    }
}
