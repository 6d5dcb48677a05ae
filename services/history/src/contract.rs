//! Between the contracts and the domain. What attention-state answers is checked here once: a thread that lacks what
//! the contract requires is refused as a whole, with the fields that are wrong.

mod check;
mod message;

use std::collections::BTreeMap;

use hilo_kit::clock;
use hilo_kit::error::Error;
use hilo_proto::event::v1 as event;
use hilo_proto::history::v1 as wire;
use time::OffsetDateTime;

use crate::domain::criteria::Asked;
use crate::domain::thread::{
    Direction, FilledForm, FormField, Head, InteractionId, Mailbox, Message, Note, Place, Thread,
};
use crate::store::{PAGE_ENTRIES, PagePlace};
use check::Check;

/// Reads a thread as attention-state hands it over.
///
/// # Errors
/// `THREAD_MALFORMED` (corrupt) naming every wrong field.
pub fn thread(from: wire::Thread) -> Result<Thread, Error> {
    let mut check = Check::default();
    let summary = check.required("summary", from.summary).unwrap_or_default();
    let messages: Vec<Message> = from
        .messages
        .into_iter()
        .enumerate()
        .map(|(place, one)| message::read(&mut check, &format!("messages[{place}]"), one))
        .collect();
    let notes: Vec<Note> =
        (0..).zip(from.notes).map(|(place, one)| note(&mut check, &format!("notes[{place}]"), one)).collect();
    check.that(from.version > 0, "version", "must be positive");
    check.that(summary.ordinal > 0, "summary.ordinal", "must be positive");
    check.that(!summary.campaign_key.is_empty(), "summary.campaign_key", "must not be empty");
    let thread = Thread {
        version: from.version,
        account_key: clean(from.account_key),
        waiting_since: check.instant("waiting_since", from.waiting_since),
        opened_at: check.instant("opened_at", from.opened_at),
        linked_attention_id: check
            .optional_id("linked_attention_id", &from.linked_attention_id)
            .map(Into::into),
        contact_id: check.optional_id("contact_id", &from.contact_id).map(Into::into),
        head: head(&mut check, summary, messages.len()),
        messages,
        form: from.form.map(form),
        notes,
    };
    check.into_result(thread)
}

fn head(check: &mut Check, from: wire::ThreadSummary, messages: usize) -> Head {
    let ended_at = check.required("summary.ended_at", from.ended_at);
    let held = i32::try_from(messages).unwrap_or(i32::MAX);
    Head {
        interaction_id: check.id("summary.interaction_id", &from.interaction_id).into(),
        attention_id: check.id("summary.attention_id", &from.attention_id).into(),
        attention_number: from.attention_number,
        ordinal: from.ordinal,
        campaign_key: clean(from.campaign_key),
        agent_key: clean(from.agent_key),
        channel: clean(from.channel),
        direction: check.direction("summary.direction", from.direction),
        customer: Mailbox { address: clean(from.customer_address), name: clean(from.customer_name) },
        subject: clean(from.subject),
        ended_at: check.instant("summary.ended_at", ended_at).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        attention_closed: from.attention_closed,
        message_count: from.message_count.max(held),
        tags: from.tags.into_iter().map(clean).collect(),
        vip: from.vip,
    }
}

fn note(check: &mut Check, at: &str, from: wire::ThreadNote) -> Note {
    let created_at = check.required(&format!("{at}.created_at"), from.created_at);
    Note {
        id: check.id(&format!("{at}.note_id"), &from.note_id).into(),
        author_key: clean(from.author_key),
        text: clean(from.text),
        created_at: check
            .instant(&format!("{at}.created_at"), created_at)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH),
    }
}

fn form(from: wire::FilledForm) -> FilledForm {
    let mut fields: BTreeMap<String, FormField> = BTreeMap::new();
    for (key, label) in from.labels {
        fields.entry(clean(key)).or_default().label = clean(label);
    }
    for (key, value) in from.values {
        fields.entry(clean(key)).or_default().value = Some(clean(value));
    }
    FilledForm { key: clean(from.form_key), version: from.form_version, fields }
}

