//! `SendMessage` and `RetryMessage`: the request is checked whole before anything is locked.

use hilo_kit::error::{Class, Error};
use hilo_kit::{fault, ids};
use hilo_proto::attention::v1::{
    ComposeMode, MarkReadRequest, MarkReadResponse, RetryMessageRequest, RetryMessageResponse,
    SendMessageRequest, SendMessageResponse,
};
use hilo_proto::inbound::v1::EmailAddress;
use sqlx::PgConnection;
use uuid::Uuid;

use super::act::{Actions, held, id_of};
use super::draft;
use super::once::Once;
use super::said::{self, Asked};
use crate::attention::chat;
use crate::attention::domain::{Attention, Channel, MessageId, UserKey};
use crate::attention::envelope::Post;
use crate::attention::reply::Mode;
use crate::attention::retry;
use crate::attention::send::{self, Letter};
use crate::attention::store::message::StoredAddress;
use crate::attention::store::thread;
use crate::attention::work::Work;
use crate::conversation::{attach, html};
use crate::directory::Access;
use hilo_proto::history::v1::ThreadMessage;

/// Longest text of a message, in characters.
pub(super) const MAX_TEXT: usize = 200_000;
/// Longest HTML of a message, in bytes.
pub(super) const MAX_HTML: usize = 400_000;
/// Addresses of one list.
const MAX_LIST: usize = 50;
/// Longest subject, in characters (RFC 5322 section 2.1.1).
pub(super) const MAX_SUBJECT: usize = 998;

impl Actions {
    /// Commits a message to be sent.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with violations, `NOT_YOURS`, `NOT_OPEN`, `NO_RECIPIENT`, ... (see [`send::send`])
    pub(crate) async fn send(
        &self,
        access: Access,
        mut request: SendMessageRequest,
    ) -> Result<SendMessageResponse, Error> {
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "SendMessage", &request_id, &request)?;
        let id = id_of(&request.interaction_id)?;
        // What no channel takes is refused before anything is locked.
        let written = match request.whatsapp {
            None => Written::Plain(Box::new(letter(&access, request.clone())?)),
            Some(_) => Written::Chat(said::said(&access, &request)?),
        };
        let post = self.post();
        let answer = once
            .answered(&self.db, move |tx| {
                let post = post.clone();
                let (access, written, request) = (access.clone(), written.clone(), request.clone());
                Box::pin(async move {
                    let (mut work, state) = held(tx, &access, id).await?;
                    let message = match (state.channel, written) {
                        (Channel::Email, Written::Plain(letter)) => {
                            send::send(tx, &post, &mut work, &state, &letter).await?
                        }
                        (Channel::Email, Written::Chat(_)) => return Err(said::only_of_whatsapp()),
                        (Channel::Whatsapp, Written::Plain(_)) => {
                            let asked = said::said(&access, &request)?;
                            by_chat(tx, &post, &mut work, &state, &asked).await?
                        }
                        (Channel::Whatsapp, Written::Chat(asked)) => {
                            by_chat(tx, &post, &mut work, &state, &asked).await?
                        }
                    };
                    if request.draft_version > 0 {
                        draft::sent(tx, id, request.draft_version).await?;
                    }
                    let answer = SendMessageResponse { message: shown(tx, message).await? };
                    fault::point("attention.send.before_commit").await;
                    Ok(answer)
                })
            })
            .await?;
        fault::point("attention.send.after_commit").await;
        Ok(answer)
    }

    /// Tells the customer that he was read.
    ///
    /// # Errors
    /// `INTERACTION_NOT_FOUND`, `AGENT_REQUIRED`, those of [`chat::mark_read`].
    pub(crate) async fn mark_read(
        &self,
        access: Access,
        request: MarkReadRequest,
    ) -> Result<MarkReadResponse, Error> {
        let id = id_of(&request.interaction_id)?;
        let post = self.post();
        self.db
            .transaction(move |tx| {
                let (post, access) = (post.clone(), access.clone());
                Box::pin(async move {
                    let (work, state) = held(tx, &access, id).await?;
                    let agent = UserKey::new(&access.user_key);
                    chat::mark_read(tx, &post, &work, &state, &agent, request.typing).await?;
                    Ok(MarkReadResponse {})
                })
            })
            .await
    }

    /// Has a mail sent again to those it has not reached for certain, a WhatsApp message once more.
    ///
    /// # Errors
    /// `MESSAGE_NOT_FOUND` also for what the caller may not see, `NOTHING_TO_RETRY`, `NOT_YOURS`, `AGENT_REQUIRED`, ...
    pub(crate) async fn retry(
        &self,
        access: Access,
        mut request: RetryMessageRequest,
    ) -> Result<RetryMessageResponse, Error> {
        let message = ids::parse(&request.message_id, "message_id")?;
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "RetryMessage", &request_id, &request)?;
        let post = self.post();
        once.answered(&self.db, move |tx| {
            let post = post.clone();
            let access = access.clone();
            Box::pin(async move {
                let missing = || Error::missing("MESSAGE_NOT_FOUND", "there is no such message of ours");
                let id = retry::interaction_of(tx, message).await?.ok_or_else(missing)?;
                let (mut work, state) = held(tx, &access, id).await.map_err(|error| match error.class() {
                    Class::Missing => missing(),
                    _ => error,
                })?;
                let agent = UserKey::new(&access.user_key);
                match state.channel {
                    Channel::Email => retry::retry(tx, &post, &mut work, &agent, message).await?,
                    Channel::Whatsapp => {
                        chat::again(tx, &post, &mut work, &state, &agent, message).await?;
                    }
                }
                Ok(RetryMessageResponse { message: shown(tx, MessageId(message)).await? })
            })
        })
        .await
    }
}

