//! Reactions, edits and revokes: what they make of the message they are about, whichever of both comes first. Instants are the
//! customer's own, so what comes late and out of order ends alike.

use hilo_kit::clock::from_proto;
use hilo_kit::error::Error;
use hilo_proto::history::v1::{WhatsAppItem, WhatsAppReactionMark};
use hilo_proto::inbound::v1::InboundWhatsApp;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use prost_types::Timestamp;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::content::{self, Shown};
use crate::attention::domain::{Altered, AttentionId, Command};
use crate::attention::store::LastMessage;
use crate::attention::store::chat::{self, Fate, StoredItem};
use crate::attention::store::message::Key;
use crate::attention::work::{Actor, Work};

/// What an alteration did to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The message is another now.
    Changed(Altered),
    /// Something newer is known.
    Older,
    /// Nobody but its author may do that.
    Refused,
}

/// Applies one to what is shown of a message; `inbound` when the customer wrote that.
pub(super) fn alter(shown: &mut Shown, inbound: bool, by: &InboundWhatsApp) -> Effect {
    let at = by.sent_at;
    let item = &mut shown.item;
    match &by.kind {
        Some(Kind::Reaction(reaction)) => {
            if item.reaction.as_ref().is_some_and(|known| later(known.at, at)) {
                return Effect::Older;
            }
            item.reaction = Some(WhatsAppReactionMark { emoji: reaction.emoji.clone(), at });
            Effect::Changed(Altered::Reacted)
        }
        Some(Kind::Edit(_) | Kind::Revoke(_)) if !inbound => Effect::Refused,
        Some(Kind::Edit(edit)) => {
            if item.revoked_at.is_some() || later(item.edited_at, at) {
                return Effect::Older;
            }
            if item.edited_at.is_none() {
                item.original_text.clone_from(&shown.text);
            }
            item.edited_at = at;
            shown.text.clone_from(&edit.text);
            Effect::Changed(Altered::Edited)
        }
        Some(Kind::Revoke(_)) => {
            if item.revoked_at.is_some() {
                return Effect::Older;
            }
            let kept = WhatsAppItem { detail: None, original_text: String::new(), ..item.clone() };
            *shown = Shown {
                text: String::new(),
                files: Vec::new(),
                item: WhatsAppItem { revoked_at: at, ..kept },
            };
            Effect::Changed(Altered::Revoked)
        }
        Some(
            Kind::Text(_)
            | Kind::Media(_)
            | Kind::Location(_)
            | Kind::ContactCards(_)
            | Kind::Choice(_)
            | Kind::Order(_)
            | Kind::System(_)
            | Kind::Placeholder(_)
            | Kind::Content(_),
        )
        | None => Effect::Refused,
    }
}

/// True when what is known is newer.
fn later(known: Option<Timestamp>, at: Option<Timestamp>) -> bool {
    let instant =
        |one: Option<Timestamp>| one.as_ref().and_then(from_proto).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    known.is_some() && instant(known) > instant(at)
}

/// Applies one to a stored message of a locked attention, and tells of it.
///
/// # Errors
/// The rejection of the domain, which has none for a message that is there.
pub(super) fn stored(
    work: &mut Work,
    attention: AttentionId,
    target: &mut StoredItem,
    by: &InboundWhatsApp,
) -> Result<Fate, Error> {
    if target.purged {
        // Its contents are in the history only, where nothing is changed any more.
        return Ok(Fate::Gone);
    }
    let mut shown = Shown {
        text: std::mem::take(&mut target.text),
        files: std::mem::take(&mut target.files),
        item: std::mem::take(&mut target.item),
    };
    let effect = alter(&mut shown, target.inbound, by);
    let preview = content::line(&shown.text, &shown.item.kind);
    (target.text, target.files, target.item) = (shown.text, shown.files, shown.item);
    let because = match effect {
        Effect::Changed(because) => because,
        Effect::Older => return Ok(Fate::Applied),
        Effect::Refused => return Ok(Fate::Gone),
    };
    let command = Command::AlterMessage { message: target.summary(), because };
    let after = work.decide_at(attention, None, command, &Actor::System, "")?.state;
    let newest = after.filter(|state| state.messages == target.position).and_then(|state| state.interaction);
    if let Some(interaction) = newest {
        work.show(interaction.id, LastMessage { preview, at: target.occurred_at, sender_verified: None });
    }
    Ok(Fate::Applied)
}

