//! What a server says of itself before the first command. lettre keeps of the answer to EHLO only the extensions that it
//! uses itself.

use std::sync::Arc;

use parking_lot::Mutex;

/// So much is listened to; greeting and answer to EHLO have some hundred bytes.
const MAX_HEARD: usize = 8 * 1_024;

/// The server's first words; clones share them.
#[derive(Clone, Debug)]
pub struct Heard(Arc<Mutex<Option<Vec<u8>>>>);

impl Heard {
    /// Listens from now on.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(Vec::new()))))
    }

    /// More words.
    pub fn listen(&self, bytes: &[u8]) {
        if let Some(heard) = self.0.lock().as_mut() {
            let room = MAX_HEARD.saturating_sub(heard.len());
            heard.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// Ends the listening. True when the answer to EHLO names the extension; its first line is the server's name
    /// (RFC 5321 section 4.1.1.1).
    pub fn announced(&self, extension: &str) -> bool {
        let heard = self.0.lock().take().unwrap_or_default();
        let heard = String::from_utf8_lossy(&heard);
        let mut extensions = heard.lines().filter(|line| line.starts_with("250")).skip(1);
        extensions.any(|line| {
            let words = line.get(4..).unwrap_or_default();
            words.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case(extension))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(pieces: &[&str]) -> bool {
        let heard = Heard::new();
        for piece in pieces {
            heard.listen(piece.as_bytes());
        }
        heard.announced("DSN")
    }

    #[test]
    fn an_extension_is_a_line_of_the_answer_to_ehlo_and_not_any_word() {
        assert!(announced(&["220 hi\r\n", "250-mx\r\n250-D", "SN\r\n250 8BITMIME\r\n"]));
        assert!(announced(&["220 hi\r\n250-mx\r\n250 dsn\r\n"]));
        assert!(!announced(&["220 DSN\r\n", "250-DSN\r\n250-X DSN\r\n250-DSNX\r\n250-\r\n250 8BITMIME\r\n"]));
        assert!(!announced(&["220-x\r\n220 DSN\r\n500-DSN\r\n500 DSN\r\n"]));
        assert!(!announced(&[]));
    }

    #[test]
    fn it_listens_to_the_beginning_only() {
        let (heard, line) = (Heard::new(), "250-mx\r\n".repeat(MAX_HEARD / 8));
        for text in [line.as_str(), "250 DSN\r\n"] {
            heard.listen(text.as_bytes());
        }
        assert!(!heard.announced("DSN"));
        heard.listen(b"250-mx\r\n250 DSN\r\n");
        assert!(!heard.announced("DSN"));
    }
}
