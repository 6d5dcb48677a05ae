//! What becomes of a waiting attention: the customer answers, an agent takes it over. The dialer's message goes into the thread then, as
//! the first one of its interaction.

use hilo_kit::error::Error;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::sends::{self, Sent, Unanswered};
use crate::attention::domain::{
    Attention, AttentionId, CampaignKey, Command, InteractionId, MessageId, MessageSummary, UserKey,
};
use crate::attention::store::delivery::{self, Change};
use crate::attention::store::message::{self, Key, KeyRow, NewMessage, StoredAddress};
use crate::attention::work::{Actor, Work};

/// A dialer's message on its way into the thread. Write it after the `Work` that begins its interaction.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The message.
    pub message: NewMessage,
    /// By which reports, answers and reactions find it.
    pub keys: Vec<KeyRow>,
    /// What became of it so far.
    pub change: Change,
}

/// Rows whose attentions wait, of these locked attentions; kept from others until the transaction ends.
///
/// # Errors
/// Database errors.
pub(crate) async fn waiting_rows(tx: &mut PgConnection, attentions: &[Uuid]) -> Result<Vec<Sent>, Error> {
    if attentions.is_empty() {
        return Ok(Vec::new());
    }
    sends::lock_waiting(tx, attentions).await
}

/// What may still be answered late, of these customers: attentions that closed as `no_answer`.
///
/// # Errors
/// Database errors.
pub(crate) async fn unanswered(tx: &mut PgConnection, contacts: &[Uuid]) -> Result<Vec<Unanswered>, Error> {
    if contacts.is_empty() {
        return Ok(Vec::new());
    }
    sends::unanswered(tx, contacts).await
}

/// The customer wrote in these attentions. Those of no dialer are left alone.
///
/// # Errors
/// Database errors.
pub(crate) async fn answered(tx: &mut PgConnection, attentions: &[Uuid]) -> Result<(), Error> {
    if attentions.is_empty() { Ok(()) } else { sends::answered(tx, attentions).await }
}

/// The customer answered after the attention had closed: pairs of that and of the one that began with the answer.
///
/// # Errors
/// Database errors.
pub(crate) async fn answered_late(
    tx: &mut PgConnection,
    pairs: &[(AttentionId, AttentionId)],
) -> Result<(), Error> {
    if pairs.is_empty() { Ok(()) } else { sends::answered_late(tx, pairs).await }
}

impl Kept {
    /// The message of a row as the first of an interaction.
    pub(crate) fn of(sent: &Sent, interaction: InteractionId) -> Self {
        let message = MessageId(sent.send);
        let key = |key: Key| KeyRow { key, message, interaction, attention: sent.attention };
        let keys = [Some(Key::Send(sent.send)), Key::wamid(&sent.account, &sent.wamid)];
        let mut item = sent.item.clone();
        item.wamid.clone_from(&sent.wamid);
        Self {
            message: NewMessage {
                message_id: sent.send,
                attention_id: sent.attention.uuid(),
                interaction_id: interaction.uuid(),
                position: 1,
                direction: "outbound",
                from_address: sent.from_address.clone(),
                from_name: sent.from_name.clone(),
                to_addresses: vec![StoredAddress { address: sent.number.clone(), name: String::new() }],
                cc_addresses: Vec::new(),
                bcc_addresses: Vec::new(),
                reply_to_addresses: Vec::new(),
                subject: String::new(),
                text_body: sent.text.clone(),
                html_body: String::new(),
                attachments: Vec::new(),
                occurred_at: sent.sent_at,
                internet_message_id: String::new(),
                reference_ids: Vec::new(),
                agent_key: None,
                mail_class: "",
                sender_verified: true,
                delivery_state: Some(sent.delivery.word()),
                conversation_key: None,
                conversation_number: None,
                whatsapp: Some(item),
                wamid: sent.wamid.clone(),
            },
            keys: keys.into_iter().flatten().map(key).collect(),
            change: Change {
                message: sent.send,
                state: sent.delivery,
                detail: sent.delivery_detail.clone(),
                reason: sent.delivery_reason.clone(),
                recipients: Vec::new(),
            },
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn write(self, tx: &mut PgConnection) -> Result<(), Error> {
        message::insert_messages(tx, &[self.message]).await?;
        message::insert_keys(tx, &self.keys).await?;
        delivery::set_delivery(tx, &[self.change]).await
    }
}

/// What an agent takes a waiting attention over with.
#[derive(Clone, Debug)]
pub(crate) struct Taking {
    /// Id of the interaction that begins.
    pub interaction: InteractionId,
    /// Campaign he writes for.
    pub campaign: CampaignKey,
    /// Who.
    pub agent: UserKey,
    /// His message.
    pub message: MessageSummary,
}

/// An agent writes to a customer whose answer a dialer waits for: the waiting attention becomes his, with the dialer's message as its
/// first. `work` must hold the attention ([`Work::lock_current`]), found by `threads::live_chats` under the locks of the customer's
/// identities (`contact::whatsapp::locked`). Answers the attention after it and what the caller writes after `work`.
///
/// # Errors
/// `NOT_WAITING`; database errors.
pub(crate) async fn take_over(
    tx: &mut PgConnection,
    work: &mut Work,
    attention: AttentionId,
    taking: Taking,
    traceparent: &str,
) -> Result<(Attention, Vec<Kept>), Error> {
    let interaction = taking.interaction;
    let actor = Actor::User(taking.agent.clone());
    let command = Command::TakeOver {
        interaction,
        campaign: taking.campaign,
        agent: taking.agent,
        message: taking.message,
    };
    let decision = work.decide_at(attention, None, command, &actor, traceparent)?;
    let after = decision.state.ok_or_else(|| Error::internal("NO_STATE", "the attention is not held"))?;
    let rows = waiting_rows(tx, &[attention.uuid()]).await?;
    sends::taken_over(tx, &[attention.uuid()]).await?;
    Ok((after, rows.iter().map(|row| Kept::of(row, interaction)).collect()))
}
