//! Command lines: at most so many bytes, ended by CRLF and nothing else.

use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Longest command line: 512 by RFC 5321 section 4.5.3.1.4, more with the parameters of extensions.
pub const MAX_LINE: usize = 2_048;
/// An overlong line is read to its end up to here, so that the client hears why.
const MAX_DRAIN: usize = 64 * 1_024;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line with its CRLF.
    Text(Vec<u8>),
    /// Too long; read to its end.
    TooLong,
    /// Ended by a bare line feed: a client that may be smuggling.
    BareLineFeed,
    /// The client went away, was silent for too long, or sent endlessly.
    Gone,
}

/// Reads one line.
pub async fn read<R: AsyncBufRead + Unpin>(reader: &mut R, idle: Duration) -> Line {
    tokio::time::timeout(idle, read_now(reader)).await.unwrap_or(Line::Gone)
}

async fn read_now<R: AsyncBufRead + Unpin>(reader: &mut R) -> Line {
    let mut line = Vec::new();
    let mut length = 0;
    let mut last = 0;
    loop {
        let available = match reader.fill_buf().await {
            Ok(available) if !available.is_empty() => available,
            Ok(_) | Err(_) => return Line::Gone,
        };
        let end = available.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let piece = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        length += piece.len();
        if length <= MAX_LINE {
            line.extend_from_slice(piece);
        }
        let taken = piece.len();
        let before_feed = taken.checked_sub(2).and_then(|at| piece.get(at)).copied().unwrap_or(last);
        last = piece.last().copied().unwrap_or(last);
        reader.consume(taken);
        if end.is_some() {
            return match (before_feed == b'\r', length <= MAX_LINE) {
                (false, _) => Line::BareLineFeed,
                (true, false) => Line::TooLong,
                (true, true) => Line::Text(line),
            };
        }
        if length > MAX_DRAIN {
            return Line::Gone;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    async fn lines(input: &[u8], buffer: usize) -> Vec<Line> {
        let mut reader = BufReader::with_capacity(buffer, input);
        let mut found = Vec::new();
        loop {
            let line = read(&mut reader, Duration::from_secs(1)).await;
            let over = line == Line::Gone;
            found.push(line);
            if over {
                return found;
            }
        }
    }

    #[tokio::test]
    async fn lines_end_with_crlf_and_only_so() {
        for buffer in [1, 2, 3, 64] {
            let found = lines(b"NOOP\r\nNOOP\nQUIT\r\nrest", buffer).await;
            let text = |text: &[u8]| Line::Text(text.to_vec());
            assert_eq!(
                found,
                vec![text(b"NOOP\r\n"), Line::BareLineFeed, text(b"QUIT\r\n"), Line::Gone],
                "{buffer}"
            );
        }
    }

    #[tokio::test]
    async fn long_lines_are_named_and_endless_ones_cut() {
        let long = [vec![b'x'; MAX_LINE], b"\r\nNOOP\r\n".to_vec()].concat();
        assert_eq!(
            lines(&long, 100).await,
            vec![Line::TooLong, Line::Text(b"NOOP\r\n".to_vec()), Line::Gone]
        );
        assert_eq!(lines(&vec![b'x'; MAX_DRAIN * 2], 4_096).await, vec![Line::Gone]);
    }
}
