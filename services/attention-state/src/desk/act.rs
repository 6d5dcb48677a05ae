//! What an agent does to one item: open, decline, send, end. One transaction each, idempotent by request id.

use std::sync::Arc;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::fault;
use hilo_kit::nats::Subjects;
use hilo_proto::attention::v1::{
    DeclineOfferRequest, DeclineOfferResponse, EndInteractionRequest, EndInteractionResponse,
    OpenInteractionRequest, OpenInteractionResponse, SendMessageRequest, SendMessageResponse,
};
use hilo_proto::event::v1::InteractionSnapshot;
use sqlx::PgConnection;

use super::once::Once;
use super::rights::{self, Right};
use super::{drafts, hand, read};
use crate::attention::commands::{locked, not_found};
use crate::attention::domain::{Attention, Command, InteractionId, OfferId, UserKey};
use crate::attention::published;
use crate::attention::reload::Archive;
use crate::attention::send::{self, Letter};
use crate::attention::store::message::StoredAddress;
use crate::attention::store::thread;
use crate::attention::work::{Actor, Found, Work};
use crate::directory::Access;

/// Longest text of a message, in characters.
pub(super) const MAX_TEXT: usize = 200_000;
/// Longest HTML of a message, in bytes.
pub(super) const MAX_HTML: usize = 400_000;
/// Additional copies of one message.
const MAX_CC: usize = 50;

/// Does what agents ask for.
#[derive(Clone, Debug)]
pub(crate) struct Actions {
    pub(super) db: Db,
    pub(super) subjects: Arc<Subjects>,
    /// Key of the token in Message-IDs.
    pub(super) thread_key: Arc<Vec<u8>>,
    /// Where bodies are that were purged; `None` where nobody can be asked.
    pub(super) archive: Option<Archive>,
}

impl Actions {
    /// Writes to `db`, announces under `subjects`, signs Message-IDs with `thread_key`.
    pub(crate) fn new(db: Db, subjects: Subjects, thread_key: Vec<u8>) -> Self {
        Self { db, subjects: Arc::new(subjects), thread_key: Arc::new(thread_key), archive: None }
    }

    /// Fetches purged bodies from `archive`.
    pub(crate) fn with_archive(self, archive: Archive) -> Self {
        Self { archive: Some(archive), ..self }
    }

    /// The one atomic claim; an item the caller has open already is only loaded.
    ///
    /// # Errors
    /// `ALREADY_TAKEN`, `ALREADY_ENDED`, `INTERACTION_NOT_FOUND`, `AGENT_REQUIRED`, ...
    pub(crate) async fn open(
        &self,
        access: Access,
        mut request: OpenInteractionRequest,
    ) -> Result<OpenInteractionResponse, Error> {
        let id: InteractionId = id_of(&request.interaction_id)?;
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "OpenInteraction", &request_id, &request)?;
        let (subjects, caller) = (self.subjects.clone(), access.clone());
        self.db
            .transaction(move |tx| {
                let (subjects, access, once) = (subjects.clone(), caller.clone(), once.clone());
                Box::pin(async move {
                    // The answer is large and read afresh; only that it was done is kept.
                    if once.begin::<()>(tx).await?.is_some() {
                        return Ok(());
                    }
                    let agent = UserKey::new(&access.user_key);
                    change(tx, &subjects, &access, id, Command::Open { agent }).await?;
                    once.finish(tx, &()).await?;
                    fault::point("attention.open.before_commit").await;
                    Ok(())
                })
            })
            .await?;
        fault::point("attention.open.after_commit").await;
        read::opened(&self.db, access, id).await
    }

    /// Lets the caller's offer pass.
    ///
    /// # Errors
    /// `OFFER_GONE`, `NOT_YOURS`, ...
    pub(crate) async fn decline(
        &self,
        access: Access,
        mut request: DeclineOfferRequest,
    ) -> Result<DeclineOfferResponse, Error> {
        let id = id_of(&request.interaction_id)?;
        let offer: OfferId = hilo_kit::ids::parse(&request.offer_id, "offer_id")?.into();
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "DeclineOffer", &request_id, &request)?;
        let subjects = self.subjects.clone();
        self.db
            .transaction(move |tx| {
                let (subjects, access, once) = (subjects.clone(), access.clone(), once.clone());
                Box::pin(async move {
                    if let Some(answer) = once.begin(tx).await? {
                        return Ok(answer);
                    }
                    hand::pass(tx, &subjects, &access, id, offer).await?;
                    let answer = DeclineOfferResponse {};
                    once.finish(tx, &answer).await?;
                    Ok(answer)
                })
            })
            .await
    }

    /// Ends an open item, and its attention when asked.
    ///
    /// # Errors
    /// `FORM_INCOMPLETE` with a violation per field, `NOT_YOURS`, `NOT_OPEN`, `ALREADY_ENDED`, ...
    pub(crate) async fn end(
        &self,
        access: Access,
        mut request: EndInteractionRequest,
    ) -> Result<EndInteractionResponse, Error> {
        let id = id_of(&request.interaction_id)?;
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "EndInteraction", &request_id, &request)?;
        let (subjects, close) = (self.subjects.clone(), request.close_attention);
        let answer = self
            .db
            .transaction(move |tx| {
                let (subjects, access, once) = (subjects.clone(), access.clone(), once.clone());
                Box::pin(async move {
                    if let Some(answer) = once.begin(tx).await? {
                        return Ok(answer);
                    }
                    let answer = end(tx, &subjects, &access, id, close).await?;
                    once.finish(tx, &answer).await?;
                    fault::point("attention.end.before_commit").await;
                    Ok(answer)
                })
            })
            .await?;
        fault::point("attention.end.after_commit").await;
        Ok(answer)
    }

    /// Commits a message to be sent.
    ///
    /// # Errors
    /// `INVALID_REQUEST` with violations, `NOT_YOURS`, `NOT_OPEN`, `NO_RECIPIENT`, ...
    pub(crate) async fn send(
        &self,
        access: Access,
        mut request: SendMessageRequest,
    ) -> Result<SendMessageResponse, Error> {
        let request_id = std::mem::take(&mut request.request_id);
        let once = Once::new(&access.user_key, "SendMessage", &request_id, &request)?;
        let letter = letter(&access, request)?;
        let (subjects, key) = (self.subjects.clone(), self.thread_key.clone());
        let answer = self
            .db
            .transaction(move |tx| {
                let (subjects, key) = (subjects.clone(), key.clone());
                let (access, once, letter) = (access.clone(), once.clone(), letter.clone());
                Box::pin(async move {
                    if let Some(answer) = once.begin(tx).await? {
                        return Ok(answer);
                    }
                    let (mut work, _) = held(tx, &access, letter.interaction).await?;
                    let id = send::send(tx, &subjects, &key, &mut work, &letter).await?;
                    let answer = SendMessageResponse { message: thread::one(tx, id).await? };
                    once.finish(tx, &answer).await?;
                    fault::point("attention.send.before_commit").await;
                    Ok(answer)
                })
            })
            .await?;
        fault::point("attention.send.after_commit").await;
        Ok(answer)
    }
}

