//! One row of a dialer in one transaction: either everything of it is committed (attention, message, row of OUTBOUND, state of the row) or
//! nothing is, so a crash anywhere doubles nothing and skips nothing.

use hilo_kit::error::{Class, Error};
use hilo_kit::outbox::append;
use hilo_kit::telemetry;
use hilo_proto::attention::v1::Template;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use hilo_proto::outbound::v1::OutboundWhatsApp;
use sqlx::PgConnection;
use uuid::Uuid;

use super::domain::columns;
use super::domain::life::{self, Ask};
use super::preferences;
use super::store::dialers::{self, Dialer};
use super::store::opt_outs;
use super::store::rows::{self, Pending};
use super::store::sends::{self, Sending};
use crate::attention::chat::compose::{self, Composed};
use crate::attention::chat::outgoing::{self, Outgoing};
use crate::attention::chat::{sender, start};
use crate::attention::domain::{
    AccountKey, AttentionId, CampaignKey, Channel, Command, ContactId, MessageId, Opening,
};
use crate::attention::envelope::Post;
use crate::attention::store::{self, Head, Wait};
use crate::attention::threads;
use crate::attention::work::Work;
use crate::contact::whatsapp as customers;
use crate::directory;
use crate::templates;

/// Most rows of a dialer that the channel has not reported on; beyond it the dialer waits for the channel.
const AHEAD: i64 = 200;
/// Seconds until a dialer is looked at again that waits for the channel, and for its hours.
const WAIT_FOR_CHANNEL: f64 = 1.0;
const WAIT_FOR_HOURS: f64 = 20.0;

/// What a look at a dialer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A row was sent.
    Sent,
    /// A row was skipped, for a stable reason.
    Skipped(&'static str),
    /// Nothing is due: another runner is at it, it was held, or its time has not come.
    NotDue,
    /// It waits, for its hours or for the channel.
    Waits,
    /// It holds by itself, for a stable reason.
    Halted(&'static str),
    /// Every row has had its turn.
    Finished,
}

impl Step {
    /// The word of the metric.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Step::Sent => "sent",
            Step::Skipped(_) => "skipped",
            Step::NotDue => "not_due",
            Step::Waits => "waits",
            Step::Halted(_) => "halted",
            Step::Finished => "finished",
        }
    }
}

/// Sends or skips the next row of a dialer when it is due.
///
/// # Errors
/// Database errors; those of a row that cannot be handed over.
pub(crate) async fn step(tx: &mut PgConnection, post: &Post, id: Uuid) -> Result<Step, Error> {
    let Some(dialer) = dialers::claim(tx, id).await? else { return Ok(Step::NotDue) };
    if let Some(why) = unfit(tx, &dialer).await? {
        return halt(tx, &dialer, why).await;
    }
    if !is_open(tx, &dialer).await? {
        dialers::put_off(tx, id, WAIT_FOR_HOURS).await?;
        return Ok(Step::Waits);
    }
    if rows::is_ahead(tx, dialer.id, AHEAD).await? {
        dialers::put_off(tx, id, WAIT_FOR_CHANNEL).await?;
        return Ok(Step::Waits);
    }
    let of = &dialer.settings;
    let template = match templates::approved(tx, &of.account, &of.template_name, &of.template_language).await
    {
        Ok(template) => template,
        Err(error) if error.class() == Class::Rejected => {
            return halt(tx, &dialer, "TEMPLATE_NOT_APPROVED").await;
        }
        Err(error) => return Err(error),
    };
    if columns::columns(&template).ok().as_ref() != Some(&dialer.columns) {
        // It was made anew with other variables: the values would stand in the wrong places.
        return halt(tx, &dialer, "TEMPLATE_CHANGED").await;
    }
    let Some(row) = rows::next(tx, dialer.id).await? else {
        dialers::set_life(tx, dialer.id, life::decide(dialer.life, Ask::Finish)?, "").await?;
        return Ok(Step::Finished);
    };
    one(tx, post, &dialer, &template, &row).await
}

async fn halt(tx: &mut PgConnection, dialer: &Dialer, why: &'static str) -> Result<Step, Error> {
    tracing::warn!(dialer = %dialer.id, why, "a dialer holds by itself");
    dialers::set_life(tx, dialer.id, life::decide(dialer.life, Ask::Halt)?, why).await?;
    Ok(Step::Halted(why))
}

/// Why nothing may be sent, whatever the row.
async fn unfit(tx: &mut PgConnection, dialer: &Dialer) -> Result<Option<&'static str>, Error> {
    let of = &dialer.settings;
    let active = directory::campaign(tx, &of.campaign).await?.is_some_and(|campaign| campaign.active);
    if !active {
        return Ok(Some("CAMPAIGN_INACTIVE"));
    }
    let accounts =
        directory::accounts_of(tx, &of.campaign, directory::Channel::Whatsapp, &of.account).await?;
    Ok(accounts.is_empty().then_some("ACCOUNT_INACTIVE"))
}

