//! One batch of WhatsApp items in one transaction: lock keys, find contacts and conversations, lock attentions, take, decide, write.
//!
//! Lock order as for mails: identity keys, conversations and wamids (advisory, in the order of their numbers), attentions (skipping
//! locked ones), agents' loads (on writing). One live attention per account and customer: the conversation's key stands for both,
//! and the unique index over open lineages guards it.

use std::collections::{HashMap, HashSet};

use hilo_kit::error::Error;
use hilo_kit::inbox;
use hilo_kit::nats::Subjects;
use hilo_proto::inbound::v1::inbound_whats_app::Kind;
use hilo_proto::inbound::v1::{SystemKind, WhatsAppIdentity};
use sqlx::PgConnection;
use uuid::Uuid;

use super::known::{self, Feeds, Known};
use super::written::{Beginning, Follows, Written};
use super::{Item, Sort};
use super::{alter, early};
use crate::attention::domain::{AttentionId, CampaignKey, Command, ContactId, Phase};
use crate::attention::store::{self, Wait, chat, window};
use crate::attention::work::{Actor, Work};
use crate::contact::{self, whatsapp as customers};
use crate::dialer::Preference;
use crate::intake::INBOUND_CONSUMER;
use crate::intake::plan::Taken;

/// Takes the items in; one answer per item, in order.
///
/// # Errors
/// Database errors: nothing of the batch was taken.
pub(in crate::intake) async fn take_in(
    tx: &mut PgConnection,
    subjects: &Subjects,
    items: &[Item],
) -> Result<Vec<Taken>, Error> {
    let mut known = known::read(tx, items).await?;
    let mut work = Work::lock_current(tx, &known.attentions(items), Wait::Skip).await?;
    known.read_locked(tx, &work, items).await?;
    // Decided before anything of the batch changes what is known: what is busy stays so, whatever the others do.
    let taken: HashSet<Uuid> =
        items.iter().filter(|item| known.taken_before(item)).map(|item| item.delivery).collect();
    let is_busy = |item: &&Item| !taken.contains(&item.delivery) && known.is_busy(&work, item);
    let mut busy: HashSet<Uuid> = items.iter().filter(is_busy).map(|item| item.delivery).collect();
    let begins = |item: &Item| !taken.contains(&item.delivery) && would_begin(&work, &known, item);
    busy.extend(early::held(tx, items, begins).await?);
    // What was taken under another delivery is in the inbox from now on, or its row would be handed over for ever.
    let here: Vec<Uuid> = items.iter().map(|item| item.delivery).filter(|id| !busy.contains(id)).collect();
    let mut fresh: HashSet<Uuid> = inbox::take(tx, INBOUND_CONSUMER, &here).await?.into_iter().collect();
    fresh.retain(|id| !taken.contains(id));
    let (contacts, twins) = settle(tx, &mut known, items, &fresh).await?;
    known.note_windows(tx, items, &contacts, work.now()).await?;
    let begins = |item: &&Item| fresh.contains(&item.delivery) && item.sort == Sort::Said;
    let may = |item: &&Item| may_begin(&work, &known, item, contacts.get(&item.ledger).copied(), items.len());
    let said = items.iter().filter(begins).filter(may).count();
    let mut written = Written::new(store::draw_numbers(tx, said).await?);
    let mut answers = Vec::with_capacity(items.len());
    for item in items {
        answers.push(if fresh.remove(&item.delivery) {
            match decide(&mut work, &mut known, &mut written, item, &contacts) {
                Ok(()) => Taken::Committed,
                Err(error) => {
                    written.refused.push(item.delivery);
                    Taken::Refused(error)
                }
            }
        } else if busy.contains(&item.delivery) {
            Taken::Busy
        } else {
            Taken::Known
        });
    }
    written.write(tx, subjects, &mut work).await?;
    for (stays, goes) in twins {
        contact::merge::same_person(tx, subjects, stays, goes).await?;
    }
    Ok(answers)
}

/// Finds or makes the contacts of those who wrote, and follows Meta's notices of changed numbers and ids. Also answers contacts that
/// turned out to be one person, to be merged once the batch is written.
async fn settle(
    tx: &mut PgConnection,
    known: &mut Known,
    items: &[Item],
    fresh: &HashSet<Uuid>,
) -> Result<(HashMap<Uuid, ContactId>, Vec<(ContactId, ContactId)>), Error> {
    let (mut contacts, mut twins) = (HashMap::new(), Vec::new());
    for item in items.iter().filter(|item| fresh.contains(&item.delivery)) {
        match &item.sort {
            Sort::Said => {
                contacts.insert(item.ledger, known.contacts.settle(tx, &item.customer).await?);
            }
            Sort::Notice => {
                // Of whom he was until now; afterwards he may not be found by that any more.
                let now = item.new_identity();
                let contact = known.contacts.told_of(&item.customer, now.as_ref());
                if let Some(contact) = contact
                    && item.leaves_number()
                    && is_back(tx, items, &contacts, item, contact).await?
                {
                    continue;
                }
                contacts.extend(contact.map(|contact| (item.ledger, contact)));
                if let Some(now) = now {
                    let after = (&now, item.leaves_number());
                    twins.extend(known.contacts.change(tx, &item.customer, after, item.said_at()).await?);
                }
            }
            Sort::Alters { .. } | Sort::Prefers { .. } => {}
        }
    }
    Ok((contacts, twins))
}

