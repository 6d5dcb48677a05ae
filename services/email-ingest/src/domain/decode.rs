//! Transfer encodings and charsets (RFC 2045 section 6), forgiving: what cannot be decoded is shown as it came.

use mail_parser::MimeHeaders;
use mail_parser::decoders::charsets::map::charset_decoder;

use super::mime::Part;

/// The decoded content of a part that is no multipart.
pub fn content(part: &Part<'_>) -> Vec<u8> {
    let encoding = part.headers().and_then(MimeHeaders::content_transfer_encoding).unwrap_or_default();
    match encoding.trim().to_ascii_lowercase().as_str() {
        "base64" => base64(part.body),
        "quoted-printable" => quoted_printable(part.body),
        _ => part.body.to_vec(),
    }
}

/// Text of a part and whether its charset was unknown (then read as UTF-8 with replacements).
pub fn text(part: &Part<'_>) -> (String, bool) {
    let (text, unknown) = characters(part);
    let kind = part.headers().and_then(MimeHeaders::content_type);
    let says = |name: &str, value: &str| {
        kind.and_then(|kind| kind.attribute(name)).is_some_and(|found| found.eq_ignore_ascii_case(value))
    };
    if part.subtype == "plain" && says("format", "flowed") {
        return (unflow(&text, says("delsp", "yes")), unknown);
    }
    (text, unknown)
}

/// Joins lines that were only broken for sending (RFC 3676 section 4): a line that ends with a space goes on, unless it
/// is the signature's separator; quoted lines keep their breaks.
fn unflow(text: &str, delete_space: bool) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.ends_with(' ') && line != "-- " && !line.starts_with('>') {
            joined.push_str(if delete_space { line.strip_suffix(' ').unwrap_or(line) } else { line });
        } else {
            joined.push_str(line);
            joined.push('\n');
        }
    }
    // The split sees an empty line behind the last line end.
    joined.pop();
    joined
}

fn characters(part: &Part<'_>) -> (String, bool) {
    let bytes = content(part);
    let charset =
        part.headers().and_then(MimeHeaders::content_type).and_then(|kind| kind.attribute("charset"));
    let Some(charset) = charset.map(str::trim).filter(|charset| !charset.is_empty()) else {
        return (unlabelled(&bytes), false);
    };
    // Labels of UTF-8 and ASCII go through the same strict reading, since most "us-ascii" in the wild is not.
    if matches!(charset.to_ascii_lowercase().as_str(), "utf-8" | "utf8" | "us-ascii" | "ascii") {
        return (unlabelled(&bytes), false);
    }
    match charset_decoder(charset.as_bytes()) {
        Some(decode) => (decode(&bytes), false),
        None => (unlabelled(&bytes), true),
    }
}

/// UTF-8 when it is, else Windows-1252: what mail without a label mostly is.
fn unlabelled(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) if error.valid_up_to() * 2 > bytes.len() => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => charset_decoder(b"windows-1252")
            .map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), |decode| decode(bytes)),
    }
}

/// Base 64 with everything outside the alphabet ignored (RFC 2045 section 6.8); a cut last group gives what it holds.
pub fn base64(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len() / 4 * 3);
    let mut bits: u32 = 0;
    let mut count = 0;
    for byte in encoded {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => {
                // Padding ends a group; another encoded run may follow.
                (bits, count) = (0, 0);
                continue;
            }
            _ => continue,
        };
        bits = (bits << 6 | u32::from(value)) & 0x00ff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count & 0xff) as u8);
        }
    }
    decoded
}

/// Quoted-printable (RFC 2045 section 6.7); an invalid escape stays as it is.
pub fn quoted_printable(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'=' {
            decoded.push(byte);
            continue;
        }
        let soft = tail.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r'));
        match (tail, soft.and_then(|at| tail.get(at))) {
            (_, Some(b'\n')) => rest = soft.and_then(|at| tail.get(at + 1..)).unwrap_or_default(),
            ([high, low, after @ ..], _) if hex(*high).is_some() && hex(*low).is_some() => {
                decoded.push(hex(*high).unwrap_or_default() << 4 | hex(*low).unwrap_or_default());
                rest = after;
            }
            ([], _) | (_, None) => break,
            _ => decoded.push(b'='),
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mime::split;
    use proptest::prelude::*;

    fn text_of(mail: &[u8]) -> (String, bool) {
        text(&split(mail).ok().unwrap())
    }

    #[test]
    fn charsets_are_read_as_labelled() {
        let latin = b"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nma=F1ana =\r\nfin";
        assert_eq!(text_of(latin), ("mañana fin".to_owned(), false));
        let none = b"Subject: x\n\nma\xf1ana";
        assert_eq!(text_of(none).0, "mañana");
        let odd = b"Content-Type: text/plain; charset=klingon\n\nqapla'";
        assert_eq!(text_of(odd), ("qapla'".to_owned(), true));
        let based =
            b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: BASE64\n\nwr9xd\r\nWU/";
        assert_eq!(text_of(based).0, "¿que?");
    }

    #[test]
    fn flowed_text_is_joined_again() {
        let mail = "Content-Type: text/plain; format=flowed\n\nuna línea que \r\nsigue\r\n\r\n > cita \r\n-- \r\nfirma\r\n";
        assert_eq!(text_of(mail.as_bytes()).0, "una línea que sigue\n\n> cita \n-- \nfirma\n");
        let delsp = "Content-Type: text/plain; format=flowed; delsp=yes\n\npala \r\nbra\r\n";
        assert_eq!(text_of(delsp.as_bytes()).0, "palabra\n");
    }

    #[test]
    fn broken_encodings_give_what_they_hold() {
        assert_eq!(quoted_printable(b"a=ZZb=4"), b"a=ZZb=4");
        assert_eq!(quoted_printable(b"a= \r\nb="), b"ab");
        assert_eq!(base64(b"aGk=aGk="), b"hihi");
        assert_eq!(base64(b"aGk!\n"), b"hi");
    }

    proptest! {
        #[test]
        fn decoders_survive_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = quoted_printable(&bytes);
            let _ = base64(&bytes);
        }
    }
}
