//! WhatsApp items: what the envelope says, checked and cleaned before anything is looked up.
//!
//! `content` makes of a kind what a conversation shows; `plan` takes a batch in; `alter` applies reactions, edits, revokes and contents of
//! files to the messages they are about, whichever comes first, `late` also to those that are in the history only; `early` keeps an
//! answer waiting for the report on what it answers.

pub(super) mod alter;
pub(super) mod beside;
mod content;
mod early;
mod known;
mod late;
mod plan;
mod sweep;
mod written;

use hilo_kit::clock::from_proto;
use hilo_kit::consumer::Delivery;
use hilo_kit::error::Error;
use hilo_kit::ids;
use hilo_proto::inbound::v1::inbound_whats_app as kind;
use hilo_proto::inbound::v1::{InboundEnvelope, InboundWhatsApp, WhatsAppIdentity};
use time::OffsetDateTime;
use uuid::Uuid;

use super::mail::trace;
use crate::attention::domain::Altered;
use crate::attention::store::chat::{Alteration, Fate};
use crate::attention::store::message::Key;
use crate::attention::store::window;
use crate::contact::whatsapp::identities;

pub(crate) use content::{card_line, line, media_word, place_line};
pub(super) use early::Patience;
#[cfg(test)]
pub(crate) use late::all as apply_late;
pub(crate) use late::spawn as spawn_late;
pub(super) use plan::take_in;
#[cfg(test)]
pub(crate) use sweep::all as give_up_waiting;
pub(crate) use sweep::spawn as spawn_sweep;
#[cfg(test)]
pub(crate) use sweep::windows as forget_windows;

/// An item to be taken in.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Id under which the inbox knows it.
    pub delivery: Uuid,
    pub ledger: Uuid,
    pub account: String,
    pub conversation: Uuid,
    pub number: i64,
    pub received_at: OffsetDateTime,
    pub sent_at: OffsetDateTime,
    /// Trace of its intake.
    pub traceparent: String,
    pub customer: WhatsAppIdentity,
    /// Key of its own id.
    pub own: Key,
    pub sort: Sort,
    pub whatsapp: InboundWhatsApp,
    /// It may wait for a report that comes behind it.
    pub patient: bool,
}

/// What an item means for the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// The customer wrote: a message, and the window runs.
    Said,
    /// Meta says something about the customer: shown where a conversation runs, and never the beginning of one.
    Notice,
    /// The customer changed something about another item.
    Alters {
        /// Key of that item.
        target: Key,
        /// What.
        how: Altered,
    },
    /// The customer stopped, or resumed, what we send to many, in WhatsApp's own menu: no message, and none of a conversation.
    Prefers {
        /// He wants none any more.
        stop: bool,
    },
}

/// Reads a WhatsApp item of an envelope.
///
/// # Errors
/// Class invalid: such an item can never succeed.
pub(super) fn read(
    delivery: &Delivery,
    envelope: InboundEnvelope,
    mut whatsapp: InboundWhatsApp,
) -> Result<Item, Error> {
    let invalid = |reason, text: &'static str| Error::invalid(reason, text);
    let account = envelope.account_key;
    content::clean(&mut whatsapp);
    let own =
        Key::wamid(&account, &whatsapp.wamid).ok_or_else(|| invalid("NO_WAMID", "the item has no id"))?;
    let customer = whatsapp.customer.clone().unwrap_or_default();
    if identities(&customer).is_empty() {
        return Err(invalid("NO_IDENTITY", "the item does not say who wrote it"));
    }
    let received_at = envelope.received_at.as_ref().and_then(from_proto);
    let sent_at = whatsapp.sent_at.as_ref().and_then(from_proto);
    let parent = if envelope.traceparent.is_empty() {
        delivery.traceparent()
    } else {
        Some(envelope.traceparent.as_str())
    };
    Ok(Item {
        delivery: delivery.id(),
        ledger: ids::parse(&envelope.ledger_id, "ledger_id")?,
        conversation: ids::parse(&envelope.conversation_key, "conversation_key")?,
        number: envelope.sequence,
        received_at: received_at.ok_or_else(|| invalid("NO_INSTANT", "the envelope has no instant"))?,
        sent_at: sent_at.ok_or_else(|| invalid("NO_INSTANT", "the item has no instant of the customer's"))?,
        traceparent: trace(parent),
        customer,
        own,
        sort: sort(&account, &whatsapp)?,
        account,
        whatsapp,
        patient: false,
    })
}