pub(super) fn id_of(text: &str) -> Result<InteractionId, Error> {
    Ok(hilo_kit::ids::parse(text, "interaction_id")?.into())
}

pub(super) fn snapshot(attention: &Attention) -> Option<InteractionSnapshot> {
    attention.interaction.as_ref().map(published::snapshot)
}

/// Locks an item that the caller may serve.
pub(super) async fn held(
    tx: &mut PgConnection,
    access: &Access,
    id: InteractionId,
) -> Result<(Work, Attention), Error> {
    held_by(tx, access, id, Right::Serve).await
}

/// Locks an item to which the caller has a right.
pub(super) async fn held_by(
    tx: &mut PgConnection,
    access: &Access,
    id: InteractionId,
    right: Right,
) -> Result<(Work, Attention), Error> {
    let work = locked(tx, id).await?;
    let Found::Locked(attention) = work.find(id) else { return Err(not_found()) };
    let state = work.state(attention, Some(id)).ok_or_else(not_found)?;
    let interaction = state.interaction.as_ref().ok_or_else(not_found)?;
    rights::check(access, right, interaction.campaign.as_str())?;
    Ok((work, state))
}

/// Locks, checks, decides, writes; answers the attention after it.
async fn change(
    tx: &mut PgConnection,
    subjects: &Subjects,
    access: &Access,
    id: InteractionId,
    command: Command,
) -> Result<Attention, Error> {
    let (mut work, _) = held(tx, access, id).await?;
    let actor = Actor::User(UserKey::new(&access.user_key));
    let decision = work.decide(id, command, &actor)?;
    if !decision.events.is_empty() {
        work.write(tx, subjects).await?;
    }
    decision.state.ok_or_else(not_found)
}

async fn end(
    tx: &mut PgConnection,
    subjects: &Subjects,
    access: &Access,
    id: InteractionId,
    close: bool,
) -> Result<EndInteractionResponse, Error> {
    let (mut work, state) = held(tx, access, id).await?;
    let agent = UserKey::new(&access.user_key);
    let problems = drafts::problems_on_end(tx, &state).await?;
    let command = Command::End { agent: agent.clone(), close, problems };
    let after = work.decide(id, command, &Actor::User(agent))?.state.ok_or_else(not_found)?;
    work.write(tx, subjects).await?;
    drafts::forget(tx, id).await?;
    let attention_state = published::attention_state(&after).into();
    Ok(EndInteractionResponse { interaction: snapshot(&after), attention_state })
}

fn letter(access: &Access, request: SendMessageRequest) -> Result<Letter, Error> {
    let mut bad = Error::invalid("INVALID_REQUEST", "the message is malformed");
    let interaction = id_of(&request.interaction_id)?;
    if request.text.trim().is_empty() || request.text.chars().count() > MAX_TEXT {
        bad = bad.field("text", format!("1 to {MAX_TEXT} characters"));
    }
    if request.html.len() > MAX_HTML {
        bad = bad.field("html", format!("at most {MAX_HTML} bytes"));
    }
    if request.cc.len() > MAX_CC {
        bad = bad.field("cc", format!("at most {MAX_CC} addresses"));
    }
    for (at, one) in request.cc.iter().enumerate() {
        if !is_address(&one.address) {
            bad = bad.field(format!("cc[{at}].address"), "must be an email address");
        }
        if one.name.chars().count() > 200 {
            bad = bad.field(format!("cc[{at}].name"), "at most 200 characters");
        }
    }
    if !bad.violations().is_empty() {
        return Err(bad);
    }
    let storable = |text: String| if text.contains('\0') { text.replace('\0', "") } else { text };
    Ok(Letter {
        interaction,
        agent: UserKey::new(&access.user_key),
        text: storable(request.text),
        html: storable(request.html),
        reply_all: request.reply_all,
        cc: request.cc.into_iter().map(StoredAddress::from).collect(),
    })
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
