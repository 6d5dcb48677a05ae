//! The encodings a mail is made of: encoded words (RFC 2047), base64 lines (RFC 2045), parameters (RFC 2231), dates
//! (RFC 5322). Whatever comes in, no line ends where it should not, so no text can add a header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

/// Bytes of one base64 line: 57 make 76 characters (RFC 2045 section 6.8).
pub const LINE: usize = 57;
/// Bytes in one encoded word: with its frame it stays below 75 characters (RFC 2047 section 2).
const WORD: usize = 42;

/// Bytes as base64 lines. Call it with multiples of [`LINE`] except for the last piece.
pub fn base64_lines(bytes: &[u8]) -> String {
    let mut lines = String::with_capacity(bytes.len() / 3 * 4 + bytes.len() / 28);
    for line in bytes.chunks(LINE) {
        STANDARD.encode_string(line, &mut lines);
        lines.push_str("\r\n");
    }
    lines
}

/// Free text of a header.
pub fn text(text: &str) -> String {
    let text = one_line(text);
    let plain = text.is_ascii() && text.len() <= 900 && !text.contains("=?");
    if plain { text } else { encoded(&text) }
}

/// A mailbox: display name and address.
pub fn mailbox(name: &str, address: &str) -> String {
    let address = self::address(address);
    let name = one_line(name);
    if name.is_empty() {
        return address;
    }
    let shown = if name.is_ascii() && name.len() <= 200 && !name.contains("=?") {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        encoded(&name)
    };
    format!("{shown} <{address}>")
}

/// An address without anything that would end it early. Letters beyond ASCII stay (RFC 6532).
pub fn address(address: &str) -> String {
    let kept: String = address
        .chars()
        .filter(|c| {
            !c.is_control() && !c.is_whitespace() && !matches!(c, '<' | '>' | ',' | ';' | '(' | ')' | '"')
        })
        .take(320)
        .collect();
    // Some readers decode encoded words wherever they stand.
    let kept = kept.replace("=?", "=");
    if kept.is_empty() { "unknown@invalid".to_owned() } else { kept }
}

/// A media type (RFC 6838), or bytes of unknown kind.
pub fn media_type(declared: &str) -> &str {
    let token = |text: &str| {
        !text.is_empty()
            && text.len() <= 127
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&c))
    };
    match declared.split_once('/') {
        // A nested mail or multipart may not be base64 (RFC 2046), and we send it as a file anyway.
        Some((kind, sub)) if token(kind) && token(sub) && !matches!(kind, "multipart" | "message") => {
            declared
        }
        _ => "application/octet-stream",
    }
}

/// The `filename` parameter of a part (RFC 2231 when it has letters beyond ASCII). Never a path.
pub fn file_name(name: &str) -> String {
    let name: String = name
        .chars()
        .filter(|c| {
            !c.is_control()
                && !matches!(c, '/' | '\\' | '"' | '?' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
        .take(200)
        .collect();
    let name = name.trim_matches(['.', ' ']);
    let name = if name.is_empty() { "file" } else { name };
    if name.is_ascii() {
        return format!("filename=\"{name}\"");
    }
    let encoded: String = name.bytes().map(percent).collect();
    format!("filename*=UTF-8''{encoded}")
}

fn percent(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// An id between angle brackets (Message-ID, Content-ID), when it can be one.
pub fn id(id: &str) -> Option<String> {
    let fits = !id.is_empty()
        && id.len() <= 900
        && id.bytes().all(|c| c.is_ascii_graphic() && c != b'<' && c != b'>');
    fits.then(|| format!("<{id}>"))
}

/// Date and time of a header (RFC 5322 section 3.3), in UTC.
pub fn date(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC)
        .format(&time::format_description::well_known::Rfc2822)
        .unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned())
}

/// Date and time of an mbox separator (RFC 4155: as `asctime`, UTC).
pub fn asctime(at: OffsetDateTime) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    at.to_offset(time::UtcOffset::UTC)
        .format(&format)
        .unwrap_or_else(|_| "Thu Jan  1 00:00:00 1970".to_owned())
}

/// Control characters, line ends among them, become blanks.
fn one_line(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect();
    line.trim().chars().take(2_000).collect()
}

fn encoded(text: &str) -> String {
    let mut words: Vec<String> = vec![String::new()];
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= WORD => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    let words: Vec<_> = words.iter().map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_adds_a_header() {
        for hostile in ["a\r\nBcc: x@y", "a\nb", "a\u{2028}b", "=?UTF-8?B?DQpCY2M6IHg=?="] {
            for made in [text(hostile), mailbox(hostile, hostile), address(hostile), file_name(hostile)] {
                let folded = made.replace("\r\n ", "");
                assert!(!folded.contains(['\r', '\n']), "{made:?}");
                assert!(
                    !folded.contains("=?UTF-8?B?DQpC"),
                    "an encoded word of others is not passed on: {made:?}"
                );
            }
        }
    }

    #[test]
    fn names_are_never_paths() {
        for hostile in ["../../etc/passwd", "..\\x", "/etc/x", "\u{202e}gpj.exe", "", "...", "a\"; x=\"b"] {
            let made = file_name(hostile);
            assert!(!made.contains(['/', '\\', '\u{202e}']) && made.matches('"').count() <= 2, "{made}");
        }
        assert_eq!(file_name("año.pdf"), "filename*=UTF-8''a%C3%B1o.pdf");
    }

    #[test]
    fn dates_have_the_forms_their_standards_want() {
        let at = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
        assert_eq!(date(at), "Thu, 01 Jan 2026 00:00:00 +0000");
        assert_eq!(asctime(at), "Thu Jan  1 00:00:00 2026");
    }

    #[test]
    fn lines_and_types_are_bounded() {
        assert!(base64_lines(&[7; 500]).lines().all(|line| line.len() <= 76));
        assert!(text(&"ñ".repeat(500)).lines().all(|line| line.len() <= 76));
        assert_eq!(media_type("image/png"), "image/png");
        for bad in ["image", "image/png; x=1", "multipart/mixed", "message/rfc822", "a/b\r\nX: y", ""] {
            assert_eq!(media_type(bad), "application/octet-stream");
        }
        assert_eq!((id("a@b"), id("a b"), id("")), (Some("<a@b>".into()), None, None));
    }
}
