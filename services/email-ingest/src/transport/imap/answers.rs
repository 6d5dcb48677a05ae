//! The answer to a FETCH, read to its tagged end. async-imap's own stream ends in the same way at OK, at NO and at the end of
//! the connection, so a mail that could not be had would look like one that is gone.

use async_imap::imap_proto::{AttributeValue, MailboxDatum, Response, Status};
use bytes::Bytes;
use hilo_kit::error::Error;

use super::session::{Imap, answered, refusal, unavailable};

/// What a server said of one mail.
#[derive(Debug, Default)]
pub(super) struct Mail {
    pub uid: Option<u32>,
    pub size: u32,
    /// The section asked for; absent when the server left it out.
    pub content: Option<Bytes>,
}

/// A complete answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub mails: Vec<Mail>,
    /// The mailbox grew meanwhile; nobody says it again.
    pub grew: bool,
}

/// Asks, and reads up to the tagged OK.
///
/// # Errors
/// A refusal for NO, BAD and what cannot be read; `IMAP_UNAVAILABLE` for everything that happens to the connection.
pub(super) async fn fetch(imap: &mut Imap, command: &str) -> Result<Answer, Error> {
    let tag = answered(imap.run_command(command)).await?;
    let mut answer = Answer::default();
    loop {
        // Each piece in time: the whole answer may be long.
        let piece = answered(async { Ok(imap.read_response().await?) }).await?;
        let Some(piece) = piece else { return Err(unavailable("the connection ended")) };
        match piece.parsed() {
            Response::Fetch(_, attributes) => answer.mails.push(mail(attributes)),
            Response::Done { tag: ended, status, .. } if *ended == tag => {
                return match status {
                    Status::Ok => Ok(answer),
                    _ => Err(refusal("the server refused to fetch")),
                };
            }
            Response::Data { status: Status::Bye, .. } => return Err(unavailable("the server said goodbye")),
            Response::MailboxData(MailboxDatum::Exists(_)) => answer.grew = true,
            _ => {}
        }
    }
}

fn mail(attributes: &[AttributeValue<'_>]) -> Mail {
    let mut mail = Mail::default();
    for attribute in attributes {
        match attribute {
            AttributeValue::Uid(uid) => mail.uid = Some(*uid),
            AttributeValue::Rfc822Size(size) => mail.size = *size,
            AttributeValue::BodySection { data: Some(data), .. } => {
                mail.content = Some(Bytes::copy_from_slice(data));
            }
            _ => {}
        }
    }
    mail
}
