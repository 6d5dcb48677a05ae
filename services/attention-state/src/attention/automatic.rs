//! Automatic replies: intake notes who may get one (`automatic_reply`), this worker decides with everything in view and
//! commits it like an agent's message, or settles it as withheld with the reason. Never late: what was not sent within an
//! hour is not sent.
//!
//! One at a time in the whole installation (an advisory lock), so that the day's window of an address and the budget are
//! counted exactly. Order of locks: that one, then the attention.

use std::time::Duration;

use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::thread_token;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::chat;
use super::domain::{Attention, Channel, Command, InteractionId, MessageId};
use super::envelope::Post;
use super::outgoing::{self, Outgoing};
use super::reply::{self, Mode, Reply, own_address};
use super::store::answered::{Answered, answered};
use super::store::message::StoredAddress;
use super::work::{Actor, Found, Work};
use super::{Wait, commands};
use crate::directory;

mod rule;
mod store;

use rule::Facts;

/// How often due replies are looked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// Most automatic replies of the installation within an hour: beyond it somebody is forging senders.
pub(crate) const BUDGET_PER_HOUR: i64 = 500;

/// Failures after which a round gives up: something is wrong that the next reply would meet as well.
const MAX_FAILURES: usize = 10;

/// What became of a reply that was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Sent, or withheld for a reason.
    Settled(&'static str),
    /// Another replica settled it meanwhile.
    Elsewhere,
    /// Another replica is at it.
    Busy,
}

/// Sends automatic replies.
#[derive(Clone, Debug)]
pub(crate) struct Replies {
    db: Db,
    post: Post,
}

impl Replies {
    /// Writes to `db`, hands over by `post`.
    pub(crate) fn new(db: Db, post: Post) -> Self {
        Self { db, post }
    }

    /// Works until the shutdown.
    pub(crate) fn spawn(self, shutdown: &Shutdown) {
        let stop = shutdown.clone();
        shutdown.spawn("automatic replies", async move {
            while !stop.is_cancelled() {
                if let Err(error) = self.all().await {
                    error.log("answering out of hours");
                }
                stop.sleep(INTERVAL).await;
            }
        });
    }

    /// Settles everything that is due. One that fails stays due and holds up no other.
    ///
    /// # Errors
    /// Database errors; the last failure, once the others are settled.
    pub(crate) async fn all(&self) -> Result<usize, Error> {
        let (mut settled, mut failures, mut after) = (0, 0, None);
        let mut outcome = Ok(());
        while failures < MAX_FAILURES {
            let Some(due) = self.next(after).await? else { break };
            after = Some((due.noted_at, due.attention));
            match self.one(due).await {
                Ok(Step::Settled(as_what)) => {
                    crate::metrics::automatic_reply(as_what);
                    settled += 1;
                }
                Ok(Step::Elsewhere) => {}
                Ok(Step::Busy) => break,
                Err(error) => {
                    failures += 1;
                    outcome = Err(error);
                }
            }
        }
        outcome.map(|()| settled)
    }

    /// The oldest that is due, after a place.
    pub(crate) async fn next(
        &self,
        after: Option<(OffsetDateTime, Uuid)>,
    ) -> Result<Option<store::Due>, Error> {
        self.db.read(move |conn| Box::pin(async move { store::next(conn, after).await })).await
    }

    /// Settles one.
    pub(crate) async fn one(&self, due: store::Due) -> Result<Step, Error> {
        let this = self.clone();
        self.db
            .transaction(move |tx| {
                let (this, due) = (this.clone(), due.clone());
                Box::pin(async move {
                    if !store::alone(tx).await? {
                        return Ok(Step::Busy);
                    }
                    if !store::is_due(tx, due.attention).await? {
                        return Ok(Step::Elsewhere);
                    }
                    let outcome = this.answer(tx, &due).await?;
                    store::settle(tx, due.attention, outcome).await?;
                    Ok(Step::Settled(outcome.unwrap_or("sent")))
                })
            })
            .await
    }

