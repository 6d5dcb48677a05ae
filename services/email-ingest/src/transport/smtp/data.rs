//! The content of DATA: it ends at CRLF . CRLF and nowhere else.
//!
//! Servers that also accept a bare line feed, a bare carriage return or `.<CR><CR><LF>` let a second mail be smuggled
//! behind the first (SMTP smuggling, 2023). Here such bytes are content and stay content.

use super::budget::Share;

/// First room for a content; it doubles from there.
const FIRST_ROOM: usize = 64 * 1024;

/// Takes content in pieces of any size.
#[derive(Debug)]
pub struct DataReceiver {
    content: Vec<u8>,
    state: State,
    limit: usize,
    received: usize,
    share: Share,
    no_room: bool,
}

/// A content and the memory that it holds.
#[derive(Debug)]
pub struct Content {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Kept until the mail is stored.
    pub share: Share,
}

/// Why a content was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thrown {
    /// Larger than the largest mail.
    TooLarge,
    /// No memory for it now.
    NoRoom,
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
    /// Keeps at most `limit` bytes, and no more than the share may grow to; what goes beyond is counted and thrown away.
    pub fn new(limit: usize, share: Share) -> Self {
        Self { content: Vec::new(), state: State::LineStart, limit, received: 0, share, no_room: false }
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
        if self.received <= self.limit && !self.no_room && self.make_room(bytes.len()) {
            self.content.extend_from_slice(bytes);
        } else if self.content.capacity() > 0 {
            self.content = Vec::new();
            self.share.give_back();
        }
    }

    /// Memory is counted as it is held: by capacity, which doubles.
    fn make_room(&mut self, more: usize) -> bool {
        let wanted = self.content.len() + more;
        if wanted <= self.content.capacity() {
            return true;
        }
        let room = wanted.max(self.content.capacity() * 2).clamp(FIRST_ROOM.min(self.limit), self.limit);
        self.no_room = !self.share.grow_to(room);
        if !self.no_room {
            self.content.reserve_exact(room - self.content.len());
        }
        !self.no_room
    }

    /// Bytes of content so far, also those thrown away.
    pub fn received(&self) -> usize {
        self.received
    }

    /// The content.
    ///
    /// # Errors
    /// Why it was thrown away.
    pub fn into_content(self) -> Result<Content, Thrown> {
        match (self.received <= self.limit, self.no_room) {
            (false, _) => Err(Thrown::TooLarge),
            (true, true) => Err(Thrown::NoRoom),
            (true, false) => Ok(Content { bytes: self.content, share: self.share }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::smtp::budget::Budget;
    use proptest::prelude::*;

    fn receive(input: &[u8], size: usize) -> (Option<Vec<u8>>, usize) {
        let mut receiver = DataReceiver::new(1_000, Budget::new(1 << 20).share());
        let mut used = 0;
        for piece in input.chunks(size.max(1)) {
            match receiver.take(piece) {
                Progress::More => used += piece.len(),
                Progress::Done(bytes) => {
                    return (receiver.into_content().ok().map(|content| content.bytes), used + bytes);
                }
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

    #[test]
    fn memory_is_taken_as_content_comes_and_given_back_when_it_is_thrown_away() {
        let budget = Budget::new(200 * 1024);
        let mut first = DataReceiver::new(1 << 20, budget.share());
        assert_eq!(first.take(&[b'x'; 100 * 1024]), Progress::More);
        let mut second = DataReceiver::new(1 << 20, budget.share());
        // 128 kB are held by the first, which has room for its 100 kB.
        assert_eq!(second.take(&[b'x'; 100 * 1024]), Progress::More);
        assert_eq!(second.take(b"\r\n.\r\n"), Progress::Done(5));
        assert_eq!(second.into_content().err(), Some(Thrown::NoRoom));
        first.take(b"\r\n.\r\n");
        let content = first.into_content().unwrap();
        assert_eq!(content.bytes.len(), 100 * 1024 + 2);
        assert!(!budget.share().grow_to(100 * 1024), "held until the mail is stored");
        drop(content);
        assert!(budget.share().grow_to(200 * 1024));
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