fn sort(account: &str, whatsapp: &InboundWhatsApp) -> Result<Sort, Error> {
    let alters = |wamid: &str, how| {
        let target = Key::wamid(account, wamid);
        let target =
            target.ok_or_else(|| Error::invalid("NO_TARGET", "the item does not say what it is about"))?;
        Ok(Sort::Alters { target, how })
    };
    match &whatsapp.kind {
        None => Err(Error::invalid("UNKNOWN_KIND", "the item has no kind that this release knows")),
        Some(kind::Kind::Content(content)) if content.result.is_none() => {
            Err(Error::invalid("UNKNOWN_KIND", "it does not say what became of the file"))
        }
        Some(kind::Kind::Content(content)) => alters(&content.target_wamid, Altered::Content),
        Some(kind::Kind::Placeholder(placeholder)) if tells(&placeholder.r#type) => Ok(Sort::Notice),
        Some(
            kind::Kind::Text(_)
            | kind::Kind::Media(_)
            | kind::Kind::Location(_)
            | kind::Kind::ContactCards(_)
            | kind::Kind::Choice(_)
            | kind::Kind::Order(_)
            | kind::Kind::Placeholder(_),
        ) => Ok(Sort::Said),
        Some(kind::Kind::System(_)) => Ok(Sort::Notice),
        Some(kind::Kind::Preference(set)) if set.category == MARKETING => {
            Ok(Sort::Prefers { stop: set.stop })
        }
        Some(kind::Kind::Preference(_)) => {
            Err(Error::invalid("UNKNOWN_KIND", "a preference about what this release does not know"))
        }
        Some(kind::Kind::Reaction(reaction)) => alters(&reaction.target_wamid, Altered::Reacted),
        Some(kind::Kind::Edit(edit)) => alters(&edit.target_wamid, Altered::Edited),
        Some(kind::Kind::Revoke(revoke)) => alters(&revoke.target_wamid, Altered::Revoked),
    }
}

/// The category of preferences that the lists of dialers follow
/// (<https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/user_preferences>).
const MARKETING: &str = "marketing_messages";

/// Types of placeholders that are no message of the customer to us: what cannot be read of a notice or of a change of another item,
/// and what was said in a group. They open no window and begin no attention.
const TELLING: [&str; 5] = ["system", "edit", "revoke", "reaction", "group"];

fn tells(named: &str) -> bool {
    TELLING.iter().any(|one| {
        let rest = named.strip_prefix(one);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '_']))
    })
}

impl Item {
    /// It as an alteration of its target.
    pub(super) fn alteration(&self, target: &Key, fate: Fate) -> Alteration {
        let (ledger, number) = (self.ledger, self.number);
        Alteration { ledger, number, target: target.clone(), item: self.whatsapp.clone(), fate }
    }

    /// The customer's own instant, never one of the future.
    pub(super) fn said_at(&self) -> OffsetDateTime {
        self.sent_at.min(self.received_at)
    }

    /// Until when free text may be sent after it. An instant of the future opens nothing: nobody can have written then.
    pub(super) fn window_ends_at(&self) -> OffsetDateTime {
        self.said_at() + window::LASTS
    }

    /// What the customer is reached by, as lists show it: number, else WhatsApp id, else user name, else user id.
    pub(super) fn address(&self) -> String {
        let who = &self.customer;
        let shown = [&who.phone, &who.wa_id, &who.username, &who.user_id, &who.parent_user_id];
        let shown = shown.into_iter().find(|one| !one.is_empty()).map_or("", String::as_str);
        shown.chars().take(500).collect()
    }
}
