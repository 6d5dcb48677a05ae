//! A stream that knows whether the final dot has left: the line between "certainly not sent" and "may have been sent".

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What ends the content (RFC 5321 section 4.1.1.4). Dot stuffing keeps it out of the content itself.
const FINAL_DOT: &[u8; 5] = b"\r\n.\r\n";
/// Not watching yet.
const IDLE: u8 = 255;
/// All of [`FINAL_DOT`] was handed to the system.
const LEFT: u8 = 5;

/// How much of the final dot has been written.
#[derive(Clone, Debug)]
pub struct FinalDot(Arc<AtomicU8>);

impl FinalDot {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(IDLE)))
    }

    /// The content begins now; what was written before were commands.
    pub fn watch(&self) {
        // The content begins behind the line end of DATA, so a mail that is only a dot ends at once.
        self.0.store(2, Ordering::SeqCst);
    }

    /// True once the final dot was written.
    pub fn has_left(&self) -> bool {
        self.0.load(Ordering::SeqCst) == LEFT
    }

    fn written(&self, bytes: &[u8]) {
        let mut matched = self.0.load(Ordering::SeqCst);
        for byte in bytes {
            if matched >= LEFT {
                break;
            }
            matched = match (FINAL_DOT.get(usize::from(matched)) == Some(byte), byte) {
                (true, _) => matched + 1,
                (false, b'\r') => 1,
                (false, _) => 0,
            };
        }
        self.0.store(matched, Ordering::SeqCst);
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
}

impl Watched {
    /// Watches the transport.
    pub fn new(transport: Transport, prelude: Vec<u8>) -> (Self, FinalDot) {
        let final_dot = FinalDot::new();
        (Self { transport, prelude, final_dot: final_dot.clone() }, final_dot)
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
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
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
}
