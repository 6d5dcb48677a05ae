//! The handler of DELIVERY: what became of our sends. Reports come late, twice and out of order; states only rise.

mod reached;
mod words;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use hilo_kit::consumer::{BatchHandler, Delivery, Outcome};
use hilo_kit::db::Db;
use hilo_kit::error::Error;
use hilo_kit::nats::Subjects;
use hilo_kit::{fault, ids, inbox};
use hilo_proto::delivery::v1::{DeliveryEnvelope, SendState};
use hilo_proto::inbound::v1::WhatsAppIdentity;
use prost::Message as _;
use sqlx::PgConnection;
use tracing::Instrument;
use uuid::Uuid;

use self::words::{detail, plain, stored};
use super::chat::{alter, beside};
use super::plan::lock_numbers;
use super::{DELIVERY_CONSUMER, failed};
use crate::attention::domain::{
    Attention, Channel, Command, DeliveryState, MessageId, MessageKind, MessageSummary, Rejection,
};
use crate::attention::store::Wait;
use crate::attention::store::aside;
use crate::attention::store::chat::{self, StoredItem};
use crate::attention::store::delivery::{self, Anomaly, Change, KnownSend, Place, StoredRecipient};
use crate::attention::store::message::Key;
use crate::attention::work::{Actor, Found, Work};
use crate::contact::lock_number;
use crate::dialer::{self, Reported, Sent};

/// Most recipients kept of a report; a mail of ours has no more.
const MAX_RECIPIENTS: usize = 100;
/// Longest text kept of what servers said.
const MAX_DETAIL: usize = 500;
/// Longest stable class.
const MAX_REASON: usize = 60;

/// Applies delivery reports.
pub(crate) struct DeliveryHandler {
    db: Db,
    subjects: Subjects,
}

/// A report as read.
#[derive(Clone, Debug)]
struct Report {
    delivery: Uuid,
    send: Uuid,
    state: DeliveryState,
    /// The mail came back after the next server had taken it.
    returned: bool,
    detail: String,
    /// Stable class of a failure or of a wait.
    reason: String,
    /// The provider's error code; 0 when there was none.
    code: i32,
    recipients: Vec<StoredRecipient>,
    /// The provider's id of the message, of WhatsApp.
    wamid: String,
    account: String,
    /// Whom the provider says it goes to.
    reached: Option<WhatsAppIdentity>,
}

impl Report {
    /// Key of the provider's id.
    fn key(&self) -> Option<Key> {
        Key::wamid(&self.account, &self.wamid)
    }

    fn to_dialer(&self) -> Reported<'_> {
        let (state, account) = (self.state, &self.account);
        Reported { state, reason: &self.reason, detail: &self.detail, wamid: &self.wamid, account }
    }
}

/// What becomes of a batch beside what `Work` writes.
#[derive(Debug, Default)]
struct Outcomes {
    changes: Vec<Change>,
    anomalies: Vec<Anomaly>,
    /// Messages that a customer changed before their ids were known.
    items: Vec<StoredItem>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applied {
    Done,
    Busy,
    Unknown,
}

impl DeliveryHandler {
    /// Writes to `db`, announces under `subjects`.
    pub(crate) fn new(db: Db, subjects: Subjects) -> Self {
        Self { db, subjects }
    }

    async fn apply(&self, reports: Vec<Report>) -> Result<Vec<Applied>, Error> {
        let span = tracing::info_span!("attention.delivery.batch", reports = reports.len());
        let (reports, subjects) = (Arc::new(reports), self.subjects.clone());
        let applied = self
            .db
            .transaction(move |tx| {
                let (reports, subjects) = (reports.clone(), subjects.clone());
                Box::pin(async move {
                    let applied = apply(tx, &subjects, &reports).await?;
                    fault::point("attention.delivery.before_commit").await;
                    Ok(applied)
                })
            })
            .instrument(span)
            .await?;
        fault::point("attention.delivery.after_commit").await;
        Ok(applied)
    }

    async fn one_by_one(&self, reports: Vec<Report>) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(reports.len());
        for report in reports {
            outcomes.push(match self.apply(vec![report]).await {
                Ok(applied) => applied.first().map_or(Outcome::Busy, |one| outcome(*one)),
                Err(error) => failed(error),
            });
        }
        outcomes
    }
}

fn outcome(applied: Applied) -> Outcome {
    match applied {
        Applied::Done => Outcome::Ack,
        Applied::Busy => Outcome::Busy,
        Applied::Unknown => {
            Outcome::Dead(Error::missing("UNKNOWN_SEND", "no message of ours has this send id"))
        }
    }
}

#[async_trait]
impl BatchHandler for DeliveryHandler {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let read: Vec<Result<Report, Error>> = batch.iter().map(read).collect();
        let reports: Vec<Report> = read.iter().filter_map(|one| one.as_ref().ok().cloned()).collect();
        let outcomes = match reports.len() {
            0 => Vec::new(),
            1 => self.one_by_one(reports).await,
            _ => match self.apply(reports.clone()).await {
                Ok(applied) => applied.into_iter().map(outcome).collect(),
                Err(error) => {
                    tracing::debug!(error = %error.chain(), "a batch is tried one by one");
                    self.one_by_one(reports).await
                }
            },
        };
        let mut outcomes = outcomes.into_iter();
        read.into_iter()
            .map(|one| match one {
                Ok(_) => outcomes.next().unwrap_or(Outcome::Busy),
                Err(error) => Outcome::Dead(error),
            })
            .collect()
    }
}