/// PostgreSQL cannot hold U+0000 in a text.
fn clean(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "") } else { text }
}

fn direction(number: i32) -> Option<Direction> {
    match event::Direction::try_from(number).unwrap_or_default() {
        event::Direction::Unspecified => None,
        event::Direction::Inbound => Some(Direction::Inbound),
        event::Direction::Outbound => Some(Direction::Outbound),
    }
}

fn direction_number(direction: Direction) -> i32 {
    match direction {
        Direction::Inbound => event::Direction::Inbound.into(),
        Direction::Outbound => event::Direction::Outbound.into(),
    }
}

/// The criteria of a search as they were asked.
///
/// # Errors
/// `INVALID_SEARCH` for a direction that is not in the contract.
pub fn asked(from: &wire::SearchThreadsRequest) -> Result<Asked, Error> {
    let asked_direction = direction(from.direction);
    if from.direction != 0 && asked_direction.is_none() {
        return Err(Error::invalid("INVALID_SEARCH", "the search has malformed criteria")
            .field("direction", "must be inbound or outbound"));
    }
    Ok(Asked {
        words: from.words.clone(),
        customer: from.customer.clone(),
        campaign_key: from.campaign_key.clone(),
        agent_key: from.agent_key.clone(),
        ended_from: from.ended_from.clone(),
        ended_to: from.ended_to.clone(),
        attention_number: from.attention_number,
        direction: asked_direction,
        subject: from.subject.clone(),
        tag: from.tag.clone(),
        form_values: from.form_values.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        form_value: from.form_value.clone(),
    })
}

/// A head as a list shows it.
pub fn summary(head: Head) -> wire::ThreadSummary {
    wire::ThreadSummary {
        interaction_id: head.interaction_id.to_string(),
        attention_id: head.attention_id.to_string(),
        attention_number: head.attention_number,
        ordinal: head.ordinal,
        campaign_key: head.campaign_key,
        agent_key: head.agent_key,
        channel: head.channel,
        direction: direction_number(head.direction),
        customer_name: head.customer.name,
        customer_address: head.customer.address,
        subject: head.subject,
        ended_at: Some(clock::to_proto(head.ended_at)),
        attention_closed: head.attention_closed,
        message_count: head.message_count,
        tags: head.tags,
        vip: head.vip,
    }
}

/// A place as it is answered.
pub fn place(place: Place) -> wire::ThreadPlace {
    let id = |one: Option<InteractionId>| one.map(|id| id.to_string()).unwrap_or_default();
    wire::ThreadPlace {
        position: place.position,
        total: place.total,
        previous_interaction_id: id(place.previous),
        next_interaction_id: id(place.next),
    }
}

/// A thread as it is answered: HTML sanitised again.
pub fn answer(thread: Thread) -> wire::Thread {
    wire::Thread {
        version: thread.version,
        summary: Some(summary(thread.head)),
        messages: thread.messages.into_iter().map(message::answer).collect(),
        form: thread.form.map(answer_form),
        linked_attention_id: thread.linked_attention_id.map(|id| id.to_string()).unwrap_or_default(),
        account_key: thread.account_key,
        waiting_since: thread.waiting_since.map(clock::to_proto),
        opened_at: thread.opened_at.map(clock::to_proto),
        contact_id: thread.contact_id.map(|id| id.to_string()).unwrap_or_default(),
        notes: thread.notes.into_iter().map(answer_note).collect(),
    }
}

fn answer_note(note: Note) -> wire::ThreadNote {
    wire::ThreadNote {
        note_id: note.id.to_string(),
        author_key: note.author_key,
        text: note.text,
        created_at: Some(clock::to_proto(note.created_at)),
    }
}

