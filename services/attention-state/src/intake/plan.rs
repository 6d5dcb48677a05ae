//! One batch of mails in one transaction: lock keys, find threads, lock attentions, take, decide, write.
//!
//! Lock order: identity keys and Message-IDs (advisory, in the order of their numbers), attentions (skipping locked
//! ones), agents' loads (on writing). Mails of one batch see each other through the same maps as stored ones.

mod closed;
mod lookup;
mod write;

use std::collections::{BTreeSet, HashMap, HashSet};

use hilo_kit::error::Error;
use hilo_kit::inbox;
use hilo_kit::nats::Subjects;
use sqlx::PgConnection;
use uuid::Uuid;

use super::INBOUND_CONSUMER;
use super::mail::Mail;
use super::threading::{self, Candidate, Verdict, is_report};
use crate::attention::domain::{AttentionId, CampaignKey, ContactId, InteractionId, Rejection};
use crate::attention::store::message::Key;
use crate::attention::store::{self, Wait};
use crate::attention::threads::{self, Lineage, Thread};
use crate::attention::work::Work;
use crate::contact;
use crate::directory;

pub(super) use closed::{Due, write as mark_out_of_hours};
pub(crate) use lookup::lock_address;
pub(super) use lookup::lock_numbers;
use write::Written;
pub(super) use write::leave_inbox;
pub(crate) use write::preview;

/// What became of a mail.
#[derive(Debug)]
pub(super) enum Taken {
    /// Its effect commits with this transaction.
    Committed,
    /// It was taken before.
    Known,
    /// Another transaction holds something it needs.
    Busy,
    /// It can never be taken; a dead letter.
    Refused(Error),
}

/// Threads as known to the batch; mails decided earlier in the batch add to them.
#[derive(Debug, Default)]
struct Known {
    /// Attentions in which a Message-ID is known.
    by_message_id: HashMap<Vec<u8>, Vec<AttentionId>>,
    threads: HashMap<AttentionId, Thread>,
    lineages: HashMap<Uuid, Lineage>,
    /// Attentions that wait for a Message-ID.
    awaiting: HashMap<Vec<u8>, Vec<AttentionId>>,
    contacts: HashMap<String, ContactId>,
    /// Campaign by account; none for an account that has none.
    campaigns: HashMap<String, Option<CampaignKey>>,
    /// Message-IDs of mails that we sent, with their attentions.
    sent: HashSet<(Vec<u8>, AttentionId)>,
    /// Hours of the campaigns that have some.
    closings: HashMap<CampaignKey, directory::Closing>,
    /// Reports that interactions hold.
    reports: HashMap<InteractionId, i64>,
}

/// Most reports of machines that an interaction takes in. Every send may be answered by one per recipient and then by
/// reminders; more than this tells nobody anything, and a forged flood of them must not fill the interaction.
const MAX_REPORTS: i64 = 200;
/// Reason of the first event of an attention that goes on where a full one could not.
pub(super) const FLOOD: &str = "flood";

/// Takes the mails in; one answer per mail, in order.
pub(super) async fn take_in(
    tx: &mut PgConnection,
    subjects: &Subjects,
    mails: &[Mail],
) -> Result<Vec<Taken>, Error> {
    lookup::lock_keys(tx, mails).await?;
    let mut known = lookup::known(tx, mails).await?;
    let wanted = lookup::attentions_to_lock(&known);
    let mut work = Work::lock_current(tx, &wanted, Wait::Skip).await?;
    // Successors may have opened while the locks were awaited.
    lookup::refresh_lineages(tx, &mut known).await?;
    lookup::reports(tx, &mut known, &work, mails).await?;
    closed::read(tx, &mut known, &work).await?;
    let taken_before: HashSet<Uuid> = lookup::taken_before(tx, mails).await?;
    // Decided before anything of the batch changes what is known: what is busy stays so, whatever the others do.
    let again = |mail: &Mail| taken_before.contains(&mail.ledger);
    let busy: HashSet<Uuid> = mails
        .iter()
        .filter(|mail| !again(mail) && is_busy(mail, &known, &work))
        .map(|mail| mail.delivery)
        .collect();
    // What was taken under another delivery is in the inbox from now on, or its row would be handed over for ever.
    let here: Vec<Uuid> = mails.iter().map(|mail| mail.delivery).filter(|id| !busy.contains(id)).collect();
    let mut fresh: HashSet<Uuid> = inbox::take(tx, INBOUND_CONSUMER, &here).await?.into_iter().collect();
    for mail in mails.iter().filter(|mail| again(mail)) {
        fresh.remove(&mail.delivery);
    }
    known.contacts = lookup::contacts(tx, mails, &fresh).await?;
    let new: Vec<&Mail> = mails.iter().filter(|mail| fresh.contains(&mail.delivery)).collect();
    let numbers = beginnings(&work, &known, &new);
    let mut written = Written::new(store::draw_numbers(tx, numbers).await?);
    let mut answers = Vec::with_capacity(mails.len());
    for mail in mails {
        answers.push(if fresh.remove(&mail.delivery) {
            match decide(&mut work, &mut known, &mut written, mail) {
                Ok(()) => Taken::Committed,
                Err(error) => {
                    written.refused.push(mail.delivery);
                    Taken::Refused(error)
                }
            }
        } else if busy.contains(&mail.delivery) {
            Taken::Busy
        } else {
            Taken::Known
        });
    }
    written.write(tx, subjects, &mut work).await?;
    Ok(answers)
}

