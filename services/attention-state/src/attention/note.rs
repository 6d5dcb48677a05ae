//! Internal notes: entries of the thread that are never sent.

use hilo_kit::error::Error;
use sqlx::PgConnection;

use super::commands::not_found;
use super::domain::{Command, InteractionId, MessageId, MessageKind, MessageSummary, UserKey};
use super::store::message::{self, NewMessage};
use super::store::thread::NOTE;
use super::work::{Actor, Work};

/// A note as its author wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub author: UserKey,
    /// Name of the author, shown beside it.
    pub name: String,
    pub text: String,
}

/// Adds a note to a locked interaction; the caller writes the work.
///
/// # Errors
/// `ALREADY_ENDED`, `TOO_MANY_MESSAGES`; database errors.
pub(crate) async fn add(
    tx: &mut PgConnection,
    work: &mut Work,
    interaction: InteractionId,
    note: &Note,
) -> Result<MessageId, Error> {
    let id = MessageId::new();
    let occurred_at = work.now();
    let message = MessageSummary { id, occurred_at, attachments: 0, kind: MessageKind::Note };
    let decision =
        work.decide(interaction, Command::AddNote { message }, &Actor::User(note.author.clone()))?;
    let after = decision.state.ok_or_else(not_found)?;
    let row = NewMessage {
        message_id: id.uuid(),
        attention_id: after.id.uuid(),
        interaction_id: interaction.uuid(),
        position: after.messages,
        direction: NOTE,
        from_address: String::new(),
        from_name: note.name.clone(),
        to_addresses: Vec::new(),
        cc_addresses: Vec::new(),
        bcc_addresses: Vec::new(),
        reply_to_addresses: Vec::new(),
        subject: String::new(),
        text_body: note.text.clone(),
        html_body: String::new(),
        attachments: Vec::new(),
        occurred_at,
        internet_message_id: String::new(),
        reference_ids: Vec::new(),
        agent_key: Some(note.author.to_string()),
        mail_class: "",
        sender_verified: true,
        delivery_state: None,
        conversation_key: None,
        conversation_number: None,
        whatsapp: None,
        wamid: String::new(),
    };
    message::insert_messages(tx, &[row]).await?;
    Ok(id)
}