fn read(delivery: &Delivery) -> Result<Report, Error> {
    let envelope = DeliveryEnvelope::decode(delivery.payload().as_ref())?;
    let state = match envelope.state() {
        SendState::Queued => DeliveryState::Queued,
        SendState::Sent => DeliveryState::Sent,
        SendState::Delivered => DeliveryState::Delivered,
        SendState::Read => DeliveryState::Read,
        SendState::Played => DeliveryState::Played,
        SendState::Failed | SendState::Bounced => DeliveryState::Failed,
        SendState::Unknown => DeliveryState::Unknown,
        SendState::Unspecified => return Err(Error::invalid("NO_STATE", "the report has no state")),
    };
    let send = ids::parse(&envelope.send_id, "send_id")?;
    Ok(Report {
        delivery: delivery.id(),
        send,
        state,
        returned: envelope.state() == SendState::Bounced,
        detail: detail(&envelope),
        reason: plain(&envelope.reason, MAX_REASON),
        code: envelope.error_code,
        recipients: envelope.recipients.iter().take(MAX_RECIPIENTS).map(|one| stored(one, send)).collect(),
        wamid: plain(&envelope.provider_message_id, MAX_DETAIL),
        reached: envelope.reached,
        account: envelope.account_key,
    })
}

async fn apply(
    tx: &mut PgConnection,
    subjects: &Subjects,
    reports: &[Report],
) -> Result<Vec<Applied>, Error> {
    // A reaction to a message of ours may be taken in at this moment: whoever comes second sees the other.
    let keys = reports.iter().filter_map(Report::key).map(|key| lock_number(b"wamid", &key.bytes()));
    dialer::halt(tx, reports.iter().map(|report| (report.send, report.code))).await?;
    let mut reached = reached::look(tx, reports).await?;
    let locks = keys.chain(std::mem::take(&mut reached.locks)).collect();
    lock_numbers(tx, locks).await?;
    let ids: Vec<Uuid> = reports.iter().map(|report| report.send).collect();
    let asides: HashMap<Uuid, aside::Known> =
        aside::known(tx, &ids).await?.into_iter().map(|one| (one.place.send, one)).collect();
    let beside = asides.values().map(|one| one.place);
    let places: HashMap<Uuid, Place> = delivery::places(tx, &ids)
        .await?
        .into_iter()
        .chain(beside)
        .map(|place| (place.send, place))
        .collect();
    let wanted: Vec<_> = places.values().map(|place| place.interaction).collect();
    let mut work = Work::lock(tx, &wanted, Wait::Skip).await?;
    let mut dialled = dialer::lock_reports(tx, &ids).await?;
    let found = |report: &Report| places.get(&report.send).map(|at| work.find(at.interaction));
    let applied: Vec<Applied> =
        reports.iter().map(|report| place(found(report), dialled.get(&report.send))).collect();
    let free: Vec<Uuid> = reports
        .iter()
        .zip(&applied)
        .filter(|(_, applied)| **applied == Applied::Done)
        .map(|(report, _)| report.delivery)
        .collect();
    let fresh: HashSet<Uuid> = inbox::take(tx, DELIVERY_CONSUMER, &free).await?.into_iter().collect();
    let messages: Vec<Uuid> = places.values().map(|place| place.message).collect();
    let mut sends: HashMap<Uuid, KnownSend> =
        delivery::sends(tx, &messages).await?.into_iter().map(|send| (send.message, send)).collect();
    let (mut outcomes, mut told) = (Outcomes::default(), dialer::Changed::default());
    for report in reports.iter().filter(|report| fresh.contains(&report.delivery)) {
        if let Some(row) = dialled.get_mut(&report.send) {
            told.report(row, report.to_dialer());
        }
        if let Some(aside) = asides.get(&report.send) {
            beside::reported(tx, &mut work, aside, report.state, &mut outcomes.items).await?;
        }
        let send = places.get(&report.send).and_then(|place| sends.get_mut(&place.message));
        let Some(send) = send else { continue };
        report_one(&mut work, send, report, &mut outcomes)?;
        named(tx, &mut work, send, report, &mut outcomes).await?;
    }
    told.write(tx).await?;
    reached.settle(tx, &mut work, &fresh).await?;
    work.write(tx, subjects).await?;
    delivery::set_delivery(tx, &outcomes.changes).await?;
    delivery::note_anomalies(tx, &outcomes.anomalies).await?;
    chat::write_items(tx, &outcomes.items).await?;
    Ok(applied)
}

