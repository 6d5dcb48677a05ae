//! A stream that holds the final dot back until it may leave, and knows whether it has left: the line between "certainly
//! not sent" and "may have been sent".

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use futures::task::AtomicWaker;
use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::client::TlsStream;

use super::heard::Heard;

/// What ends the content (RFC 5321 section 4.1.1.4). Dot stuffing keeps it out of the content itself.
const FINAL_DOT: &[u8; 5] = b"\r\n.\r\n";
/// Not watching yet.
const IDLE: u8 = 255;
/// All of [`FINAL_DOT`] was handed to the system.
const LEFT: u8 = 5;

/// How much of the final dot has been written, and whether it may be.
#[derive(Clone, Debug)]
pub struct FinalDot(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    matched: AtomicU8,
    may_leave: AtomicBool,
    reached: Notify,
    writer: AtomicWaker,
}

impl FinalDot {
    fn new() -> Self {
        Self(Arc::new(Shared {
            matched: AtomicU8::new(IDLE),
            may_leave: AtomicBool::new(false),
            reached: Notify::new(),
            writer: AtomicWaker::new(),
        }))
    }

    /// The content begins now; what was written before were commands.
    pub fn watch(&self) {
        // The content begins behind the line end of DATA, so a mail that is only a dot ends at once.
        self.0.matched.store(2, Ordering::SeqCst);
    }

    /// Waits until everything but the final dot was written.
    pub async fn reached(&self) {
        self.0.reached.notified().await;
    }

    /// The final dot may leave.
    pub fn let_go(&self) {
        self.0.may_leave.store(true, Ordering::SeqCst);
        self.0.writer.wake();
    }

    /// True once the final dot was written.
    pub fn has_left(&self) -> bool {
        self.0.matched.load(Ordering::SeqCst) == LEFT
    }

    /// How many of these bytes may be written now; `None` after the writer was put to sleep.
    fn allowed(&self, bytes: &[u8], writer: &Waker) -> Option<usize> {
        let before = self.before_dot(bytes);
        if before == Some(0) {
            self.0.writer.register(writer);
            self.0.reached.notify_one();
        }
        // Asked after the registration: a permission that came in between would wake nobody.
        match before {
            Some(_) if self.0.may_leave.load(Ordering::SeqCst) => Some(bytes.len()),
            Some(0) => None,
            Some(count) => Some(count),
            None => Some(bytes.len()),
        }
    }

    /// Where the final dot begins in these bytes. A dot that another dot follows is a stuffed one; one with nothing behind
    /// it is taken for the final one, which at worst asks for the permission early.
    fn before_dot(&self, bytes: &[u8]) -> Option<usize> {
        let mut matched = self.0.matched.load(Ordering::SeqCst);
        for (index, byte) in bytes.iter().enumerate() {
            if matched >= LEFT {
                return None;
            }
            if matched == 2 && *byte == b'.' && bytes.get(index + 1) != Some(&b'.') {
                return Some(index);
            }
            matched = step(matched, *byte);
        }
        None
    }

    fn written(&self, bytes: &[u8]) {
        let matched = self.0.matched.load(Ordering::SeqCst);
        let matched = bytes.iter().fold(matched, |matched, byte| step(matched, *byte));
        self.0.matched.store(matched, Ordering::SeqCst);
    }
}

/// So many bytes of [`FINAL_DOT`] are matched after this one.
fn step(matched: u8, byte: u8) -> u8 {
    match (FINAL_DOT.get(usize::from(matched)) == Some(&byte), byte) {
        _ if matched >= LEFT => matched,
        (true, _) => matched + 1,
        (false, b'\r') => 1,
        (false, _) => 0,
    }
}

/// Plain or encrypted.
#[derive(Debug)]
pub enum Transport {
    /// Loopback.
    Plain(TcpStream),
    /// Everything else.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The stream given to lettre; `prelude` is read before the transport (the greeting of a server behind STARTTLS).
#[derive(Debug)]
pub struct Watched {
    transport: Transport,
    prelude: Vec<u8>,
    final_dot: FinalDot,
    heard: Heard,
}

impl Watched {
    /// Watches the transport.
    pub fn new(transport: Transport, prelude: Vec<u8>) -> (Self, FinalDot) {
        let final_dot = FinalDot::new();
        (Self { transport, prelude, final_dot: final_dot.clone(), heard: Heard::new() }, final_dot)
    }