/// Whether the customer wrote from the number that he has left by this notice after its instant: it comes late, and he is back.
async fn is_back(
    tx: &mut PgConnection,
    items: &[Item],
    contacts: &HashMap<Uuid, ContactId>,
    notice: &Item,
    contact: ContactId,
) -> Result<bool, Error> {
    let (names, at) = (customers::names(&notice.customer), notice.said_at());
    let wrote = |item: &Item| {
        item.sort == Sort::Said
            && contacts.get(&item.ledger) == Some(&contact)
            && item.said_at() > at
            && !customers::names(&item.customer).is_disjoint(&names)
    };
    if items.iter().any(wrote) {
        return Ok(true);
    }
    let names: Vec<String> = names.into_iter().collect();
    window::wrote_since(tx, (contact, &names), at).await
}

/// Whether an attention may have to begin: a gap in the human numbers is harmless, a lacking one is not. None has to where one that is
/// his has room for the whole batch.
fn may_begin(work: &Work, known: &Known, item: &Item, contact: Option<ContactId>, batch: usize) -> bool {
    let Some(contact) = contact else { return true };
    place(work, known, item, contact).0.is_none_or(|open| work.room(open) < batch)
}

/// Whether nothing of this customer's runs on the number.
fn would_begin(work: &Work, known: &Known, item: &Item) -> bool {
    let contact = known.contacts.find(&item.customer);
    contact.is_none_or(|contact| place(work, known, item, contact).0.is_none())
}

/// The attention of a conversation that takes messages now, or waits for one: it may have ended since it was looked up.
fn open_in(work: &Work, known: &Known, lineage: Uuid) -> Option<AttentionId> {
    let open = known.lineages.get(&lineage)?.open?;
    let state = work.state(open, None)?;
    state.phase.is_live().then_some(open)
}

fn decide(
    work: &mut Work,
    known: &mut Known,
    written: &mut Written,
    item: &Item,
    contacts: &HashMap<Uuid, ContactId>,
) -> Result<(), Error> {
    match &item.sort {
        Sort::Said => {
            if written.has(&item.own) {
                // The same item twice in one batch, under two ledger ids.
                return Ok(());
            }
            let contact = contacts.get(&item.ledger).copied();
            let contact =
                contact.ok_or_else(|| Error::internal("NO_CONTACT", "the contact was not resolved"))?;
            said(work, known, written, item, contact)
        }
        Sort::Notice => notice(work, known, written, item, contacts.get(&item.ledger).copied()),
        Sort::Alters { target, .. } => {
            if written.alter(work, item, target) {
                return Ok(());
            }
            let fate = match known.targets.get(&target.bytes()).copied() {
                None => chat::Fate::Waits,
                Some(at) => match known.stored.get_mut(&at.message) {
                    Some(stored) => {
                        let fate = alter::stored(work, at.attention, stored, &item.whatsapp, item.number)?;
                        written.changed(stored.clone());
                        fate
                    }
                    None => chat::Fate::Gone,
                },
            };
            crate::metrics::alteration(match fate {
                chat::Fate::Waits => "waits",
                chat::Fate::Applied => "applied",
                chat::Fate::Gone => "gone",
            });
            written.alterations.push(item.alteration(target, fate));
            Ok(())
        }
        Sort::Prefers { stop } => {
            written.preferences.push(preference(known, item, *stop));
            Ok(())
        }
    }
}

/// What the customer set. It holds for everything he is known by, whatever Meta named him by this time: his number may be hidden when he
/// stops, and shown when he takes it back.
fn preference(known: &Known, item: &Item, stop: bool) -> Preference {
    let mut names = customers::names(&item.customer);
    if let Some(contact) = known.contacts.find(&item.customer) {
        names.extend(known.contacts.names(contact));
    }
    Preference { account: item.account.clone(), names, stop, said_at: item.said_at() }
}

