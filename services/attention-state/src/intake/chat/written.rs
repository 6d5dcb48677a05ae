//! What a batch of WhatsApp items writes: attentions and interactions through `Work`, messages, keys, alterations.

use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use hilo_proto::inbound::v1::InboundWhatsApp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::alter;
use super::content::{self, Shown};
use super::known::Known;
use super::{Item, Sort};
use crate::attention::domain::{
    AccountKey, AttentionId, CampaignKey, Channel, Command, ContactId, Direction, InteractionId, MessageId,
    MessageKind, MessageSummary, Opening, Phase,
};
use crate::attention::store::chat::{self, Alteration, Fate, StoredItem};
use crate::attention::store::delivery::{self, Change};
use crate::attention::store::message::{Key, KeyRow, NewMessage};
use crate::attention::store::{self, Head, LastMessage};
use crate::attention::threads::Lineage;
use crate::attention::work::{Actor, Work};
use crate::dialer::{self, Kept, Preference};
use crate::directory;
use crate::intake::plan::{self, Due, FLOOD};

/// How an attention begins.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    pub campaign: CampaignKey,
    pub contact: ContactId,
    pub lineage: Uuid,
    /// The attention it follows.
    pub follows: Option<Follows>,
}

/// Why an attention follows another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Follows {
    /// That one's interaction is full.
    Full(AttentionId),
    /// That one closed before the customer answered.
    Unanswered(AttentionId),
}

impl Follows {
    fn attention(self) -> AttentionId {
        match self {
            Follows::Full(id) | Follows::Unanswered(id) => id,
        }
    }

    /// The word of the public event.
    fn word(self) -> &'static str {
        match self {
            Follows::Full(_) => FLOOD,
            Follows::Unanswered(_) => LATE_ANSWER,
        }
    }
}

/// Reason of an attention that begins with the answer to a dialer's, which had closed.
const LATE_ANSWER: &str = "late_answer";

/// Rows of the batch beside those that `Work` writes.
#[derive(Debug, Default)]
pub(super) struct Written {
    numbers: Vec<i64>,
    messages: Vec<(Key, NewMessage)>,
    keys: Vec<KeyRow>,
    changed: Vec<StoredItem>,
    /// Reactions, edits, revokes and contents of files that came.
    pub(super) alterations: Vec<Alteration>,
    /// What customers set in WhatsApp's own menu.
    pub(super) preferences: Vec<Preference>,
    /// Those that had waited for a message of the batch.
    settled: Vec<Uuid>,
    out_of_hours: Vec<Uuid>,
    /// Automatic replies that may follow.
    due: Vec<Due>,
    /// What became so far of the messages of dialers that go into threads here.
    changes: Vec<Change>,
    /// Attentions that a dialer or an agent began and in which the customer wrote.
    answered: Vec<Uuid>,
    /// Attentions that had closed unanswered, and those that begin with the answer.
    answered_late: Vec<(AttentionId, AttentionId)>,
    /// Deliveries that must leave the inbox again, because they end as dead letters.
    pub(super) refused: Vec<Uuid>,
}

fn not_held() -> Error {
    Error::internal("NO_STATE", "the attention or its interaction is not held")
}

impl Written {
    /// `numbers` are human numbers; the earliest item gets the least.
    pub(super) fn new(mut numbers: Vec<i64>) -> Self {
        numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        Self { numbers, ..Self::default() }
    }

    /// True when the batch brought this item already.
    pub(super) fn has(&self, own: &Key) -> bool {
        self.messages.iter().any(|(key, _)| key == own)
    }

    /// Begins an attention with the item. It is independent of earlier ones, but for one that goes on where another is full.
    pub(super) fn begin(
        &mut self,
        work: &mut Work,
        known: &mut Known,
        item: &Item,
        beginning: Beginning,
    ) -> Result<AttentionId, Error> {
        let number =
            self.numbers.pop().ok_or_else(|| Error::internal("NO_NUMBER", "too few numbers were drawn"))?;
        let id = AttentionId::new();
        let opening = Opening {
            attention: id,
            number,
            channel: Channel::Whatsapp,
            account: AccountKey::new(&item.account),
            contact: beginning.contact,
            linked: beginning.follows.map(Follows::attention),
        };
        let head = Head {
            customer_address: item.address(),
            subject: String::new(),
            lineage: beginning.lineage,
            participants: Vec::new(),
        };
        let shown = content::shown(&item.whatsapp);
        let (command, message) = receive(item, &shown, &beginning.campaign, Some(opening));
        let because = beginning.follows.map_or("", Follows::word);
        if let Some(Follows::Unanswered(earlier)) = beginning.follows {
            self.answered_late.push((earlier, id));
        }
        work.begin(command, head, &item.traceparent, because)?;
        known.lineages.insert(beginning.lineage, Lineage { open: Some(id), newest: id });
        self.store(work, known, item, shown, id, message)?;
        Ok(id)
    }

