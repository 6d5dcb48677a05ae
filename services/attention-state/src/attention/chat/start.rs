//! `StartAttention` by WhatsApp: an agent's approved template begins an attention. The customer's answer is found by who he is, since
//! the channel names a conversation only once he has written.

use hilo_kit::error::Error;
use hilo_kit::{ids, telemetry};
use hilo_proto::inbound::v1::WhatsAppIdentity;
use sqlx::PgConnection;
use uuid::Uuid;

use super::compose::Composed;
use super::outgoing::{self, Outgoing};
use super::{Written, composed, sender, still_his, window};
use crate::attention::commands::not_found;
use crate::attention::domain::{
    AccountKey, Attention, AttentionId, CampaignKey, Channel, Command, ContactId, InteractionId, MessageId,
    Opening, Phase, UserKey,
};
use crate::attention::envelope::Post;
use crate::attention::store::{self, Head, LastMessage, Wait};
use crate::attention::threads;
use crate::attention::work::{Actor, Work};
use crate::contact::whatsapp as customers;
use crate::conversation::attach::{self, Wanted};
use crate::dialer::{self, Taking};

/// What an agent begins with.
#[derive(Clone, Debug)]
pub(crate) struct First {
    pub agent: UserKey,
    pub campaign: CampaignKey,
    pub account: AccountKey,
    pub whom: Whom,
    /// A template.
    pub written: Written,
    /// The file of its header, an upload of the agent.
    pub files: Vec<Wanted>,
}

/// Whom he writes to.
#[derive(Clone, Debug)]
pub(crate) enum Whom {
    /// Number as `+` and digits; its contact is found or made.
    Phone(String),
    /// A contact that the caller may see.
    Contact(ContactId),
}

/// Commits the template and everything that begins with it, or takes over what a dialer began with this customer; answers the attention after it and the id of the message.
///
/// # Errors
/// `LIVE_ATTENTION` while one with this customer runs on this number, `NO_RECIPIENT`, `TEMPLATE_NOT_APPROVED`, `TEMPLATE_VARIABLES`,
/// `MEDIA_TOO_LARGE`, `MEDIA_TYPE_REFUSED`, `ATTACHMENT_NOT_FOUND`, `UPLOAD_INCOMPLETE`, `ACCOUNT_UNKNOWN`; database errors.
pub(crate) async fn start(
    tx: &mut PgConnection,
    post: &Post,
    first: &First,
) -> Result<(Attention, MessageId), Error> {
    let account = first.account.as_str();
    let (attention, interaction, id) = (AttentionId::new(), InteractionId::new(), MessageId::new());
    let files = attach::send(tx, &first.agent, attention.uuid(), interaction.uuid(), &first.files).await?;
    let composed = composed(tx, account, &first.written, files).await?;
    let (contact, to) = customer(tx, &first.whom).await?;
    let live = threads::live_chats(tx, &[account.to_owned()], &[contact.uuid()]).await?;
    if let Some(runs) = live.iter().find(|one| one.takes(account, contact, &to)) {
        let mut work = Work::lock_current(tx, &[runs.attention.uuid()], Wait::Block).await?;
        let state = work.state(runs.attention, None).ok_or_else(not_found)?;
        if state.phase == Phase::Waiting {
            let whole = Whole { id, interaction, to, composed };
            return taken_over(tx, post, &mut work, first, runs.attention, whole).await;
        }
        tracing::debug!(attention = %runs.attention.uuid(), "a conversation with this customer runs already");
        let text = "a conversation with this customer runs on this number already; go on with that one";
        return Err(Error::rejected("LIVE_ATTENTION", text));
    }
    let from = sender(tx, account).await?;
    let number = store::draw_numbers(tx, 1).await?.pop();
    let number = number.ok_or_else(|| Error::internal("NO_NUMBER", "too few numbers were drawn"))?;
    let mut work = Work::lock(tx, &[], Wait::Block).await?;
    let opening = Opening {
        attention,
        number,
        channel: Channel::Whatsapp,
        account: first.account.clone(),
        contact,
        linked: None,
    };
    let message = Outgoing::summary(id, composed.files.len(), work.now());
    let command = Command::Start {
        opening,
        campaign: first.campaign.clone(),
        interaction,
        agent: first.agent.clone(),
        message,
    };
    let head = Head {
        customer_address: outgoing::address(&to),
        subject: String::new(),
        lineage: lineage(account, contact),
        participants: Vec::new(),
    };
    let traceparent = telemetry::current_traceparent().unwrap_or_default();
    work.begin_by(command, head, &traceparent, "", &Actor::User(first.agent.clone()))?;
    let last = LastMessage { preview: composed.preview(), at: work.now(), sender_verified: None };
    work.show(interaction, last);
    window::take(tx, &mut work, attention, &to).await?;
    work.write(tx, &post.subjects).await?;
    let after = work.state(attention, Some(interaction)).ok_or_else(not_found)?;
    let agent = Some(first.agent.clone());
    let outgoing = Outgoing { id, interaction, agent, from, to, composed, reply_to: None };
    outgoing::commit(tx, post, &work, &after, &traceparent, &outgoing).await?;
    Ok((after, id))
}

