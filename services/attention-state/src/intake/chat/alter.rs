//! Reactions, edits, revokes and contents of files: what they make of the message they are about, whichever of both comes first. Instants are the
//! customer's own, so what comes late and out of order ends alike.

use hilo_kit::clock::from_proto;
use hilo_kit::error::Error;
use hilo_proto::history::v1::whats_app_item::Detail;
use hilo_proto::history::v1::{WhatsAppItem, WhatsAppReactionMark};
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{InboundWhatsApp, WhatsAppContent, whats_app_content as content};
use prost_types::Timestamp;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::content::{self as shown_content, Shown};
use crate::attention::domain::{Altered, AttentionId, Command, DeliveryState};
use crate::attention::store::LastMessage;
use crate::attention::store::chat::{self, Fate, StoredItem};
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

/// Applies one to what is shown of a message; `inbound` when the customer wrote that. `number` is its place in the channel's order of
/// the conversation: instants are whole seconds, and of two of the same second the later one counts.
pub(super) fn alter(shown: &mut Shown, inbound: bool, by: &InboundWhatsApp, number: i64) -> Effect {
    let at = by.sent_at;
    let item = &mut shown.item;
    match &by.kind {
        Some(Kind::Reaction(reaction)) => {
            if item.reaction.as_ref().is_some_and(|known| !supersedes((at, number), (known.at, known.order)))
            {
                return Effect::Older;
            }
            let mark = WhatsAppReactionMark {
                emoji: reaction.emoji.clone(),
                at,
                order: number,
                delivery_state: String::new(),
            };
            item.reaction = Some(mark);
            Effect::Changed(Altered::Reacted)
        }
        Some(Kind::Edit(_) | Kind::Revoke(_) | Kind::Content(_)) if !inbound => Effect::Refused,
        Some(Kind::Edit(edit)) => {
            let known = (item.edited_at, item.edited_order);
            if item.revoked_at.is_some() || (known.0.is_some() && !supersedes((at, number), known)) {
                return Effect::Older;
            }
            if item.edited_at.is_none() {
                item.original_text.clone_from(&shown.text);
            }
            (item.edited_at, item.edited_order) = (at, number);
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
        Some(Kind::Content(content)) => contain(shown, content),
        Some(
            Kind::Text(_)
            | Kind::Media(_)
            | Kind::Location(_)
            | Kind::ContactCards(_)
            | Kind::Choice(_)
            | Kind::Order(_)
            | Kind::System(_)
            | Kind::Preference(_)
            | Kind::Placeholder(_),
        )
        | None => Effect::Refused,
    }
}

/// The content of a file came, or will not come. What is here stays, whatever is said of it later; what was taken back stays away.
fn contain(shown: &mut Shown, content: &WhatsAppContent) -> Effect {
    if shown.item.revoked_at.is_some() || !shown.files.is_empty() {
        return Effect::Older;
    }
    let Some(Detail::Media(media)) = &mut shown.item.detail else { return Effect::Refused };
    match &content.result {
        Some(content::Result::Attachment(file)) => {
            media.failure.clear();
            media.attachment = Some(file.clone());
            shown.files.push(file.clone().into());
            Effect::Changed(Altered::Content)
        }
        Some(content::Result::Failure(why)) if media.failure.is_empty() => {
            media.failure.clone_from(why);
            Effect::Changed(Altered::Content)
        }
        Some(content::Result::Failure(_)) => Effect::Older,
        None => Effect::Refused,
    }
}

/// True when what comes is newer than what is known, by the customer's instant and then by its place.
fn supersedes(comes: (Option<Timestamp>, i64), known: (Option<Timestamp>, i64)) -> bool {
    let instant = |one: (Option<Timestamp>, i64)| {
        (one.0.as_ref().and_then(from_proto).unwrap_or(OffsetDateTime::UNIX_EPOCH), one.1)
    };
    instant(comes) > instant(known)
}

/// Applies one to a stored message of a locked attention, and tells of it. What is in the history only is fetched back first (`late`),
/// so it waits.
///
/// # Errors
/// The rejection of the domain, which has none for a message that is there.
pub(super) fn stored(
    work: &mut Work,
    attention: AttentionId,
    target: &mut StoredItem,
    by: &InboundWhatsApp,
    number: i64,
) -> Result<Fate, Error> {
    if target.purged {
        return Ok(Fate::Waits);
    }
    let mut shown = Shown {
        text: std::mem::take(&mut target.text),
        files: std::mem::take(&mut target.files),
        item: std::mem::take(&mut target.item),
    };
    let effect = alter(&mut shown, target.inbound, by, number);
    let preview = shown_content::line(&shown.text, &shown.item.kind);
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

/// A message is known by this key of its wamid, and it is here: what waited for it is applied. `delivery` is the state it has in this
/// transaction, of one of ours. Answers the message when anything had waited.
///
/// # Errors
/// Database errors.
pub(in crate::intake) async fn came(
    tx: &mut PgConnection,
    work: &mut Work,
    attention: AttentionId,
    key: &[u8],
    message: Uuid,
    delivery: Option<DeliveryState>,
) -> Result<Option<StoredItem>, Error> {
    let waiting = chat::waiting(tx, &[key.to_vec()]).await?.remove(key).unwrap_or_default();
    if waiting.is_empty() {
        return Ok(None);
    }
    let Some(mut target) = chat::items(tx, &[message]).await?.pop() else { return Ok(None) };
    target.delivery = delivery.or(target.delivery);
    for one in &waiting {
        let fate = stored(work, attention, &mut target, &one.item, one.number)?;
        chat::settle_waiting(tx, &[one.ledger], fate).await?;
    }
    Ok(Some(target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hilo_proto::inbound::v1::{
        Attachment, WhatsAppContent, WhatsAppEdit, WhatsAppMedia, WhatsAppReaction, WhatsAppRevoke,
    };

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
                alter(&mut shown, true, &all[at], 1);
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
                alter(&mut shown, true, &both[at], 1);
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
            assert_eq!(alter(&mut shown, false, &by, 1), effect);
            assert_eq!(shown.text, "nuestro");
        }
    }

    #[test]
    fn of_the_same_second_the_place_in_the_channels_order_decides() {
        let all = [(reacts(1, "👍"), 7), (reacts(1, "❤️"), 8), (edits(1, "uno"), 9), (edits(1, "dos"), 10)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]] {
            let mut shown = said("cero");
            for at in order {
                alter(&mut shown, true, &all[at].0, all[at].1);
            }
            let emoji = shown.item.reaction.unwrap().emoji;
            assert_eq!((emoji.as_str(), shown.text.as_str()), ("❤️", "dos"), "{order:?}");
        }
    }

    #[test]
    fn a_files_content_comes_once_in_whatever_order_and_never_after_a_revoke() {
        let file = || Attachment { sha256: "ab".into(), ..Attachment::default() };
        let content = |result| {
            let content = WhatsAppContent { target_wamid: "w".into(), result: Some(result) };
            by(1, Kind::Content(content))
        };
        let came = || content(content::Result::Attachment(file()));
        let lost = || content(content::Result::Failure("MEDIA_EXPIRED".into()));
        let with_file = || {
            let detail = Some(Detail::Media(WhatsAppMedia::default()));
            let item = WhatsAppItem { kind: "image".into(), detail, ..WhatsAppItem::default() };
            Shown { item, ..said("mire") }
        };
        for (run, files, failure) in [
            (vec![came()], 1, ""),
            (vec![lost()], 0, "MEDIA_EXPIRED"),
            (vec![came(), lost()], 1, ""),
            (vec![lost(), came(), came()], 1, ""),
        ] {
            let mut shown = with_file();
            for one in &run {
                alter(&mut shown, true, one, 1);
            }
            let Some(Detail::Media(media)) = &shown.item.detail else { panic!("{shown:?}") };
            assert_eq!((shown.files.len(), media.failure.as_str()), (files, failure));
            assert_eq!(media.attachment.is_some(), files == 1);
        }
        let mut revoked = with_file();
        alter(&mut revoked, true, &revokes(1), 1);
        assert_eq!(alter(&mut revoked, true, &came(), 2), Effect::Older);
        assert!(revoked.files.is_empty());
        assert_eq!(alter(&mut said("texto"), true, &came(), 2), Effect::Refused, "it has no file");
    }
}
