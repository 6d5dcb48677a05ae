//! `StartAttention`: an agent's first message begins an attention: contact, attention, interaction, message, Message-ID
//! with the keyed token and row of OUTBOUND in one transaction. The customer's answer joins it like any other.

use hilo_kit::error::Error;
use hilo_kit::{telemetry, thread_token};
use sqlx::PgConnection;
use uuid::Uuid;

use super::commands::not_found;
use super::domain::{
    AccountKey, Attention, AttentionId, CampaignKey, Channel, Command, ContactId, InteractionId, MessageId,
    Opening, UserKey,
};
use super::envelope::Post;
use super::outgoing::{self, Outgoing};
use super::quote::Original;
use super::reply::{self, Mode, Reply};
use super::store::answered::Answered;
use super::store::message::StoredAddress;
use super::store::{self, Head, LastMessage, Wait};
use super::work::{Actor, Work};
use crate::contact::{self, EmailIdentity};
use crate::conversation::attach::{self, Wanted};
use crate::directory::domain::model::Campaign;
use crate::intake::{self, normal, preview};

/// What an agent begins with.
#[derive(Clone, Debug)]
pub(crate) struct First {
    pub agent: UserKey,
    pub account: AccountKey,
    /// Address and name of the account.
    pub from: StoredAddress,
    /// At least one; the first is the customer.
    pub to: Vec<StoredAddress>,
    pub cc: Vec<StoredAddress>,
    pub bcc: Vec<StoredAddress>,
    pub subject: String,
    pub text: String,
    /// Sanitised.
    pub html: String,
    /// Uploads of the agent; there is no message yet whose files could be named.
    pub files: Vec<Wanted>,
}

/// Commits the message and everything that begins with it; answers the attention after it and the id of the message.
///
/// # Errors
/// `NO_RECIPIENT` when every recipient is the account itself, `ATTACHMENT_NOT_FOUND`, `UPLOAD_INCOMPLETE`,
/// `MESSAGE_TOO_LARGE`, `OBJECT_STORE_UNAVAILABLE`; database errors.
pub(crate) async fn start(
    tx: &mut PgConnection,
    post: &Post,
    campaign: &Campaign,
    first: &First,
) -> Result<(Attention, MessageId), Error> {
    let (attention, interaction, id) = (AttentionId::new(), InteractionId::new(), MessageId::new());
    let mail = compose(&post.thread_key, campaign, attention, first);
    let customer =
        mail.to.first().cloned().ok_or_else(|| {
            Error::rejected("NO_RECIPIENT", "nobody but the account itself would receive it")
        })?;
    let mut files =
        attach::send(tx, &first.agent, attention.uuid(), interaction.uuid(), &first.files).await?;
    outgoing::place(&mut files, &mail.html);
    outgoing::check_files(&files)?;
    let contact = resolve(tx, &customer).await?;
    let number = store::draw_numbers(tx, 1).await?.pop();
    let number = number.ok_or_else(|| Error::internal("NO_NUMBER", "too few numbers were drawn"))?;
    let mut work = Work::lock(tx, &[], Wait::Block).await?;
    let command = Command::Start {
        opening: Opening {
            attention,
            number,
            channel: Channel::Email,
            account: first.account.clone(),
            contact,
            linked: None,
        },
        campaign: CampaignKey::new(campaign.key.as_str()),
        interaction,
        agent: first.agent.clone(),
        message: Outgoing::summary(id, files.len(), &work),
    };
    let head = Head {
        customer_address: normal(&customer.address),
        subject: mail.subject.clone(),
        lineage: attention.uuid(),
        participants: mail.recipients().map(|one| normal(&one.address)).collect(),
    };
    let traceparent = telemetry::current_traceparent().unwrap_or_default();
    work.begin_by(command, head, &traceparent, "", &Actor::User(first.agent.clone()))?;
    let last = LastMessage { preview: preview(&first.text), at: work.now(), sender_verified: None };
    work.show(interaction, last);
    work.write(tx, &post.subjects).await?;
    let after = work.state(attention, Some(interaction)).ok_or_else(not_found)?;
    let outgoing = Outgoing { id, interaction, agent: Some(first.agent.clone()), mail, files };
    outgoing::commit(tx, post, &work, &after, &traceparent, outgoing).await?;
    Ok((after, id))
}

/// A new mail is a reply to nothing: its own subject, no references.
fn compose(thread_key: &[u8], campaign: &Campaign, attention: AttentionId, first: &First) -> Reply {
    // It answers nothing.
    let answered = Answered {
        from: first.from.clone(),
        to: Vec::new(),
        cc: Vec::new(),
        reply_to: Vec::new(),
        outbound: false,
        answerable: true,
        purged: false,
        original: Original::default(),
        internet_message_id: String::new(),
        reference_ids: Vec::new(),
    };
    reply::compose(reply::Parts {
        account: first.from.clone(),
        answered,
        mode: Mode::Reply,
        to: first.to.clone(),
        cc: first.cc.clone(),
        bcc: first.bcc.clone(),
        subject: &first.subject,
        text: &first.text,
        html: &first.html,
        quote: false,
        signature: &campaign.signature,
        token: &thread_token::make(thread_key, attention.uuid()),
        unique: Uuid::now_v7(),
    })
}

async fn resolve(tx: &mut PgConnection, customer: &StoredAddress) -> Result<ContactId, Error> {
    let address = normal(&customer.address);
    intake::lock_address(tx, &address).await?;
    let wanted = [EmailIdentity { address: address.clone(), name: customer.name.clone() }];
    let contact = contact::resolve_emails(tx, &wanted).await?.get(&address).copied();
    contact.ok_or_else(|| Error::internal("NO_CONTACT", "the contact was not resolved"))
}
