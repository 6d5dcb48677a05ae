//! The content of DATA: it ends at CRLF . CRLF and nowhere else.
//!
//! Servers that also accept a bare line feed, a bare carriage return or `.<CR><CR><LF>` let a second mail be smuggled
//! behind the first (SMTP smuggling, 2023). Here such bytes are content and stay content.

/// Takes content in pieces of any size.
#[derive(Debug)]
pub struct DataReceiver {
    content: Vec<u8>,
    state: State,
    limit: usize,
    received: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a line (after CRLF, or the very start).
    LineStart,
    /// Inside a line.
    Line,
    /// After a CR inside a line.
    Cr,
    /// After a dot at the start of a line; not part of the content (RFC 5321 section 4.5.2).
    Dot,
    /// After that dot and a CR.
    DotCr,
}

/// What a piece brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The content goes on.
    More,
    /// The content ended; so many bytes of the piece belong to it.
    Done(usize),
}

impl DataReceiver {
    /// Keeps at most `limit` bytes; what goes beyond is counted and thrown away.
    pub fn new(limit: usize) -> Self {
        Self { content: Vec::new(), state: State::LineStart, limit, received: 0 }
    }

    /// Takes a piece.
    pub fn take(&mut self, piece: &[u8]) -> Progress {
        for (index, byte) in piece.iter().enumerate() {
            self.state = match (self.state, *byte) {
                (State::LineStart, b'.') => State::Dot,
                (State::LineStart | State::Line | State::Cr | State::Dot, b'\r') => self.carriage_return(),
                (State::Cr, b'\n') => self.keep(b"\n", State::LineStart),
                (State::DotCr, b'\n') => return Progress::Done(index + 1),
                (State::DotCr, b'\r') => self.keep(b"\r", State::Cr),
                (State::DotCr, byte) => self.keep(&[byte], State::Line),
                (State::LineStart | State::Line | State::Cr | State::Dot, byte) => {
                    self.keep(&[byte], State::Line)
                }
            };
        }
        Progress::More
    }

    fn carriage_return(&mut self) -> State {
        if self.state == State::Dot {
            // Held back: it may be the end. It is content when no LF follows.
            return State::DotCr;
        }
        self.keep(b"\r", State::Cr)
    }

    fn keep(&mut self, bytes: &[u8], next: State) -> State {
        if self.state == State::DotCr {
            self.push(b"\r");
        }
        self.push(bytes);
        next
    }

    fn push(&mut self, bytes: &[u8]) {
        self.received = self.received.saturating_add(bytes.len());
        if self.received <= self.limit {
            self.content.extend_from_slice(bytes);
        } else if !self.content.is_empty() {
            self.content = Vec::new();
        }
    }

    /// Bytes of content so far, also those thrown away.
    pub fn received(&self) -> usize {
        self.received
    }

    /// The content; `None` when it was larger than the limit.
    pub fn into_content(self) -> Option<Vec<u8>> {
        (self.received <= self.limit).then_some(self.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn receive(input: &[u8], size: usize) -> (Option<Vec<u8>>, usize) {
        let mut receiver = DataReceiver::new(1_000);
        let mut used = 0;
        for piece in input.chunks(size.max(1)) {
            match receiver.take(piece) {
                Progress::More => used += piece.len(),
                Progress::Done(bytes) => return (receiver.into_content(), used + bytes),
            }
        }
        (None, used)
    }

    #[test]
    fn only_crlf_dot_crlf_ends() {
        for attack in
            ["\n.\n", "\n.\r\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r\n.\r\r\n", "\r.\r\n", "\r\n.\0\r\n"]
        {
            let input = format!("a{attack}MAIL FROM:<x>\r\n.\r\n");
            let (content, used) = receive(input.as_bytes(), 100);
            assert_eq!(used, input.len(), "{attack:?}");
            let content = String::from_utf8(content.unwrap()).unwrap();
            assert!(content.ends_with("MAIL FROM:<x>\r\n"), "{attack:?} {content:?}");
        }
    }

    #[test]
    fn dots_are_unstuffed_and_an_empty_mail_is_empty() {
        assert_eq!(receive(b"..a\r\n...\r\nb.\r\n.\r\nQUIT", 3), (Some(b".a\r\n..\r\nb.\r\n".to_vec()), 17));
        assert_eq!(receive(b".\r\n", 1), (Some(vec![]), 3));
    }

    #[test]
    fn beyond_the_limit_nothing_is_kept() {
        let input = [vec![b'x'; 2_000], b"\r\n.\r\n".to_vec()].concat();
        assert_eq!(receive(&input, 64), (None, input.len()));
    }

    proptest! {
        #[test]
        fn what_was_stuffed_comes_back_however_it_is_cut(lines in proptest::collection::vec("[.a\r]{0,6}", 0..12), size in 1usize..9) {
            // Lines without a CR at their end: that CR would make another line end.
            let lines: Vec<String> = lines.iter().map(|line| line.trim_end_matches('\r').to_owned()).collect();
            let plain: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let stuffed: String = lines
                .iter()
                .map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") })
                .collect();
            let (content, used) = receive(format!("{stuffed}.\r\nQUIT\r\n").as_bytes(), size);
            prop_assert_eq!(content, Some(plain.into_bytes()));
            prop_assert_eq!(used, stuffed.len() + 3);
        }
    }
}