    /// Sends the reply, or says why it is withheld.
    async fn answer(&self, tx: &mut PgConnection, due: &store::Due) -> Result<Option<&'static str>, Error> {
        let interaction = InteractionId(due.interaction);
        let mut work = Work::lock(tx, &[interaction], Wait::Block).await?;
        let Found::Locked(attention) = work.find(interaction) else { return Ok(Some("gone")) };
        let state = work.state(attention, Some(interaction)).ok_or_else(commands::not_found)?;
        let campaign = directory::campaign(tx, state.campaign.as_str()).await?;
        let hours = campaign.as_ref().and_then(|campaign| campaign.hours.as_ref());
        let text = hours.map_or("", |hours| hours.automatic_reply.as_str());
        let name = campaign.as_ref().map_or("", |campaign| campaign.name.as_str());
        if state.channel == Channel::Whatsapp {
            return self.by_chat(tx, &mut work, &state, due, text).await;
        }
        let account = directory::sender(tx, state.account.as_str()).await?;
        // A mail of ours is nothing to reply to by itself.
        let answered = answered(tx, attention, interaction, None).await?.filter(|mail| !mail.outbound);
        let (Some((address, display_name)), Some(answered)) = (account, answered) else {
            return Ok(Some("no_account"));
        };
        let facts = Facts {
            live: state.interaction.as_ref().is_some_and(super::domain::Interaction::is_live),
            full: work.room(attention) == 0,
            answered: state.sends > 0,
            text,
            to: &due.address,
            own: &address,
            named: Some(&answered),
            window_closed: false,
            counted: store::count(tx, due).await?,
        };
        if let Some(why) = rule::withheld(&facts) {
            return Ok(Some(why));
        }
        let account = StoredAddress { address, name: display_name };
        let reply = self.compose(&state, account, answered, &due.address, name, text);
        self.commit(tx, &mut work, interaction, reply).await?;
        Ok(None)
    }

    /// The same by WhatsApp: the campaign's words as a text, within the window.
    async fn by_chat(
        &self,
        tx: &mut PgConnection,
        work: &mut Work,
        state: &Attention,
        due: &store::Due,
        text: &str,
    ) -> Result<Option<&'static str>, Error> {
        let facts = Facts {
            live: state.interaction.as_ref().is_some_and(super::domain::Interaction::is_live),
            full: work.room(state.id) == 0,
            answered: state.sends > 0,
            text,
            to: &due.address,
            own: "",
            named: None,
            window_closed: state.window_ends_at.is_none_or(|end| work.now() >= end),
            counted: store::count(tx, due).await?,
        };
        if let Some(why) = rule::withheld(&facts) {
            return Ok(Some(why));
        }
        chat::answer_automatically(tx, &self.post, work, state, InteractionId(due.interaction), text).await?;
        Ok(None)
    }

    /// The mail: the campaign's words and nothing of the sender's, neither his name nor his subject.
    fn compose(
        &self,
        state: &Attention,
        account: StoredAddress,
        answered: Answered,
        to: &str,
        campaign: &str,
        text: &str,
    ) -> Reply {
        let subject = format!("{campaign} [#{}]", state.number);
        let to = StoredAddress { address: to.to_owned(), name: String::new() };
        let answered = Answered { from: to, reply_to: Vec::new(), ..answered };
        let token = thread_token::make(&self.post.thread_key, state.id.uuid());
        reply::compose(reply::Parts {
            account,
            answered,
            mode: Mode::Reply,
            to: Vec::new(),
            cc: Vec::new(),
            bcc: Vec::new(),
            subject: &subject,
            text,
            html: "",
            quote: false,
            signature: "",
            token: &token,
            unique: Uuid::now_v7(),
        })
    }

    async fn commit(
        &self,
        tx: &mut PgConnection,
        work: &mut Work,
        interaction: InteractionId,
        reply: Reply,
    ) -> Result<(), Error> {
        let id = MessageId::new();
        let message = Outgoing::summary(id, 0, work);
        let decision = work.decide(interaction, Command::AnswerAutomatically { message }, &Actor::System)?;
        let after = decision.state.ok_or_else(commands::not_found)?;
        let traceparent = work.traceparent(interaction).to_owned();
        work.write(tx, &self.post.subjects).await?;
        let outgoing = Outgoing { id, interaction, agent: None, mail: reply, files: Vec::new() };
        outgoing::commit(tx, &self.post, work, &after, &traceparent, outgoing).await
    }
}