/// True when another transaction holds a thread this mail may join or link.
fn is_busy(mail: &Mail, known: &Known, work: &Work) -> bool {
    let claimed = candidates(mail, known);
    let lineages =
        claimed.iter().filter_map(|id| known.threads.get(id)).filter_map(|t| known.lineages.get(&t.lineage));
    let open = lineages.filter_map(|lineage| lineage.open);
    let children = mail.own.iter().filter_map(|own| known.awaiting.get(&own.bytes())).flatten().copied();
    claimed.iter().copied().chain(open).chain(children).any(|id| !work.holds(id))
}

/// Attentions of this account that the mail's tokens and references name, best evidence first, each once.
fn candidates(mail: &Mail, known: &Known) -> Vec<AttentionId> {
    let by_id = mail.references.iter().filter_map(|key| known.by_message_id.get(&key.bytes())).flatten();
    let mut found = Vec::new();
    for id in mail.tokens.iter().chain(by_id) {
        let ours = known.threads.get(id).is_some_and(|thread| thread.account == mail.account);
        if ours && !found.contains(id) {
            found.push(*id);
        }
    }
    found
}

fn verdict(work: &Work, known: &Known, claimed: &[AttentionId], mail: &Mail) -> Verdict {
    let candidate = |id: &AttentionId| {
        let participants = work.head(*id)?.participants.as_slice();
        Some(Candidate { attention: *id, participants, sent: names_a_send(mail, known, *id) })
    };
    let candidates: Vec<Candidate<'_>> = claimed.iter().filter_map(candidate).collect();
    threading::verdict(&mail.claim(), &candidates)
}

/// True when the mail refers to, or is, a mail that we sent in this attention.
fn names_a_send(mail: &Mail, known: &Known, attention: AttentionId) -> bool {
    is_report(mail.class)
        && mail.references.iter().chain(&mail.own).any(|key| known.sent.contains(&(key.bytes(), attention)))
}

/// How many attentions these mails may begin. A mail that answers another of its own batch is counted too, which only
/// leaves a gap in the human numbers; answers to known attentions, the many, leave none.
fn beginnings(work: &Work, known: &Known, mails: &[&Mail]) -> usize {
    let begins = |mail: &&&Mail| match verdict(work, known, &candidates(mail, known), mail) {
        Verdict::New { .. } | Verdict::Unverified { .. } => true,
        Verdict::Join { attention, .. } => {
            let lineage =
                known.threads.get(&attention).and_then(|thread| known.lineages.get(&thread.lineage));
            let open = lineage.and_then(|lineage| lineage.open);
            // All of the batch might be for this one.
            open.is_none_or(|open| work.room(open) < mails.len())
        }
    };
    mails.iter().filter(begins).count()
}

fn decide(work: &mut Work, known: &mut Known, written: &mut Written, mail: &Mail) -> Result<(), Error> {
    let claimed = candidates(mail, known);
    let verdict = verdict(work, known, &claimed, mail);
    crate::metrics::mail(match verdict {
        Verdict::Join { .. } => "joined",
        Verdict::Unverified { .. } => "unverified",
        Verdict::New { .. } => "new",
    });
    let authentic = match verdict {
        Verdict::Join { verified, .. } | Verdict::New { verified } => verified,
        Verdict::Unverified { .. } => false,
    };
    let attention = match verdict {
        Verdict::Join { attention, verified } => {
            match join(work, known, written, mail, attention, verified)? {
                Some(attention) => attention,
                None => return Ok(()),
            }
        }
        Verdict::Unverified { claims } => {
            let campaign = campaign(known, mail)?;
            written.begin(work, known, mail, write::Beginning::unverified(&campaign, claims))?
        }
        Verdict::New { verified } => {
            let campaign = campaign(known, mail)?;
            written.begin(work, known, mail, write::Beginning::new(&campaign, verified))?
        }
    };
    closed::mark(work, known, written, mail, attention, authentic);
    if claimed.is_empty() && known_parent_missing(mail) {
        written.awaits(known, mail, attention);
    }
    link_children(work, known, written, mail, attention)
}

