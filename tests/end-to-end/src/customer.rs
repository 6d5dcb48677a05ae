//! A customer who writes mail: plain SMTP by lettre, every step of the answer kept.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use lettre::address::Envelope;
use lettre::message::header::{ContentType, MessageId};
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

/// Longest wait for an answer of the server.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where the mail is sent again: a server that was stopped in the middle must not hold its sender up for long.
const PATIENCE_OF_ONE: Duration = Duration::from_secs(10);

/// A mail to write.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// Author, `name <address>` or an address.
    pub from: String,
    /// Recipient.
    pub to: String,
    /// Optional. Copy.
    pub cc: Option<String>,
    /// Subject.
    pub subject: String,
    /// Text.
    pub text: String,
    /// Optional HTML alternative.
    pub html: Option<String>,
    /// Optional attachment: name, media type, content.
    pub attachment: Option<(String, String, Vec<u8>)>,
    /// Message-ID without angle brackets; made when empty.
    pub message_id: String,
    /// Message-ID answered, without angle brackets.
    pub in_reply_to: Option<String>,
    /// References, oldest first, without angle brackets.
    pub references: Vec<String>,
}

impl Mail {
    /// A mail with a fresh Message-ID.
    pub fn new(from: &str, to: &str, subject: &str, text: &str) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            subject: subject.to_owned(),
            text: text.to_owned(),
            message_id: format!("{}@cliente.example", uuid::Uuid::new_v4()),
            ..Self::default()
        }
    }

    /// The answer of `from` to a received mail.
    pub fn reply(received: &crate::sink::Received, from: &str, text: &str) -> Self {
        let mut references = received.references.clone();
        references.push(received.message_id.clone());
        Self {
            in_reply_to: Some(received.message_id.clone()),
            references,
            ..Self::new(from, &received.reply_address, &format!("Re: {}", received.subject), text)
        }
    }

    /// The mail as lettre builds it.
    ///
    /// # Errors
    /// When an address does not parse.
    pub fn build(&self) -> Result<Message> {
        let (from, to): (Mailbox, Mailbox) =
            (self.from.parse().context("from")?, self.to.parse().context("to")?);
        // A mail server hands each domain its own recipients: the copies go elsewhere.
        let envelope = Envelope::new(Some(from.email.clone()), vec![to.email.clone()])?;
        let mut builder = Message::builder()
            .envelope(envelope)
            .from(from)
            .to(to)
            .subject(self.subject.clone())
            .header(MessageId::from(format!("<{}>", self.message_id)));
        if let Some(cc) = &self.cc {
            builder = builder.cc(cc.parse::<Mailbox>().context("cc")?);
        }
        if let Some(parent) = &self.in_reply_to {
            builder = builder.in_reply_to(format!("<{parent}>"));
        }
        if !self.references.is_empty() {
            let ids: Vec<String> = self.references.iter().map(|id| format!("<{id}>")).collect();
            builder = builder.references(ids.join(" "));
        }
        let text = SinglePart::plain(self.text.clone());
        let body = match &self.html {
            Some(html) => {
                MultiPart::alternative().singlepart(text).singlepart(SinglePart::html(html.clone()))
            }
            None => MultiPart::mixed().singlepart(text),
        };
        Ok(match &self.attachment {
            Some((name, media_type, content)) => {
                builder.multipart(MultiPart::mixed().multipart(body).singlepart(
                    Attachment::new(name.clone()).body(content.clone(), ContentType::parse(media_type)?),
                ))?
            }
            None => builder.multipart(body)?,
        })
    }
}

/// Sends a mail and answers only when the server accepted it.
///
/// # Errors
/// When the server refuses it or cannot be reached; then it may be sent again, with the same Message-ID.
pub async fn send(server: SocketAddr, mail: &Mail) -> Result<()> {
    send_built(server, mail.build()?, PATIENCE).await
}

async fn send_built(server: SocketAddr, message: Message, patience: Duration) -> Result<()> {
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.ip().to_string())
        .port(server.port())
        .timeout(Some(patience))
        .build();
    transport.send(message).await.context("the server did not accept the mail")?;
    Ok(())
}

/// Sends the same bytes again and again, as a mail server would, until they are accepted; answers how many attempts ended without an
/// answer, each of which may have been accepted (RFC 5321 section 4.2.5 leaves the sender no other way).
///
/// # Errors
/// When it was not accepted before the deadline.
pub async fn send_until_accepted(server: SocketAddr, mail: &Mail, deadline: Duration) -> Result<u32> {
    let started = std::time::Instant::now();
    let message = mail.build()?;
    let mut unanswered = 0;
    loop {
        match send_built(server, message.clone(), PATIENCE_OF_ONE).await {
            Ok(()) => return Ok(unanswered),
            Err(error) if started.elapsed() > deadline => return Err(error),
            Err(_) => {
                unanswered += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
