//! What a batch writes: attentions and interactions through `Work`, messages, keys, links.

use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use hilo_proto::inbound::v1::{DmarcResult, EmailAddress};
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::mail::Mail;
use super::super::threading::is_report;
use super::{INBOUND_CONSUMER, Known, Lineage, Thread, store, threads};
use crate::attention::domain::{
    AccountKey, Attention, AttentionId, CampaignKey, Channel, Command, ContactId, InteractionId, MessageId,
    MessageKind, MessageSummary, Opening, Rejection,
};
use crate::attention::store::message::{Key, KeyRow, NewMessage, StoredAddress, StoredAttachment};
use crate::attention::store::{Head, LastMessage};
use crate::attention::work::{Actor, Work};

/// References that a mail without a known thread waits for.
const AWAITED: usize = 8;
/// Addresses kept of one header; a mail may name thousands.
const MAX_ADDRESSES: usize = 200;
/// What lists show of a message.
const PREVIEW: usize = 120;

/// How an attention begins.
#[derive(Clone, Debug)]
pub(super) struct Beginning {
    campaign: CampaignKey,
    linked: Option<AttentionId>,
    /// The closed attention whose lineage and participants it goes on with.
    continues: Option<AttentionId>,
    verified: bool,
    /// Reason that its first event gives.
    because: &'static str,
}

impl Beginning {
    /// Claims nothing that could be looked at.
    pub(super) fn new(campaign: &CampaignKey, verified: bool) -> Self {
        Self { campaign: campaign.clone(), linked: None, continues: None, verified, because: "" }
    }

    /// Claims a thread its sender has no right to.
    pub(super) fn unverified(campaign: &CampaignKey, claims: AttentionId) -> Self {
        Self {
            campaign: campaign.clone(),
            linked: Some(claims),
            continues: None,
            verified: false,
            because: "",
        }
    }

    /// Answers a closed attention.
    pub(super) fn successor(
        campaign: &CampaignKey,
        newest: AttentionId,
        answered: AttentionId,
        verified: bool,
    ) -> Self {
        Self {
            campaign: campaign.clone(),
            linked: Some(newest),
            continues: Some(answered),
            verified,
            because: "",
        }
    }

    /// Gives a reason.
    pub(super) fn because(self, because: &'static str) -> Self {
        Self { because, ..self }
    }
}

/// Rows of the batch beside those that `Work` writes.
#[derive(Debug, Default)]
pub(super) struct Written {
    numbers: Vec<i64>,
    messages: Vec<NewMessage>,
    keys: Vec<KeyRow>,
    awaited: Vec<(Vec<u8>, AttentionId)>,
    /// Interactions of reports that were left out, once for each.
    left_out: Vec<InteractionId>,
    /// Message-IDs that came, with the attentions that waited for them.
    pub(super) parents_came: Vec<(Vec<u8>, AttentionId)>,
    /// Interactions begun out of hours, and automatic replies that may follow.
    pub(super) out_of_hours: Vec<Uuid>,
    pub(super) due: Vec<super::closed::Due>,
    /// Deliveries that must leave the inbox again, because they end as dead letters.
    pub(super) refused: Vec<Uuid>,
}

impl Written {
    /// `numbers` are human numbers, enough for every mail; the earliest mail gets the least.
    pub(super) fn new(mut numbers: Vec<i64>) -> Self {
        numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
        Self { numbers, ..Self::default() }
    }

    /// Begins an attention with the mail.
    pub(super) fn begin(
        &mut self,
        work: &mut Work,
        known: &mut Known,
        mail: &Mail,
        beginning: Beginning,
    ) -> Result<AttentionId, Error> {
        let contact = known.contacts.get(mail.identity()).copied();
        let contact = contact.ok_or_else(|| Error::internal("NO_CONTACT", "the contact was not resolved"))?;
        let number =
            self.numbers.pop().ok_or_else(|| Error::internal("NO_NUMBER", "too few numbers were drawn"))?;
        let id = AttentionId::new();
        let head = head(work, mail, &beginning, id);
        let lineage = head.lineage;
        let opening = opening(mail, &beginning, id, number, contact);
        let (command, message) = receive(mail, &beginning.campaign, beginning.verified, Some(opening));
        work.begin(command, head, &mail.traceparent, beginning.because)?;
        known.threads.insert(id, Thread { account: mail.account.clone(), lineage });
        known.lineages.insert(lineage, Lineage { open: Some(id), newest: id });
        self.store(work, mail, id, message, beginning.verified)?;
        Ok(id)
    }