/// A message of ours is known by its wamid from now on: what waited for it is applied. Answers the message when it changed.
///
/// # Errors
/// Database errors.
pub(in crate::intake) async fn came(
    tx: &mut PgConnection,
    work: &mut Work,
    attention: AttentionId,
    key: &Key,
    message: Uuid,
) -> Result<Option<StoredItem>, Error> {
    let waiting = chat::waiting(tx, &[key.bytes()]).await?.remove(&key.bytes()).unwrap_or_default();
    if waiting.is_empty() {
        return Ok(None);
    }
    let Some(mut target) = chat::items(tx, &[message]).await?.pop() else { return Ok(None) };
    for one in &waiting {
        let fate = stored(work, attention, &mut target, &one.item)?;
        chat::settle_waiting(tx, &[one.ledger], fate).await?;
    }
    Ok(Some(target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hilo_proto::inbound::v1::{WhatsAppEdit, WhatsAppReaction, WhatsAppRevoke};

    fn by(seconds: i64, kind: Kind) -> InboundWhatsApp {
        let sent_at = Some(Timestamp { seconds, nanos: 0 });
        InboundWhatsApp { sent_at, kind: Some(kind), ..InboundWhatsApp::default() }
    }

    fn reacts(seconds: i64, emoji: &str) -> InboundWhatsApp {
        by(seconds, Kind::Reaction(WhatsAppReaction { emoji: emoji.into(), ..WhatsAppReaction::default() }))
    }

    fn edits(seconds: i64, text: &str) -> InboundWhatsApp {
        by(seconds, Kind::Edit(WhatsAppEdit { text: text.into(), ..WhatsAppEdit::default() }))
    }

    fn revokes(seconds: i64) -> InboundWhatsApp {
        by(seconds, Kind::Revoke(WhatsAppRevoke::default()))
    }

    fn said(text: &str) -> Shown {
        Shown { text: text.into(), ..Shown::default() }
    }

    #[test]
    fn in_every_order_the_newest_counts_and_a_revoke_ends_it() {
        let all = [edits(1, "uno"), edits(2, "dos"), reacts(3, "👍"), reacts(4, "")];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]] {
            let mut shown = said("cero");
            for at in order {
                alter(&mut shown, true, &all[at]);
            }
            assert_eq!(
                (shown.text.as_str(), shown.item.original_text.as_str()),
                ("dos", "cero"),
                "{order:?}"
            );
            assert_eq!(shown.item.reaction.unwrap().emoji, "", "{order:?}");
        }
        for order in [[0, 1], [1, 0]] {
            let mut shown = said("cero");
            let both = [edits(9, "nueve"), revokes(5)];
            for at in order {
                alter(&mut shown, true, &both[at]);
            }
            assert!(shown.item.revoked_at.is_some() && shown.text.is_empty(), "{order:?}");
            assert_eq!(shown.item.original_text, "", "{order:?}: what was taken back is nowhere");
        }
    }

    #[test]
    fn of_our_messages_a_customer_may_only_react_to_one() {
        for (by, effect) in [
            (reacts(1, "👍"), Effect::Changed(Altered::Reacted)),
            (edits(1, "x"), Effect::Refused),
            (revokes(1), Effect::Refused),
        ] {
            let mut shown = said("nuestro");
            assert_eq!(alter(&mut shown, false, &by), effect);
            assert_eq!(shown.text, "nuestro");
        }
    }
}