/// What a request to send says, as far as it can be read before its channel is known.
#[derive(Clone, Debug)]
enum Written {
    /// Nothing that only WhatsApp has: a mail, or a text where the interaction is of WhatsApp.
    Plain(Box<Letter>),
    /// What only WhatsApp has.
    Chat(Asked),
}

async fn by_chat(
    tx: &mut PgConnection,
    post: &Post,
    work: &mut Work,
    state: &Attention,
    asked: &Asked,
) -> Result<MessageId, Error> {
    match asked {
        Asked::Message(said) => chat::send(tx, post, work, state, said).await,
        Asked::Reaction(reaction) => chat::react(tx, post, work, state, reaction).await,
    }
}

/// A message as the desk gets it, sanitised like every output.
pub(super) async fn shown(tx: &mut PgConnection, id: MessageId) -> Result<Option<ThreadMessage>, Error> {
    let mut message = thread::one(tx, id).await?;
    if let Some(message) = &mut message {
        html::show(message, false);
    }
    Ok(message)
}

fn letter(access: &Access, request: SendMessageRequest) -> Result<Letter, Error> {
    let interaction = id_of(&request.interaction_id)?;
    let mode = match (request.mode(), request.reply_all) {
        (ComposeMode::Forward, _) => Mode::Forward,
        (ComposeMode::Unspecified, true) => Mode::ReplyAll,
        (ComposeMode::Unspecified, false) => Mode::Reply,
    };
    let mut bad = Error::invalid("INVALID_REQUEST", "the message is malformed");
    let length = request.text.chars().count();
    if length > MAX_TEXT || (request.text.trim().is_empty() && mode != Mode::Forward) {
        bad = bad.field("text", format!("1 to {MAX_TEXT} characters"));
    }
    if request.subject.chars().count() > MAX_SUBJECT {
        bad = bad.field("subject", format!("at most {MAX_SUBJECT} characters"));
    }
    for (field, list) in [("to", &request.to), ("cc", &request.cc), ("bcc", &request.bcc)] {
        bad = addresses(bad, field, list);
    }
    let html = match written_html(&request.html) {
        Ok(html) => html,
        Err(why) => {
            bad = bad.field("html", why);
            String::new()
        }
    };
    if !bad.violations().is_empty() {
        return Err(bad);
    }
    let about: Option<Uuid> = match request.message_id.as_str() {
        "" => None,
        text => Some(ids::parse(text, "message_id")?),
    };
    let list = |list: Vec<EmailAddress>| list.into_iter().map(StoredAddress::from).collect();
    Ok(Letter {
        interaction,
        agent: UserKey::new(&access.user_key),
        mode,
        about,
        to: list(request.to),
        cc: list(request.cc),
        bcc: list(request.bcc),
        subject: storable(&request.subject),
        text: storable(&request.text),
        html,
        quote: request.quote,
        files: attach::wanted(&request.attachments, "attachments")?,
        original_files: request.include_attachments,
    })
}

/// What an agent wrote as HTML, sanitised, or what is wrong with it.
pub(super) fn written_html(html: &str) -> Result<String, String> {
    if html.len() > MAX_HTML {
        return Err(format!("at most {MAX_HTML} bytes"));
    }
    html::outgoing(&storable(html)).ok_or_else(|| "too complex".to_owned())
}

/// PostgreSQL stores no NUL.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "")
}

fn addresses(mut bad: Error, field: &str, list: &[EmailAddress]) -> Error {
    if list.len() > MAX_LIST {
        return bad.field(field, format!("at most {MAX_LIST} addresses"));
    }
    for (at, one) in list.iter().enumerate() {
        if !is_address(&one.address) {
            bad = bad.field(format!("{field}[{at}].address"), "must be an email address");
        }
        if one.name.chars().count() > 200 || one.name.contains('\0') {
            bad = bad.field(format!("{field}[{at}].name"), "at most 200 characters, no NUL");
        }
    }
    bad
}

/// One addr-spec without anything that could open a second header or recipient (RFC 5321 section 4.5.3.1.3: 254 octets).
pub(super) fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |part: &str| {
        let bad = |c: char| {
            c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '"' | '(' | ')' | ':')
        };
        !part.is_empty() && !part.contains(bad)
    };
    text.len() <= 254 && local.len() <= 64 && plain(local) && !local.contains('@') && plain(domain)
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn addresses_that_could_carry_more_are_refused() {
        for good in ["eva@cliente.example", "eva+1@x", "ñandú@ejemplo.pe"] {
            assert!(is_address(good), "{good}");
        }
        for bad in
            ["", "eva", "@x", "eva@", "a@b@c", "a b@x", "a@x\r\nBcc: c@d", "<a@x>", "a@x,b@y", "\"a b\"@x"]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