/// Where a report goes: to the message of its send, or to the row of a dialer whose message is in no thread.
fn place(found: Option<Found>, row: Option<&Sent>) -> Applied {
    match (found, row) {
        (Some(Found::Locked(_)), _) => Applied::Done,
        (Some(Found::Busy), _) => Applied::Busy,
        (None | Some(Found::Gone), Some(row)) if row.threadless => Applied::Done,
        // It came into a thread just now: the next look finds it there.
        (None | Some(Found::Gone), Some(_)) => Applied::Busy,
        (None | Some(Found::Gone), None) => Applied::Unknown,
    }
}

/// The attention of a send, as it is now.
fn attention_of(work: &Work, send: &KnownSend) -> Option<Attention> {
    match work.find(send.interaction) {
        Found::Locked(attention) => work.state(attention, Some(send.interaction)),
        Found::Busy | Found::Gone => None,
    }
}

/// The provider's id of a message is known from now on, and with it what was said of it before.
async fn named(
    tx: &mut PgConnection,
    work: &mut Work,
    send: &mut KnownSend,
    report: &Report,
    outcomes: &mut Outcomes,
) -> Result<(), Error> {
    let Some(key) = report.key().filter(|_| send.wamid != report.wamid) else { return Ok(()) };
    let Some(attention) = attention_of(work, send).filter(|one| one.account.as_str() == report.account)
    else {
        return Ok(());
    };
    if !chat::note_wamid(tx, &key, &report.wamid, send.message).await? {
        return Ok(());
    }
    send.wamid.clone_from(&report.wamid);
    if let Some(changed) =
        alter::came(tx, work, attention.id, &key.bytes(), send.message, Some(send.state)).await?
    {
        outcomes.items.push(changed);
    }
    Ok(())
}

/// What follows when the report tells something new.
fn report_one(
    work: &mut Work,
    send: &mut KnownSend,
    report: &Report,
    outcomes: &mut Outcomes,
) -> Result<(), Error> {
    let Some((told, detail)) = counted(send, report) else { return Ok(()) };
    let recipients = delivery::merged(&send.recipients, &told);
    // A repetition reports only on those it went to.
    let state = match delivery::whole(&recipients) {
        Some(whole) if send.repeated() => whole,
        Some(_) | None => report.state,
    };
    if send.state.contradicts(state) {
        crate::metrics::delivery_anomaly();
        tracing::warn!(message = %send.message, had = send.state.word(), reported = state.word(),
            "a failure and an arrival of one message were reported");
        outcomes.anomalies.push(Anomaly {
            report: report.delivery,
            message: send.message,
            had: send.state,
            reported: state,
            detail: detail.clone(),
        });
    }
    let message = MessageSummary {
        id: MessageId(send.message),
        occurred_at: send.occurred_at,
        attachments: send.attachments,
        kind: MessageKind::Outbound { delivery: send.state },
    };
    let recipient = delivery::settles_one(send, &recipients);
    // Meta accepts first and may give up later; a mail server only by a mail that comes back.
    let accepts_first = attention_of(work, send).is_some_and(|one| one.channel == Channel::Whatsapp);
    let returned = report.returned || accepts_first;
    let command = Command::ReportDelivery { message, reported: state, returned, recipient };
    match work.decide(send.interaction, command, &Actor::System) {
        Ok(_) => send.state = state,
        Err(Rejection::DeliverySettled) => {
            // Why it still waits is no change of state, so no event; whoever reads the thread sees it.
            if send.state != state || state == DeliveryState::Failed {
                return Ok(());
            }
        }
        Err(rejection) => return Err(rejection.into()),
    }
    send.recipients.clone_from(&recipients);
    let reason = if detail.is_empty() && state != DeliveryState::Failed {
        String::new()
    } else {
        report.reason.clone()
    };
    outcomes.changes.retain(|earlier| earlier.message != send.message);
    outcomes.changes.push(Change { message: send.message, state, detail, reason, recipients });
    Ok(())
}

/// What of a report counts, with the words kept of it; `None` when nothing does. The state of a recipient is that of the
/// send that went to him last, until an earlier one turns out to have reached him; and whom a mail reached it has reached,
/// until it comes back. WhatsApp names no recipients, there is one: an earlier send that left counts, also when the last one
/// fails afterwards; its failure does not.
fn counted(send: &KnownSend, report: &Report) -> Option<(Vec<StoredRecipient>, String)> {
    let current = report.send == send.current;
    let is = |one: &StoredRecipient, state: DeliveryState| one.state == state.word();
    let counts = |one: &&StoredRecipient| {
        let known = send.recipients.iter().find(|known| known.address.eq_ignore_ascii_case(&one.address));
        let last = known.and_then(|known| known.send).map_or(current, |last| last == report.send);
        let reached = known.is_some_and(|known| is(known, DeliveryState::Sent));
        is(one, DeliveryState::Sent) || (last && (!reached || is(one, DeliveryState::Failed)))
    };
    let told: Vec<StoredRecipient> = report.recipients.iter().filter(counts).cloned().collect();
    let detail = if current { report.detail.clone() } else { String::new() };
    let left = send.recipients.is_empty() && report.recipients.is_empty() && report.state.left();
    (current || left || !told.is_empty()).then_some((told, detail))
}