/// Whether it is within the dialer's hours, else within its campaign's.
async fn is_open(tx: &mut PgConnection, dialer: &Dialer) -> Result<bool, Error> {
    let now = store::clock(tx).await?;
    if let Some(hours) = &dialer.settings.hours {
        return Ok(directory::open_at(hours, &directory::time_zone(tx).await?, now));
    }
    let closings = directory::closings(tx, std::slice::from_ref(&dialer.settings.campaign)).await?;
    Ok(closings.iter().all(|(_, closing)| closing.is_open(now)))
}

async fn one(
    tx: &mut PgConnection,
    post: &Post,
    dialer: &Dialer,
    template: &Template,
    row: &Pending,
) -> Result<Step, Error> {
    let of = &dialer.settings;
    let to = WhatsAppIdentity { phone: row.number.clone(), ..WhatsAppIdentity::default() };
    // Whoever writes from the number, is put on the list or starts an attention with it now waits for this row, or this row for him.
    let mut known = customers::locked(tx, &to).await?;
    let his = known.find(&to).map(|contact| known.names(contact)).unwrap_or_default();
    if opt_outs::find(tx, &of.campaign, &row.number).await?.is_some()
        || preferences::binds(tx, &of.account, &row.number, his).await?
    {
        return skipped(tx, dialer, row, "OPTED_OUT").await;
    }
    let sent = columns::filled(template, &row.values);
    if templates::check(template, &sent, "values").is_err() {
        return skipped(tx, dialer, row, "VALUES_DO_NOT_FIT").await;
    }
    if let Some(contact) = known.find(&to)
        && threads::live_chats(tx, std::slice::from_ref(&of.account), &[contact.uuid()])
            .await?
            .iter()
            .any(|one| one.takes(&of.account, contact, &to))
    {
        return skipped(tx, dialer, row, "LIVE_ATTENTION").await;
    }
    let contact = known.settle(tx, &to).await?;
    let span = telemetry::span_with_parent(None, tracing::info_span!("dialer.send"));
    let traceparent = span.in_scope(telemetry::current_traceparent).unwrap_or_default();
    let composed = compose::template(template, &sent, None);
    send(tx, post, dialer, row, Whom { contact, to }, composed, &traceparent).await?;
    dialers::advance(tx, dialer.id).await?;
    Ok(Step::Sent)
}

async fn skipped(
    tx: &mut PgConnection,
    dialer: &Dialer,
    row: &Pending,
    why: &'static str,
) -> Result<Step, Error> {
    rows::skip(tx, dialer.id, row.ordinal, why).await?;
    Ok(Step::Skipped(why))
}

struct Whom {
    contact: ContactId,
    to: WhatsAppIdentity,
}

async fn send(
    tx: &mut PgConnection,
    post: &Post,
    dialer: &Dialer,
    row: &Pending,
    whom: Whom,
    composed: Composed,
    traceparent: &str,
) -> Result<(), Error> {
    let of = &dialer.settings;
    let (attention, message) = (AttentionId::new(), MessageId::new());
    let number = store::draw_numbers(tx, 1).await?.pop();
    let number = number.ok_or_else(|| Error::internal("NO_NUMBER", "too few numbers were drawn"))?;
    let mut work = Work::lock(tx, &[], Wait::Block).await?;
    let command = Command::Dial {
        opening: Opening {
            attention,
            number,
            channel: Channel::Whatsapp,
            account: AccountKey::new(&of.account),
            contact: whom.contact,
            linked: None,
        },
        campaign: CampaignKey::new(&of.campaign),
        message: Outgoing::summary(message, composed.files.len(), work.now()),
    };
    let head = Head {
        customer_address: row.number.clone(),
        subject: String::new(),
        lineage: start::lineage(&of.account, whom.contact),
        participants: Vec::new(),
    };
    work.begin(command, head, traceparent, "")?;
    work.write(tx, &post.subjects).await?;
    let after = work.state(attention, None);
    let after = after.ok_or_else(|| Error::internal("NO_STATE", "the attention is not held"))?;
    let from = sender(tx, &of.account).await?;
    let outbound = OutboundWhatsApp { bulk: true, ..outgoing::outbound(&after, &whom.to, &composed) };
    append(tx, &[outgoing::row(post, &after, message.uuid(), work.now(), traceparent, outbound).await?])
        .await?;
    let sending = Sending {
        send: message.uuid(),
        attention,
        from_address: &from.address,
        from_name: &from.name,
        text: &composed.text,
        item: &outgoing::item(&whom.to, &composed),
        answer_timeout_hours: of.answer_timeout_hours,
    };
    sends::note(tx, dialer.id, row.ordinal, &sending).await
}
