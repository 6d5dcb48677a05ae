//! How items, threads and forms look in a terminal.

use std::collections::BTreeMap;

use hilo_proto::attention::v1::{DeskCounters, DeskItem, OpenInteractionResponse};
use hilo_proto::directory::v1::FormDefinition;
use hilo_proto::event::v1::Direction;
use hilo_proto::history::v1::ThreadMessage;
use hilo_proto::inbound::v1::{Attachment, EmailAddress};
use time::OffsetDateTime;

use super::list::is_queued;
use super::render_chat as chat;
use crate::cli::terminal::{clean, clean_lines, counted, instant, shorten, time_of_day};

/// `Abiertas 1 · En cola 2`, as in the agent's desktop.
pub fn counters(counters: DeskCounters) -> String {
    format!("Abiertas {} · En cola {}", counters.open, counters.queued)
}

/// One line of the list; `now` is for what is left of the 24 hours.
pub fn item(number: u32, item: &DeskItem, now: OffsetDateTime) -> String {
    let state = match (is_queued(item), item.ringing) {
        (true, true) => "rings ",
        (true, false) => "queued",
        (false, _) => "open  ",
    };
    let star = if item.vip { " ★" } else { "" };
    let unverified = if item.sender_verified || chat::is_chat(item) { "" } else { " (sender not verified)" };
    let about = if item.subject.is_empty() { &item.preview } else { &item.subject };
    let who = if item.customer_name.is_empty() { &item.customer_address } else { &item.customer_name };
    format!(
        "{number:>3}  {state}  #{}  {}  {}{star}{unverified}  {}  {}",
        item.attention_number,
        time_of_day(item.last_message_at.as_ref()),
        shorten(who, 28),
        shorten(about, 48),
        tail(item, now),
    )
}

fn tail(item: &DeskItem, now: OffsetDateTime) -> String {
    let deadline = item.offer_deadline_at.as_ref().filter(|_| item.ringing);
    let until = deadline.map(|at| format!(", until {}", time_of_day(Some(at)))).unwrap_or_default();
    let messages = counted(usize::try_from(item.message_count).unwrap_or_default(), "message");
    let window = chat::window_in_list(item, now).map(|left| format!(", {left}")).unwrap_or_default();
    format!("[{}{window}, {messages}{until}]", item.campaign_key)
}

/// Name and address.
pub fn person(address: Option<&EmailAddress>) -> String {
    match address {
        Some(one) if one.name.is_empty() => clean(&one.address),
        // The author of a note is a person without a mailbox.
        Some(one) if one.address.is_empty() => clean(&one.name),
        Some(one) => clean(&format!("{} <{}>", one.name, one.address)),
        None => "-".to_owned(),
    }
}

/// What an opened item answers with: customer, attention, thread, form.
pub fn opened(answer: &OpenInteractionResponse) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(attention) = &answer.attention {
        let linked =
            if attention.linked_attention_id.is_empty() { "" } else { ", follows an earlier attention" };
        let subject = clean(&attention.subject);
        let subject = if subject.is_empty() { subject } else { format!(": {subject}") };
        lines.push(format!("attention #{}{linked}{subject}", attention.number));
        if let Some(contact) = &attention.contact {
            let ways: Vec<&str> = contact.identities.iter().map(|identity| identity.value.as_str()).collect();
            let star = if contact.vip { " ★" } else { "" };
            lines.push(
                clean(&format!("customer {}{star} {} {}", contact.name, ways.join(", "), contact.company))
                    .trim_end()
                    .to_owned(),
            );
        }
        if attention.interactions.len() > 1 {
            let ordinal = attention
                .interactions
                .iter()
                .find(|one| {
                    answer.item.as_ref().is_some_and(|item| item.interaction_id == one.interaction_id)
                })
                .map_or(0, |one| one.ordinal);
            lines.push(format!("interaction {ordinal} of {}", attention.interactions.len()));
        }
    }
    lines.extend(answer.item.as_ref().and_then(|item| chat::window_of_item(item, OffsetDateTime::now_utc())));
    lines.extend(thread(&answer.messages));
    lines.extend(form(answer.form.as_ref(), &values(answer)));
    if let Some(draft) = answer.draft.as_ref().filter(|draft| !draft.text.is_empty()) {
        lines.push(format!("draft: {}", shorten(&draft.text, 100)));
    }
    lines
}

/// Form values of an opened item.
pub fn values(answer: &OpenInteractionResponse) -> BTreeMap<String, String> {
    answer.form_state.as_ref().map(|state| state.values.clone().into_iter().collect()).unwrap_or_default()
}

/// Messages in order, their files numbered through.
pub fn thread(messages: &[ThreadMessage]) -> Vec<String> {
    let mut files = 0;
    let numbered = |one: &ThreadMessage| {
        let mut lines = message(one);
        // The files stand between head and text.
        for line in lines.iter_mut().skip(1).take(one.attachments.len()) {
            files += 1;
            *line = format!("    {files}. {}", line.trim_start());
        }
        lines
    };
    messages.iter().flat_map(numbered).collect()
}