    /// Appends the item to an open attention.
    pub(super) fn append(
        &mut self,
        work: &mut Work,
        known: &Known,
        item: &Item,
        attention: AttentionId,
    ) -> Result<(), Error> {
        let before = work.state(attention, None).ok_or_else(not_held)?;
        let shown = content::shown(&item.whatsapp);
        let (command, message) = receive(item, &shown, &before.campaign, None);
        work.decide_at(attention, None, command, &Actor::System, &item.traceparent)?;
        if before.phase == Phase::Waiting {
            self.keep(work, known, attention)?;
        }
        self.store(work, known, item, shown, attention, message)
    }

    /// What a dialer sent goes into the thread, as the first message of the interaction that its answer began.
    fn keep(&mut self, work: &Work, known: &Known, attention: AttentionId) -> Result<(), Error> {
        let state = work.state(attention, None).ok_or_else(not_held)?;
        let interaction = state.interaction.map(|one| one.id).ok_or_else(not_held)?;
        let Some(sent) = known.dialled.get(&attention) else {
            return Err(Error::corrupt(
                "ROW_CONTRADICTS_ITSELF",
                "an attention waits for no row of a dialer",
            ));
        };
        let Kept { mut message, keys, change } = Kept::of(sent, interaction);
        let named = Key::wamid(&sent.account, &sent.wamid);
        let waiting = named.as_ref().and_then(|key| known.waiting.get(&key.bytes()));
        for one in waiting.into_iter().flatten() {
            alter_message(&mut message, &one.item, one.number);
            self.settled.push(one.ledger);
        }
        self.keys.extend(keys);
        self.changes.push(change);
        self.messages.push((named.unwrap_or(Key::Send(sent.send)), message));
        Ok(())
    }

    /// The customer wrote where we had written first.
    pub(super) fn note_answer(&mut self, work: &Work, attention: AttentionId) {
        let live = work.state(attention, None).and_then(|state| state.interaction);
        let answers = live.is_some_and(|live| live.direction == Direction::Outbound);
        if answers && !self.answered.contains(&attention.uuid()) {
            self.answered.push(attention.uuid());
        }
    }

    fn store(
        &mut self,
        work: &mut Work,
        known: &Known,
        item: &Item,
        mut shown: Shown,
        attention: AttentionId,
        message: MessageId,
    ) -> Result<(), Error> {
        let state = work.state(attention, None).ok_or_else(not_held)?;
        let interaction = state.interaction.as_ref().map(|one| one.id).ok_or_else(not_held)?;
        for waiting in known.waiting.get(&item.own.bytes()).into_iter().flatten() {
            alter::alter(&mut shown, true, &waiting.item, waiting.number);
            self.settled.push(waiting.ledger);
        }
        // Those that came earlier in the same batch wait as well.
        for one in &mut self.alterations {
            if one.target == item.own && one.fate == Fate::Waits {
                alter::alter(&mut shown, true, &one.item, one.number);
                one.fate = Fate::Applied;
            }
        }
        shown.item.reply_to_message_id = self.replied_to(known, item);
        let preview = shown.preview();
        work.show(interaction, LastMessage { preview, at: item.received_at, sender_verified: Some(true) });
        let row = |key: Key| KeyRow { key, message, interaction, attention };
        self.keys.push(row(Key::External(item.ledger)));
        self.keys.push(row(item.own.clone()));
        let place = (attention, interaction, state.messages);
        self.messages.push((item.own.clone(), new_message(item, shown, place, message)));
        Ok(())
    }

    /// The message that an item answers, when it is known.
    fn replied_to(&self, known: &Known, item: &Item) -> String {
        let context = item.whatsapp.context.as_ref();
        let Some(key) = context.and_then(|context| Key::wamid(&item.account, &context.wamid)) else {
            return String::new();
        };
        let here = self.messages.iter().find(|(own, _)| *own == key).map(|(_, message)| message.message_id);
        let stored = known.targets.get(&key.bytes()).map(|target| target.message);
        here.or(stored).map(|id| id.to_string()).unwrap_or_default()
    }

    /// Applies an alteration to a message of the same batch; answers false when the batch has none such.
    pub(super) fn alter(&mut self, work: &mut Work, item: &Item, target: &Key) -> bool {
        let Some((_, message)) = self.messages.iter_mut().find(|(own, _)| own == target) else {
            return false;
        };
        let (shown, effect) = alter_message(message, &item.whatsapp, item.number);
        let fate = match effect {
            alter::Effect::Changed(_) | alter::Effect::Older => Fate::Applied,
            alter::Effect::Refused => Fate::Gone,
        };
        let newest = work
            .state(AttentionId(message.attention_id), None)
            .is_some_and(|state| state.messages == message.position);
        if newest {
            let last = LastMessage { preview: shown, at: message.occurred_at, sender_verified: None };
            work.show(InteractionId(message.interaction_id), last);
        }
        self.alterations.push(item.alteration(target, fate));
        true
    }

