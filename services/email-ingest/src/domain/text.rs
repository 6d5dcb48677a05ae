//! Text from outside made safe to store, index and show: no control characters, no direction tricks, bounded.

use super::limits::{ADDRESS_BYTES, NAME_CHARS, SUBJECT_CHARS};

/// One line: controls and line ends become spaces, runs of spaces one space, at most `limit` characters.
pub fn line(text: &str, limit: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(limit * 4));
    let mut count = 0;
    let mut space = false;
    for character in text.chars().filter(|c| !is_direction_override(*c)) {
        if character.is_whitespace() || is_control(character) {
            space = !clean.is_empty();
            continue;
        }
        if count + usize::from(space) >= limit {
            break;
        }
        if std::mem::take(&mut space) {
            clean.push(' ');
            count += 1;
        }
        clean.push(character);
        count += 1;
    }
    clean
}

/// A subject.
pub fn subject(text: &str) -> String {
    line(text, SUBJECT_CHARS)
}

/// A display name.
pub fn name(text: &str) -> String {
    line(text.trim().trim_matches('"'), NAME_CHARS)
}

/// A file name to show, never a path: separators become `_`, invisible characters go (they hid `.htaccess` once).
pub fn file_name(text: &str) -> String {
    let visible: String = text
        .chars()
        .filter(|c| !matches!(*c, '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{ad}' | '\u{2060}'..='\u{2064}'))
        .map(|c| if matches!(c, '/' | '\\' | ':') { '_' } else { c })
        .collect();
    line(&visible, NAME_CHARS).trim_start_matches('.').to_owned()
}

/// A body: line ends become `\n`, other controls but tabs go, NUL above all (PostgreSQL refuses it).
pub fn body(text: &str) -> String {
    let unix = text.replace("\r\n", "\n").replace('\r', "\n");
    unix.chars().filter(|c| *c == '\n' || *c == '\t' || !is_control(*c)).collect()
}

/// An addr-spec with lower-cased domain; `None` when it is none. Only what may safely be put into a command or header.
pub fn address(text: &str) -> Option<String> {
    let text = text.trim().trim_start_matches('<').trim_end_matches('>');
    let (local, domain) = text.rsplit_once('@')?;
    let fits = !local.is_empty() && !domain.is_empty() && text.len() <= ADDRESS_BYTES;
    let plain = !text
        .chars()
        .any(|c| c.is_whitespace() || is_control(c) || is_direction_override(c) || "<>,;".contains(c));
    (fits && plain && !domain.contains('"')).then(|| format!("{local}@{}", domain.to_lowercase()))
}

/// Cut to at most `limit` characters; true when something was cut.
pub fn cut(text: &mut String, limit: usize) -> bool {
    match text.char_indices().nth(limit) {
        Some((position, _)) => {
            text.truncate(position);
            true
        }
        None => false,
    }
}

fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Explicit embeddings, overrides and isolates: they show a name or file extension in another order than it has.
fn is_direction_override(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_no_control_characters() {
        assert_eq!(subject("Hola\r\nBcc: x@y\u{2028}z\0"), "Hola Bcc: x@y z");
        assert_eq!(name("\"Ana\u{202e}María\" "), "AnaMaría");
        assert_eq!(line("aa bb", 4), "aa b");
        assert_eq!(line("  a \t b  ", 10), "a b");
    }

    #[test]
    fn file_names_are_only_names() {
        assert_eq!(file_name("../../etc/pass\u{200b}wd"), "_.._etc_passwd");
        assert_eq!(file_name("\u{feff}.htaccess"), "htaccess");
        assert_eq!(file_name("C:\\x\\factura.pdf"), "C__x_factura.pdf");
    }

    #[test]
    fn addresses_are_plain_or_refused() {
        assert_eq!(address(" <Ana.Pérez@EXAMPLE.com> ").as_deref(), Some("Ana.Pérez@example.com"));
        assert_eq!(address("a b@example.com"), None);
        assert_eq!(address("a@b\r\nRCPT TO:<c@d>"), None);
        assert_eq!(address("@example.com"), None);
        assert_eq!(address("nobody"), None);
    }

    #[test]
    fn bodies_keep_lines_and_lose_nul() {
        assert_eq!(body("a\r\nb\rc\0\td"), "a\nb\nc\td");
    }
}
