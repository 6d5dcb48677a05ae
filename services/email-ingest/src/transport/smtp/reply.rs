//! Every reply the listener gives, with its enhanced status code (RFC 3463).

use hilo_kit::ids::Uuid;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Greeting.
    Greeting(String),
    /// HELO.
    Hello(String),
    /// EHLO with our name and the largest mail.
    ExtendedHello(String, usize),
    /// MAIL or RCPT taken.
    Fine,
    /// RSET.
    Reset,
    /// NOOP.
    Nothing,
    /// QUIT.
    Bye,
    /// DATA may begin.
    SendContent,
    /// Committed under these ledger ids.
    Accepted(Vec<Uuid>),
    /// VRFY.
    CannotVerify,
    /// Too many connections, or stopping.
    ComeBack(String),
    /// No database, no directory.
    TryLater,
    /// More recipients than one mail may have.
    TooManyRecipients,
    /// Unreadable command.
    Syntax,
    /// Line too long.
    LineTooLong,
    /// A line without CR; the connection ends.
    BareLineFeed,
    /// Known, not offered.
    NotImplemented,
    /// Not now.
    BadSequence,
    /// Malformed address.
    BadAddress,
    /// Nobody of ours.
    UnknownRecipient,
    /// Larger than the limit.
    TooLarge,
    /// No memory for this mail now.
    NoRoom,
    /// Every recipient was refused.
    NoRecipients,
    /// Too many mistakes; the connection ends.
    TooManyErrors,
}

impl Reply {
    /// As sent.
    pub fn text(&self) -> String {
        match self {
            Reply::Greeting(host) => format!("220 {host} ESMTP Hilo\r\n"),
            Reply::Hello(host) => format!("250 {host}\r\n"),
            Reply::ExtendedHello(host, size) => format!(
                "250-{host}\r\n250-PIPELINING\r\n250-SIZE {size}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
            ),
            Reply::Fine => line("250 2.1.0 ok"),
            Reply::Reset | Reply::Nothing => line("250 2.0.0 ok"),
            Reply::Bye => line("221 2.0.0 bye"),
            Reply::SendContent => line("354 end with <CRLF>.<CRLF>"),
            Reply::Accepted(ids) => {
                let ids: Vec<_> = ids.iter().map(Uuid::to_string).collect();
                line(&format!("250 2.0.0 accepted as {}", ids.join(" ")))
            }
            Reply::CannotVerify => line("252 2.1.5 send it and see"),
            Reply::ComeBack(host) => line(&format!("421 4.3.2 {host} comes back later")),
            Reply::TryLater => line("451 4.3.0 try again later"),
            Reply::TooManyRecipients => line("452 4.5.3 too many recipients"),
            Reply::Syntax => line("500 5.5.2 command not understood"),
            Reply::LineTooLong => line("500 5.5.2 line too long"),
            Reply::BareLineFeed => line("521 5.5.2 lines end with <CRLF>"),
            Reply::NotImplemented => line("502 5.5.1 not offered here"),
            Reply::BadSequence => line("503 5.5.1 bad sequence of commands"),
            Reply::BadAddress => line("501 5.1.3 malformed address"),
            Reply::UnknownRecipient => line("550 5.1.1 no such mailbox here"),
            Reply::NoRoom => line("452 4.3.1 too many large mails at once, try again later"),
            Reply::TooLarge => line("552 5.3.4 message too large"),
            Reply::NoRecipients => line("554 5.5.1 no valid recipients"),
            Reply::TooManyErrors => line("421 4.7.0 too many errors"),
        }
    }

    /// True for replies to a mistake of the client.
    pub fn is_error(&self) -> bool {
        let text = self.text();
        text.starts_with('5') || text.starts_with('4')
    }
}

fn line(text: &str) -> String {
    format!("{text}\r\n")
}
