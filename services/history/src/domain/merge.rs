//! How a newer version meets a stored one. The live store purges bodies some time after it knows that history holds
//! them, so a later version may come without them: what was once said, filled in or noted is never replaced by nothing.

use std::collections::HashSet;

use hilo_kit::ids::Uuid;

use super::thread::{FilledForm, Message, MessageId, Note, Thread};

/// What of a stored thread outlives a newer version that came without it.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Messages in thread order.
    pub messages: Vec<Message>,
    /// Form as filled in.
    pub form: Option<FilledForm>,
    /// Internal notes.
    pub notes: Vec<Note>,
}

/// `newer` with the contents of `stored` wherever the newer version has none. Heads, delivery states and tags are the
/// newer version's, and so is the form when it has one; a message or note that it lacks stays at its place.
pub fn keep_contents(mut newer: Thread, stored: Contents) -> Thread {
    newer.form = newer.form.or(stored.form);
    for old in stored.notes {
        if !newer.notes.iter().any(|note| note.id == old.id) {
            newer.notes.push(old);
        }
    }
    newer.notes.sort_by_key(|note| (note.created_at, note.id));
    let mut behind: Option<MessageId> = None;
    for old in stored.messages {
        let id = old.id;
        match newer.messages.iter_mut().find(|message| message.id == id) {
            Some(message) => restore(message, old),
            None => insert_behind(&mut newer.messages, behind, old),
        }
        behind = Some(id);
    }
    let held = i32::try_from(newer.messages.len()).unwrap_or(i32::MAX);
    newer.head.message_count = newer.head.message_count.max(held);
    newer
}

fn restore(message: &mut Message, old: Message) {
    if !message.has_content() {
        message.text = old.text;
        message.html = old.html;
        message.attachments = old.attachments;
        message.whatsapp = old.whatsapp;
    }
    if message.subject.is_empty() {
        message.subject = old.subject;
    }
}

/// The order of a thread whose messages are known by their ids: the newer version's, and what it lacks behind its old
/// neighbour. The same rule as in [`keep_contents`].
pub fn order(newer: Vec<Uuid>, stored: &[Uuid]) -> Vec<Uuid> {
    let known: HashSet<Uuid> = newer.iter().copied().collect();
    let mut order = newer;
    let mut behind: Option<Uuid> = None;
    for old in stored {
        if !known.contains(old) {
            let place =
                behind.and_then(|id| order.iter().position(|one| *one == id)).map_or(0, |place| place + 1);
            order.insert(place, *old);
        }
        behind = Some(*old);
    }
    order
}

fn insert_behind(messages: &mut Vec<Message>, behind: Option<MessageId>, old: Message) {
    let place = behind
        .and_then(|id| messages.iter().position(|message| message.id == id))
        .map_or(0, |place| place + 1);
    messages.insert(place, old);
}

#[cfg(test)]
mod tests {
    use super::super::thread::samples::{message, thread};
    use super::super::thread::{FilledForm, Note, NoteId};
    use super::*;

    fn messages(messages: Vec<Message>) -> Contents {
        Contents { messages, ..Contents::default() }
    }

    #[test]
    fn a_purged_form_and_purged_notes_stay_and_new_ones_win() {
        let form = |version| FilledForm { key: "f".into(), version, fields: Default::default() };
        let at = time::OffsetDateTime::UNIX_EPOCH;
        let note = |text: &str| Note {
            id: NoteId::new(),
            author_key: "ana".into(),
            text: text.into(),
            created_at: at,
        };
        let (first, second) = (note("uno"), note("dos"));
        let stored = Contents { messages: Vec::new(), form: Some(form(1)), notes: vec![first.clone()] };
        let mut newer = thread(2, Vec::new());
        newer.notes = vec![second.clone()];
        let merged = keep_contents(newer.clone(), stored.clone());
        assert_eq!((merged.form, merged.notes), (Some(form(1)), vec![first, second]));
        newer.form = Some(form(2));
        assert_eq!(keep_contents(newer, stored).form, Some(form(2)));
    }

    #[test]
    fn a_purged_body_never_replaces_a_stored_one() {
        let stored = thread(1, vec![message("hola"), message("adiós")]);
        let mut purged = stored.clone();
        purged.version = 2;
        for message in &mut purged.messages {
            message.text.clear();
            message.delivery_state = "sent".into();
        }
        let merged = keep_contents(purged, messages(stored.messages));
        let texts: Vec<_> = merged.messages.iter().map(|message| message.text.as_str()).collect();
        assert_eq!(texts, ["hola", "adiós"]);
        assert!(merged.messages.iter().all(|message| message.delivery_state == "sent"));
        assert_eq!(merged.version, 2);
    }

    #[test]
    fn the_order_of_ids_is_that_of_whole_messages() {
        let ids: Vec<Uuid> = (0..6).map(Uuid::from_u128).collect();
        let pick = |places: &[usize]| places.iter().map(|place| ids[*place]).collect::<Vec<Uuid>>();
        for (newer, stored, expected) in [
            (&[0, 1][..], &[][..], &[0, 1][..]),
            (&[0, 2, 5], &[0, 1, 2], &[0, 1, 2, 5]),
            (&[2, 0], &[0, 1, 2], &[2, 0, 1]),
            (&[5], &[0, 1], &[0, 1, 5]),
            (&[], &[3, 4], &[3, 4]),
        ] {
            assert_eq!(order(pick(newer), &pick(stored)), pick(expected), "{newer:?} {stored:?}");
        }
    }

    #[test]
    fn a_message_the_newer_version_lacks_stays_at_its_place() {
        let stored = thread(1, vec![message("uno"), message("dos"), message("tres")]);
        let mut newer = stored.clone();
        newer.messages.remove(1);
        newer.messages.push(message("cuatro"));
        let merged = keep_contents(newer, messages(stored.messages));
        let texts: Vec<_> = merged.messages.iter().map(|message| message.text.as_str()).collect();
        assert_eq!(texts, ["uno", "dos", "tres", "cuatro"]);
        assert_eq!(merged.head.message_count, 4);
    }

    #[test]
    fn new_content_wins() {
        let stored = thread(1, vec![message("borrador")]);
        let mut newer = stored.clone();
        newer.messages[0].text = "definitivo".into();
        assert_eq!(keep_contents(newer.clone(), messages(stored.messages)), newer);
    }
}