    /// Appends the mail to an open attention, in a new interaction when its last one ended.
    pub(super) fn append(
        &mut self,
        work: &mut Work,
        mail: &Mail,
        attention: AttentionId,
        verified: bool,
    ) -> Result<(), Error> {
        // An answer goes where the attention is, not where its account's mail goes by now.
        let campaign = work.state(attention, None).map(|state| state.campaign).ok_or_else(not_held)?;
        let (command, message) = receive(mail, &campaign, verified, None);
        work.decide_at(attention, None, command, &Actor::System, &mail.traceparent)?;
        self.store(work, mail, attention, message, verified)
    }

    /// A report beyond the bound: known as taken, counted, and not appended. Its raw bytes stay in the ledger.
    pub(super) fn leave_out(
        &mut self,
        work: &Work,
        mail: &Mail,
        attention: AttentionId,
    ) -> Result<(), Error> {
        let interaction = work.state(attention, None).and_then(|state| state.interaction);
        let interaction = interaction.ok_or_else(not_held)?.id;
        // The ledger's id is known for ever, as of every mail; no message stands behind it.
        let message = MessageId::new();
        self.keys.push(KeyRow { key: Key::External(mail.ledger), message, interaction, attention });
        self.left_out.push(interaction);
        crate::metrics::report_left_out();
        Ok(())
    }

    /// Links an attention to the one that turned out to be its parent.
    pub(super) fn link(
        &mut self,
        work: &mut Work,
        child: AttentionId,
        parent: AttentionId,
    ) -> Result<(), Rejection> {
        work.decide_at(child, None, Command::Link { to: parent }, &Actor::System, "").map(drop)
    }

    /// Notes the nearest references of a mail that nobody knows.
    pub(super) fn awaits(&mut self, known: &mut Known, mail: &Mail, attention: AttentionId) {
        for key in mail.references.iter().take(AWAITED).map(Key::bytes) {
            known.awaiting.entry(key.clone()).or_default().push(attention);
            self.awaited.push((key, attention));
        }
    }

    fn store(
        &mut self,
        work: &mut Work,
        mail: &Mail,
        attention: AttentionId,
        message: MessageId,
        verified: bool,
    ) -> Result<(), Error> {
        let state = work.state(attention, None).ok_or_else(not_held)?;
        let interaction = state.interaction.as_ref().map(|interaction| interaction.id);
        let interaction = interaction.ok_or_else(not_held)?;
        work.show(
            interaction,
            LastMessage {
                preview: preview(&mail.email.text),
                at: mail.received_at,
                sender_verified: Some(verified),
            },
        );
        let row = |key: Key| KeyRow { key, message, interaction, attention };
        self.keys.push(row(Key::External(mail.ledger)));
        self.keys.extend(mail.own.clone().map(row));
        self.messages.push(new_message(mail, &state, interaction, message, verified));
        Ok(())
    }

    /// Writes everything.
    pub(super) async fn write(
        self,
        tx: &mut PgConnection,
        subjects: &Subjects,
        work: &mut Work,
    ) -> Result<(), Error> {
        work.write(tx, subjects).await?;
        store::message::insert_messages(tx, &self.messages).await?;
        store::message::insert_keys(tx, &self.keys).await?;
        if !self.awaited.is_empty() {
            threads::await_parents(tx, &self.awaited).await?;
        }
        if !self.parents_came.is_empty() {
            threads::parents_came(tx, &self.parents_came).await?;
        }
        if !self.left_out.is_empty() {
            store::message::leave_out_reports(tx, &self.left_out).await?;
        }
        super::closed::write(tx, &self.out_of_hours, &self.due).await?;
        if !self.refused.is_empty() {
            leave_inbox(tx, &self.refused).await?;
        }
        Ok(())
    }
}

fn not_held() -> Error {
    Error::internal("NO_STATE", "the attention or its interaction is not held")
}