/// The campaign that the mail's account feeds.
///
/// # Errors
/// `ACCOUNT_WITHOUT_CAMPAIGN`: the mail becomes a dead letter, to be replayed when a coordinator has given it one.
fn campaign(known: &Known, mail: &Mail) -> Result<CampaignKey, Error> {
    known.campaigns.get(&mail.account).cloned().flatten().ok_or_else(|| {
        Error::rejected("ACCOUNT_WITHOUT_CAMPAIGN", "no campaign takes the mail of this account")
    })
}

/// A mail that answers something nobody knows may have come before its parent.
fn known_parent_missing(mail: &Mail) -> bool {
    !mail.references.is_empty()
}

/// Into the attention itself while it is open, else into the open successor of its lineage, else into a new one; `None`
/// for a report that is only counted. An answer stays in its campaign, also when its account feeds none any more.
fn join(
    work: &mut Work,
    known: &mut Known,
    written: &mut Written,
    mail: &Mail,
    attention: AttentionId,
    verified: bool,
) -> Result<Option<AttentionId>, Error> {
    let lineage =
        known.threads.get(&attention).and_then(|thread| known.lineages.get(&thread.lineage)).copied();
    let lineage = lineage.unwrap_or(Lineage { open: None, newest: attention });
    if let Some(open) = lineage.open {
        if is_report(mail.class) && too_many_reports(work, known, open) {
            written.leave_out(work, mail, open)?;
            return Ok(None);
        }
        if work.room(open) > 0 {
            written.append(work, mail, open, verified)?;
            count_report(work, known, mail, open);
            return Ok(Some(open));
        }
    }
    let own = work.state(attention, None).map(|state| state.campaign);
    let campaign = campaign(known, mail).or_else(|error| own.ok_or(error))?;
    let mut beginning = write::Beginning::successor(&campaign, lineage.newest, attention, verified);
    if let Some(full) = lineage.open {
        work.flood(full);
        crate::metrics::flood();
        tracing::warn!(attention = %full.uuid(), "an interaction is full; its messages go on in a linked attention");
        beginning = beginning.because(FLOOD);
    }
    let begun = written.begin(work, known, mail, beginning)?;
    count_report(work, known, mail, begun);
    Ok(Some(begun))
}

/// The live interaction of an attention.
fn live(work: &Work, attention: AttentionId) -> Option<InteractionId> {
    let interaction = work.state(attention, None)?.interaction?;
    interaction.is_live().then_some(interaction.id)
}

fn too_many_reports(work: &Work, known: &Known, open: AttentionId) -> bool {
    let held = live(work, open).and_then(|live| known.reports.get(&live)).copied();
    held.is_some_and(|held| held >= MAX_REPORTS)
}

fn count_report(work: &Work, known: &mut Known, mail: &Mail, attention: AttentionId) {
    if let Some(live) = live(work, attention).filter(|_| is_report(mail.class)) {
        *known.reports.entry(live).or_insert(0) += 1;
    }
}

/// The parent of attentions of this account that came first: they follow this one. Those of other accounts wait on for
/// their own copy of it, which a mail to several of our addresses brings.
fn link_children(
    work: &mut Work,
    known: &mut Known,
    written: &mut Written,
    mail: &Mail,
    parent: AttentionId,
) -> Result<(), Error> {
    let Some(own) = mail.own.as_ref().map(Key::bytes) else { return Ok(()) };
    let waiting = known.awaiting.remove(&own).unwrap_or_default();
    let is_ours = |child: &AttentionId| {
        work.state(*child, None).is_some_and(|state| state.account.as_str() == mail.account)
    };
    let (ours, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_ours);
    if !others.is_empty() {
        known.awaiting.insert(own.clone(), others);
    }
    for child in ours {
        written.parents_came.push((own.clone(), child));
        match written.link(work, child, parent) {
            // A child that is linked already, or is the parent itself, stays as it is.
            Ok(()) | Err(Rejection::AlreadyLinked) => {}
            Err(rejection) => return Err(rejection.into()),
        }
    }
    known.by_message_id.entry(own).or_default().push(parent);
    Ok(())
}

/// Campaign by account.
async fn campaigns(
    tx: &mut PgConnection,
    mails: &[Mail],
) -> Result<HashMap<String, Option<CampaignKey>>, Error> {
    let accounts: BTreeSet<&str> = mails.iter().map(|mail| mail.account.as_str()).collect();
    let accounts: Vec<String> = accounts.into_iter().map(str::to_owned).collect();
    let fed = directory::campaigns_of_accounts(tx, &accounts).await?;
    Ok(fed.into_iter().map(|(account, campaign)| (account, Some(CampaignKey::new(campaign)))).collect())
}