/// One message: head, attachments, text.
pub fn message(message: &ThreadMessage) -> Vec<String> {
    if message.internal {
        let (when, author) = (instant(message.occurred_at.as_ref()), person(message.from.as_ref()));
        let mut lines = vec![format!("note {when}  {author}")];
        lines.extend(clean_lines(message.text.trim_end()).iter().map(|line| format!("    {line}")));
        return lines;
    }
    let arrow = if message.direction == Direction::Outbound as i32 { "→" } else { "←" };
    let to: Vec<String> = message.to.iter().map(|to| person(Some(to))).collect();
    let to = if to.is_empty() && message.whatsapp.is_some() {
        String::new()
    } else {
        format!(" to {}", to.join(", "))
    };
    let mut head =
        format!("{arrow} {}  {}{to}", instant(message.occurred_at.as_ref()), person(message.from.as_ref()));
    if !message.delivery_state.is_empty() {
        head.push_str(&format!("  [{}]", chat::state(message)));
    }
    let mail = message.whatsapp.is_none();
    if mail && message.direction == Direction::Inbound as i32 && !message.sender_verified {
        head.push_str("  [sender not verified]");
    }
    if !matches!(message.mail_class.as_str(), "" | "human") {
        head.push_str(&format!("  [{}]", clean(&message.mail_class)));
    }
    head.push_str(&chat::marks(message));
    let mut lines = vec![head];
    lines.extend(message.attachments.iter().map(|file| format!("    {}", attachment(file))));
    lines.extend(
        clean_lines(message.text.trim_end())
            .into_iter()
            .map(|line| format!("    {line}").trim_end().to_owned()),
    );
    lines
}

/// One attachment.
pub fn attachment(file: &Attachment) -> String {
    let name = if file.file_name.is_empty() { "(no name)".to_owned() } else { clean(&file.file_name) };
    format!("📎 {name}, {}, {} bytes", clean(&file.media_type), file.size_bytes)
}

/// The form with its values; nothing when the campaign has none.
pub fn form(definition: Option<&FormDefinition>, values: &BTreeMap<String, String>) -> Vec<String> {
    let Some(definition) = definition else { return Vec::new() };
    let mut lines = vec![format!("form: {}", clean(&definition.title))];
    for field in &definition.fields {
        let star = if field.required { "*" } else { " " };
        let choices = if field.choices.is_empty() {
            String::new()
        } else {
            format!(" ({})", clean(&field.choices.join(" | ")))
        };
        let value =
            values.get(&field.key).map(|value| clean(&value.replace('\n', " | "))).unwrap_or_default();
        let (label, hint) = (clean(&field.label), hint(&field.r#type));
        lines.push(format!("  {star} {} = {value:?}   {label}{choices}{hint}", field.key));
    }
    lines
}

/// How a value of this type is written, where that is not plain.
fn hint(field_type: &str) -> &'static str {
    match field_type {
        "multiple_choice" => " (several with |)",
        "date" => " (YYYY-MM-DD)",
        "number" => " (number)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use hilo_proto::directory::v1::FormField;
    use hilo_proto::event::v1::InteractionState;
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_line_of_the_list_is_one_line_without_escape_sequences() {
        let item = DeskItem {
            attention_number: 5804,
            state: InteractionState::Queued as i32,
            ringing: true,
            customer_name: "Rosa\u{1b}[31m".to_owned(),
            subject: "uno\ndos".to_owned(),
            campaign_key: "soporte".to_owned(),
            message_count: 1,
            vip: true,
            last_message_at: Some(Timestamp { seconds: 60, nanos: 0 }),
            offer_deadline_at: Some(Timestamp { seconds: 90, nanos: 0 }),
            ..DeskItem::default()
        };
        let line = super::item(7, &item, OffsetDateTime::UNIX_EPOCH);
        assert_eq!(
            line,
            "  7  rings   #5804  00:01:00  Rosa [31m ★ (sender not verified)  uno dos  [soporte, 1 message, until 00:01:30]"
        );
    }

    #[test]
    fn a_field_says_how_its_value_is_written() {
        let field = |key: &str, kind: &str, choices: &[&str]| FormField {
            key: key.to_owned(),
            label: key.to_uppercase(),
            r#type: kind.to_owned(),
            choices: choices.iter().map(|one| (*one).to_owned()).collect(),
            ..FormField::default()
        };
        let fields = vec![
            field("temas", "multiple_choice", &["Pago", "Otro"]),
            field("fecha", "date", &[]),
            field("nota", "text", &[]),
        ];
        let definition = FormDefinition { title: "Datos".to_owned(), fields, ..FormDefinition::default() };
        assert_eq!(
            form(Some(&definition), &BTreeMap::new()),
            [
                "form: Datos",
                "    temas = \"\"   TEMAS (Pago | Otro) (several with |)",
                "    fecha = \"\"   FECHA (YYYY-MM-DD)",
                "    nota = \"\"   NOTA",
            ]
        );
    }

    #[test]
    fn the_author_of_a_note_has_no_empty_address() {
        let author = EmailAddress { address: String::new(), name: "Ana Quispe".to_owned() };
        assert_eq!(person(Some(&author)), "Ana Quispe");
    }

    #[test]
    fn a_message_shows_direction_state_and_files() {
        let message = ThreadMessage {
            direction: Direction::Outbound as i32,
            from: Some(EmailAddress { address: "s@x".to_owned(), name: "Soporte".to_owned() }),
            to: vec![EmailAddress { address: "rosa@y".to_owned(), name: String::new() }],
            text: "Hola\n\nsaludos\n".to_owned(),
            delivery_state: "sent".to_owned(),
            attachments: vec![Attachment {
                file_name: "a.pdf".to_owned(),
                media_type: "application/pdf".to_owned(),
                size_bytes: 3,
                ..Default::default()
            }],
            ..ThreadMessage::default()
        };
        assert_eq!(
            super::message(&message),
            vec![
                "→ -  Soporte <s@x> to rosa@y  [sent]",
                "    📎 a.pdf, application/pdf, 3 bytes",
                "    Hola",
                "",
                "    saludos"
            ]
        );
    }
}