    /// Notes a changed item; of one that changes twice the last state counts.
    pub(super) fn changed(&mut self, item: StoredItem) {
        self.changed.retain(|known| known.message != item.message);
        self.changed.push(item);
    }

    /// Marks the interaction, which this item began, when it began out of hours.
    pub(super) fn mark_out_of_hours(
        &mut self,
        work: &mut Work,
        known: &Known,
        item: &Item,
        attention: AttentionId,
    ) {
        let Some(interaction) = work.state(attention, None).and_then(|state| state.interaction) else {
            return;
        };
        let closing = known.closings.get(&interaction.campaign);
        let closed = closing.is_some_and(|closing| !closing.is_open(item.received_at));
        if closed {
            work.mark_out_of_hours(interaction.id);
            self.out_of_hours.push(interaction.id.uuid());
            if closing.is_some_and(directory::Closing::replies) {
                self.due.push(Due {
                    attention: attention.uuid(),
                    interaction: interaction.id.uuid(),
                    address: item.address(),
                });
            }
        }
    }

    /// Writes everything.
    pub(super) async fn write(
        self,
        tx: &mut PgConnection,
        subjects: &Subjects,
        work: &mut Work,
    ) -> Result<(), Error> {
        work.write(tx, subjects).await?;
        let messages: Vec<NewMessage> = self.messages.into_iter().map(|(_, message)| message).collect();
        store::message::insert_messages(tx, &messages).await?;
        store::message::insert_keys(tx, &self.keys).await?;
        delivery::set_delivery(tx, &self.changes).await?;
        dialer::answered(tx, &self.answered).await?;
        dialer::answered_late(tx, &self.answered_late).await?;
        dialer::preferred(tx, self.preferences).await?;
        chat::write_items(tx, &self.changed).await?;
        for one in &self.alterations {
            chat::note_alteration(tx, one).await?;
        }
        if !self.settled.is_empty() {
            chat::settle_waiting(tx, &self.settled, Fate::Applied).await?;
        }
        plan::mark_out_of_hours(tx, &self.out_of_hours, &self.due).await?;
        if !self.refused.is_empty() {
            plan::leave_inbox(tx, &self.refused).await?;
        }
        Ok(())
    }
}

/// Applies a reaction, edit or revoke of the customer's to a message that is not stored yet; answers what a list shows of it then.
fn alter_message(message: &mut NewMessage, by: &InboundWhatsApp, number: i64) -> (String, alter::Effect) {
    let mut shown = Shown {
        text: std::mem::take(&mut message.text_body),
        files: std::mem::take(&mut message.attachments),
        item: message.whatsapp.take().unwrap_or_default(),
    };
    let effect = alter::alter(&mut shown, message.direction == "inbound", by, number);
    let preview = shown.preview();
    (message.text_body, message.attachments) = (shown.text, shown.files);
    message.whatsapp = Some(shown.item);
    (preview, effect)
}

fn receive(
    item: &Item,
    shown: &Shown,
    campaign: &CampaignKey,
    opening: Option<Opening>,
) -> (Command, MessageId) {
    let message = MessageId::new();
    let command = Command::ReceiveMessage {
        message: MessageSummary {
            id: message,
            occurred_at: item.received_at,
            attachments: i32::try_from(shown.files.len()).unwrap_or(i32::MAX),
            kind: MessageKind::Inbound { class: None, sender_verified: true },
        },
        waiting_since: item.received_at,
        interaction: InteractionId::new(),
        campaign: campaign.clone(),
        opening,
    };
    (command, message)
}

fn new_message(
    item: &Item,
    shown: Shown,
    (attention, interaction, position): (AttentionId, InteractionId, i64),
    message: MessageId,
) -> NewMessage {
    let system = item.sort == Sort::Notice;
    NewMessage {
        message_id: message.uuid(),
        attention_id: attention.uuid(),
        interaction_id: interaction.uuid(),
        position,
        direction: "inbound",
        from_address: item.address(),
        from_name: if system {
            String::new()
        } else {
            item.customer.profile_name.chars().take(200).collect()
        },
        to_addresses: Vec::new(),
        cc_addresses: Vec::new(),
        bcc_addresses: Vec::new(),
        reply_to_addresses: Vec::new(),
        subject: String::new(),
        text_body: shown.text,
        html_body: String::new(),
        attachments: shown.files,
        occurred_at: item.received_at,
        internet_message_id: String::new(),
        reference_ids: Vec::new(),
        agent_key: None,
        mail_class: "",
        sender_verified: true,
        delivery_state: None,
        conversation_key: Some(item.conversation),
        conversation_number: Some(item.number),
        wamid: item.whatsapp.wamid.clone(),
        whatsapp: Some(shown.item),
    }
}