/// A thread as attention-state gets it back: exactly what it once handed over, so that it may hand it over again.
pub fn handed_back(mut thread: Thread) -> wire::Thread {
    let html: Vec<String> =
        thread.messages.iter_mut().map(|message| std::mem::take(&mut message.html)).collect();
    let mut back = answer(thread);
    for (message, html) in back.messages.iter_mut().zip(html) {
        message.html = html;
    }
    back
}

fn answer_form(form: FilledForm) -> wire::FilledForm {
    let mut answer =
        wire::FilledForm { form_key: form.key, form_version: form.version, ..Default::default() };
    for (key, field) in form.fields {
        if let Some(value) = field.value {
            answer.values.insert(key.clone(), value);
        }
        answer.labels.insert(key, field.label);
    }
    answer
}

/// An interaction id of a request.
///
/// # Errors
/// `INVALID_ID` naming the field.
pub fn interaction_id(text: &str) -> Result<InteractionId, Error> {
    hilo_kit::ids::parse(text, "interaction_id").map(InteractionId)
}

/// Where a page of a thread begins; `None` for the first one.
///
/// # Errors
/// `PAGE_TOKEN_INVALID`.
pub fn page_place(token: &str) -> Result<Option<PagePlace>, Error> {
    (!token.is_empty()).then(|| token.parse()).transpose()
}

/// How many notes and messages a page of a thread may hold.
///
/// # Errors
/// `INVALID_PAGE` naming the field.
pub fn thread_page_size(asked: i32) -> Result<usize, Error> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_ENTRIES),
        Ok(size) if size <= PAGE_ENTRIES => Ok(size),
        Ok(_) | Err(_) => Err(Error::invalid("INVALID_PAGE", "the page asked for cannot be made")
            .field("page_size", format!("must be between 0 and {PAGE_ENTRIES}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::thread::{Recipient, samples};

    #[test]
    fn a_thread_survives_the_contract() {
        let mut thread_ = samples::thread(3, vec![samples::message("hola"), samples::message("adiós")]);
        thread_.messages[1].bcc = vec![Mailbox { address: "jefa@hilo.example".into(), name: "Jefa".into() }];
        thread_.messages[1].recipients = vec![Recipient {
            address: "jefa@hilo.example".into(),
            state: "failed".into(),
            reply_code: 550,
            enhanced_code: "5.1.1".into(),
            reply_text: "no such user".into(),
        }];
        let item = wire::WhatsAppItem { kind: "image".into(), wamid: "wamid.1".into(), ..Default::default() };
        thread_.messages[0].whatsapp = Some(prost::Message::encode_to_vec(&item));
        thread_.messages[1].delivery_reason = "WINDOW_CLOSED".into();
        thread_.head.tags = vec!["VIP".into()];
        thread_.head.vip = true;
        thread_.notes = vec![Note {
            id: crate::domain::NoteId::new(),
            author_key: "ana".into(),
            text: "pide factura".into(),
            created_at: OffsetDateTime::UNIX_EPOCH,
        }];
        thread_.linked_attention_id = Some(crate::domain::AttentionId::new());
        let field = FormField { label: "Motivo".into(), value: Some("reclamo".into()) };
        let empty = FormField { label: "Monto".into(), value: None };
        let fields = BTreeMap::from([("motivo".to_owned(), field), ("monto".to_owned(), empty)]);
        thread_.form = Some(FilledForm { key: "reclamos".into(), version: 2, fields });
        assert_eq!(thread(answer(thread_.clone())).unwrap(), thread_);
    }

    #[test]
    fn a_malformed_thread_names_every_field() {
        let mut wrong = answer(samples::thread(1, vec![samples::message("a\0b")]));
        assert_eq!(thread(wrong.clone()).unwrap().messages[0].text, "ab");
        wrong.version = 0;
        wrong.contact_id = "x".into();
        wrong.messages[0].direction = 7;
        wrong.messages[0].occurred_at = None;
        let error = thread(wrong).unwrap_err();
        let fields: Vec<_> = error.violations().iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, ["messages[0].occurred_at", "messages[0].direction", "version", "contact_id"]);
        assert_eq!(error.reason(), "THREAD_MALFORMED");
    }
}