/// What is sent, to whom.
struct Whole {
    id: MessageId,
    interaction: InteractionId,
    to: WhatsAppIdentity,
    composed: Composed,
}

/// A dialer has written to this customer, who has not answered: that attention becomes the agent's.
async fn taken_over(
    tx: &mut PgConnection,
    post: &Post,
    work: &mut Work,
    first: &First,
    attention: AttentionId,
    whole: Whole,
) -> Result<(Attention, MessageId), Error> {
    let Whole { id, interaction, mut to, composed } = whole;
    let traceparent = telemetry::current_traceparent().unwrap_or_default();
    let taking = Taking {
        interaction,
        campaign: first.campaign.clone(),
        agent: first.agent.clone(),
        message: Outgoing::summary(id, composed.files.len(), work.now()),
    };
    let (after, kept) = dialer::take_over(tx, work, attention, taking, &traceparent).await?;
    if matches!(first.whom, Whom::Contact(_)) {
        // Whoever names only the person goes on with the number that the dialer wrote to.
        let dialled = kept.first().and_then(|one| one.message.whatsapp.as_ref()?.customer.clone());
        to = still_his(tx, after.contact, dialled).await?.unwrap_or(to);
    }
    let from = sender(tx, first.account.as_str()).await?;
    let last = LastMessage { preview: composed.preview(), at: work.now(), sender_verified: None };
    work.show(interaction, last);
    window::take(tx, work, attention, &to).await?;
    work.write(tx, &post.subjects).await?;
    for one in kept {
        one.write(tx).await?;
    }
    let agent = Some(first.agent.clone());
    let outgoing = Outgoing { id, interaction, agent, from, to, composed, reply_to: None };
    // As written: with the window, and with what it takes of his capacity.
    let after = work.state(attention, Some(interaction)).ok_or_else(not_found)?;
    outgoing::commit(tx, post, work, &after, &traceparent, &outgoing).await?;
    Ok((after, id))
}

/// The contact and how he is reached. Whoever writes as him, or to him first, waits until this transaction ends.
async fn customer(tx: &mut PgConnection, whom: &Whom) -> Result<(ContactId, WhatsAppIdentity), Error> {
    let nobody = || Error::rejected("NO_RECIPIENT", "the contact has no number and no identity of WhatsApp");
    match whom {
        Whom::Phone(phone) => {
            let who = WhatsAppIdentity { phone: phone.clone(), ..WhatsAppIdentity::default() };
            let mut known = customers::locked(tx, &who).await?;
            Ok((known.settle(tx, &who).await?, who))
        }
        Whom::Contact(contact) => {
            let who = customers::reached_by(tx, *contact).await?.ok_or_else(nobody)?;
            let known = customers::locked(tx, &who).await?;
            let found = known.find(&who).filter(|found| found == contact);
            let changed =
                || Error::conflict("CONTACT_CHANGED", "the contact changed at this moment; try again");
            Ok((found.ok_or_else(changed)?, who))
        }
    }
}

/// What we begin with a customer on an account is one lineage, of which the database lets at most one be live.
pub(crate) fn lineage(account: &str, contact: ContactId) -> Uuid {
    ids::derived("hilo.dialled", [contact.uuid().as_bytes().as_slice(), account.as_bytes()])
}