/// A refused mail becomes a dead letter; in the inbox it would pass for taken when an operator replays it.
pub(in crate::intake) async fn leave_inbox(tx: &mut PgConnection, refused: &[Uuid]) -> Result<(), Error> {
    sqlx::query!("DELETE FROM kit.inbox WHERE consumer = $1 AND id = ANY($2)", INBOUND_CONSUMER, refused)
        .execute(tx)
        .await?;
    Ok(())
}

fn head(work: &Work, mail: &Mail, beginning: &Beginning, id: AttentionId) -> Head {
    let continued = beginning.continues.and_then(|answered| work.head(answered));
    let mut participants = continued.map(|head| head.participants.clone()).unwrap_or_default();
    // A machine's report never makes its author somebody who may join.
    let joins = !mail.from.is_empty() && !is_report(mail.class) && continued.is_none();
    if joins {
        participants.push(mail.from.clone());
    }
    Head {
        customer_address: mail.identity().to_owned(),
        subject: mail.email.subject.clone(),
        lineage: continued.map_or(id.uuid(), |head| head.lineage),
        participants,
    }
}

fn opening(mail: &Mail, beginning: &Beginning, id: AttentionId, number: i64, contact: ContactId) -> Opening {
    Opening {
        attention: id,
        number,
        channel: Channel::Email,
        account: AccountKey::new(&mail.account),
        contact,
        linked: beginning.linked,
    }
}

fn receive(
    mail: &Mail,
    campaign: &CampaignKey,
    verified: bool,
    opening: Option<Opening>,
) -> (Command, MessageId) {
    let message = MessageId::new();
    let command = Command::ReceiveMessage {
        message: MessageSummary {
            id: message,
            occurred_at: mail.received_at,
            attachments: i32::try_from(mail.email.attachments.len()).unwrap_or(i32::MAX),
            kind: MessageKind::Inbound { class: Some(mail.class), sender_verified: verified },
        },
        waiting_since: mail.received_at,
        interaction: InteractionId::new(),
        campaign: campaign.clone(),
        opening,
    };
    (command, message)
}

fn new_message(
    mail: &Mail,
    state: &Attention,
    interaction: InteractionId,
    message: MessageId,
    verified: bool,
) -> NewMessage {
    let email = &mail.email;
    let from = email.from.clone().unwrap_or_default();
    let evidence = email.evidence.as_ref();
    // Nearest first in the evidence, oldest first in a References header.
    let references = evidence.map(|e| e.references.iter().rev().cloned().collect()).unwrap_or_default();
    NewMessage {
        message_id: message.uuid(),
        attention_id: state.id.uuid(),
        interaction_id: interaction.uuid(),
        position: state.messages,
        direction: "inbound",
        from_address: from.address,
        from_name: from.name,
        to_addresses: addresses(&email.to),
        cc_addresses: addresses(&email.cc),
        bcc_addresses: Vec::new(),
        reply_to_addresses: if may_redirect(mail, verified) {
            addresses(&email.reply_to)
        } else {
            Vec::new()
        },
        subject: email.subject.clone(),
        text_body: email.text.clone(),
        html_body: email.html.clone(),
        attachments: email.attachments.iter().cloned().map(StoredAttachment::from).collect(),
        occurred_at: mail.received_at,
        internet_message_id: email.message_id.clone(),
        reference_ids: references,
        agent_key: None,
        mail_class: mail.class.word(),
        sender_verified: verified,
        delivery_state: None,
        conversation_key: Some(mail.conversation),
        conversation_number: Some(mail.number),
        whatsapp: None,
        wamid: String::new(),
    }
}

/// Reply-To may send our answer elsewhere, so it counts only of an authenticated sender; the account's switch that lets
/// unauthenticated mail join its thread does not extend to it.
fn may_redirect(mail: &Mail, verified: bool) -> bool {
    verified && mail.dmarc == DmarcResult::Pass
}

fn addresses(from: &[EmailAddress]) -> Vec<StoredAddress> {
    from.iter().take(MAX_ADDRESSES).cloned().map(StoredAddress::from).collect()
}

/// The first words of a text in one line.
pub(crate) fn preview(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() + 1 > PREVIEW * 2 {
            line.push(' ');
            line.extend(word.chars().take(PREVIEW));
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line.chars().take(PREVIEW).collect()
}