    /// What the server says first.
    pub fn heard(&self) -> Heard {
        self.heard.clone()
    }
}

impl AsyncTokioStream for Watched {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.transport {
            Transport::Plain(stream) => stream.peer_addr(),
            Transport::Tls(stream) => stream.get_ref().0.peer_addr(),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prelude.is_empty() {
            let length = buf.remaining().min(self.prelude.len());
            let given: Vec<u8> = self.prelude.drain(..length).collect();
            buf.put_slice(&given);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        self.heard.listen(buf.filled().get(before..).unwrap_or_default());
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Some(allowed) = self.final_dot.allowed(bytes, cx.waker()) else { return Poll::Pending };
        let bytes = bytes.get(..allowed).unwrap_or(bytes);
        let written = match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        if let Poll::Ready(Ok(count)) = written {
            self.final_dot.written(bytes.get(..count).unwrap_or(bytes));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(pieces: &[&[u8]]) -> bool {
        let dot = FinalDot::new();
        dot.written(b"DATA\r\n.\r\n");
        dot.watch();
        for piece in pieces {
            dot.written(piece);
        }
        dot.has_left()
    }

    #[test]
    fn the_final_dot_is_seen_however_it_is_cut_and_nothing_else_is_taken_for_it() {
        assert!(left(&[b"a\r\n", b".\r\n"]));
        assert!(left(&[b"a\r\n\r\n.", b"\r", b"\n"]));
        assert!(left(&[b".\r\n"]));
        assert!(left(&[b"a\r\r\n.\r\n"]));
        assert!(!left(&[b"a\r\n..\r\n"]));
        assert!(!left(&[b"a\r\n.\r"]));
        assert!(!left(&[]));
    }

    /// What gets through in pieces before the permission.
    fn through(pieces: &[&[u8]]) -> (String, bool) {
        let dot = FinalDot::new();
        dot.watch();
        let mut through = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let Some(count) = dot.allowed(rest, Waker::noop()) else {
                    return (String::from_utf8(through).unwrap(), true);
                };
                dot.written(&rest[..count]);
                through.extend_from_slice(&rest[..count]);
                rest = &rest[count..];
            }
        }
        (String::from_utf8(through).unwrap(), false)
    }

    #[test]
    fn everything_but_the_final_dot_passes_before_the_permission() {
        let held = |text: &str| (text.to_owned(), true);
        assert_eq!(through(&[b"a\r\n..\r\n...b\r\n", b"\r\n.\r\n"]), held("a\r\n..\r\n...b\r\n\r\n"));
        assert_eq!(through(&[b"a.\r\nb\r\n.\r\n"]), held("a.\r\nb\r\n"));
        assert_eq!(through(&[b"a\r\n", b".", b"\r\n"]), held("a\r\n"));
        assert_eq!(through(&[b".\r\n"]), held(""));
        assert_eq!(through(&[b"a\n.\nb"]), ("a\n.\nb".to_owned(), false));
    }

    #[tokio::test]
    async fn the_permission_wakes_the_writer_and_is_not_asked_for_before_the_content_is_out() {
        let dot = FinalDot::new();
        assert_eq!(dot.allowed(b"DATA\r\n.\r\n", Waker::noop()), Some(9), "commands are not watched");
        dot.watch();
        assert_eq!(dot.allowed(b"a\r\n.\r\n", Waker::noop()), Some(3));
        dot.written(b"a\r\n");
        let writing = {
            let dot = dot.clone();
            tokio::spawn(std::future::poll_fn(move |cx| match dot.allowed(b".\r\n", cx.waker()) {
                Some(count) => Poll::Ready(count),
                None => Poll::Pending,
            }))
        };
        dot.reached().await;
        assert!(!writing.is_finished());
        dot.let_go();
        assert_eq!(writing.await.unwrap(), 3);
    }
}