/// The open or waiting attention of this contact, and the lineage that a new one would be of.
fn place(work: &Work, known: &Known, item: &Item, contact: ContactId) -> (Option<AttentionId>, Uuid) {
    let lineages = [item.conversation, known::derived(item.conversation, contact)];
    let began = || known.live.iter().filter(|one| one.takes(&item.account, contact, &item.customer));
    let his = |id: &AttentionId| {
        let own = work.state(*id, None).is_some_and(|state| state.contact == contact);
        // What we sent to another contact reaches him where he writes from, by Meta's word.
        own || began().any(|one| one.attention == *id)
    };
    let all = lineages.into_iter().chain(began().map(|one| one.lineage));
    let open = all.filter_map(|id| open_in(work, known, id)).find(his);
    let free = lineages.into_iter().find(|id| open_in(work, known, *id).is_none());
    let taken = |open: AttentionId| work.head(open).map(|head| head.lineage);
    (open, open.and_then(taken).or(free).unwrap_or(item.conversation))
}

fn said(
    work: &mut Work,
    known: &mut Known,
    written: &mut Written,
    item: &Item,
    contact: ContactId,
) -> Result<(), Error> {
    let (open, lineage) = place(work, known, item, contact);
    let waits = |id: AttentionId| work.state(id, None).is_some_and(|state| state.phase == Phase::Waiting);
    let begins = open.is_none_or(|open| work.room(open) == 0 || waits(open));
    let attention = match open {
        Some(open) if work.room(open) > 0 => {
            written.append(work, known, item, open)?;
            open
        }
        Some(full) => {
            // As an answer by mail, it stays in its campaign when its account feeds none any more.
            let own = work.state(full, None).map(|state| state.campaign);
            let campaign = campaign(known, item).or_else(|error| own.ok_or(error))?;
            work.flood(full);
            crate::metrics::flood();
            tracing::warn!(attention = %full.uuid(), "an interaction is full; its messages go on in a linked attention");
            let follows = Some(Follows::Full(full));
            written.begin(work, known, item, Beginning { campaign, contact, lineage, follows })?
        }
        None => {
            // Whoever answers a dialer late is served by its campaign, as if he had been in time.
            let (campaign, follows) = match known.take_unanswered(item, contact) {
                Some(earlier) => (earlier.campaign, Some(Follows::Unanswered(earlier.attention))),
                None => (campaign(known, item)?, None),
            };
            written.begin(work, known, item, Beginning { campaign, contact, lineage, follows })?
        }
    };
    written.note_answer(work, attention);
    let command = Command::MoveWindow { ends_at: known.window_ends_at(item, contact) };
    work.decide_at(attention, None, command, &Actor::System, &item.traceparent)?;
    if begins {
        written.mark_out_of_hours(work, known, item, attention);
    }
    Ok(())
}

/// Shown where a conversation runs, and no answer to anything; its raw item is in the ledger in any case.
fn notice(
    work: &mut Work,
    known: &Known,
    written: &mut Written,
    item: &Item,
    contact: Option<ContactId>,
) -> Result<(), Error> {
    let runs = |id: &AttentionId| work.state(*id, None).is_some_and(|state| state.phase == Phase::Open);
    let open = contact.and_then(|contact| place(work, known, item, contact).0).filter(runs);
    match open.filter(|open| work.room(*open) > 0 && !written.has(&item.own)) {
        Some(open) => written.append(work, known, item, open),
        None => Ok(()),
    }
}

/// The campaign that the item's account feeds.
///
/// # Errors
/// `ACCOUNT_WITHOUT_CAMPAIGN`, `OTHER_CHANNEL`: the item becomes a dead letter, to be replayed when a coordinator has given the
/// account a campaign.
fn campaign(known: &Known, item: &Item) -> Result<CampaignKey, Error> {
    match known.campaigns.get(&item.account) {
        Some(Feeds::Campaign(key)) => Ok(key.clone()),
        Some(Feeds::OtherChannel) => {
            Err(Error::rejected("OTHER_CHANNEL", "the account of this item is of another channel"))
        }
        Some(Feeds::Nothing) | None => {
            Err(Error::rejected("ACCOUNT_WITHOUT_CAMPAIGN", "no campaign takes the items of this account"))
        }
    }
}

impl Item {
    /// Meta says that the customer has another number.
    fn leaves_number(&self) -> bool {
        let Some(Kind::System(system)) = &self.whatsapp.kind else { return false };
        system.kind() == SystemKind::NumberChanged
    }

    /// Who the customer is from now on, by a notice that says so.
    pub(super) fn new_identity(&self) -> Option<WhatsAppIdentity> {
        let Some(Kind::System(system)) = &self.whatsapp.kind else { return None };
        match system.kind() {
            SystemKind::NumberChanged | SystemKind::UserIdChanged => system.new_identity.clone(),
            // Another device or another person: nothing is known of who.
            SystemKind::IdentityChanged | SystemKind::Unspecified => None,
        }
    }
}
