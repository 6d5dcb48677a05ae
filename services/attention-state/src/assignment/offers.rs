//! `ApplyOffers`: one transaction commits what of routers' batches still fits, in few statements however many they are.
//!
//! Lock order: the partitions' fences, attentions (skipping locked ones), agents' loads. Everything is decided in memory
//! by the domain, in the order given, and written at once.

use std::collections::{BTreeMap, BTreeSet};

use hilo_kit::Error;
use hilo_kit::nats::Subjects;
use hilo_proto::internal::v1::assignment_change::Change;
use hilo_proto::internal::v1::{
    ApplyOffersRequest, AssignmentChange, AssignmentOutcome, AssignmentResult, LiveInteraction, MakeOffer,
};
use sqlx::PgConnection;
use time::Duration;

use super::decisions::{self, Decided};
use super::partition::{self, Fence};
use super::verdict::{CampaignFacts, Facts, OverflowFacts, outcome};
use super::{load, present};
use crate::attention::domain::{
    CampaignKey, Channel, Command, Expire, Interaction, InteractionId, OfferId, Stage, UserKey,
};
use crate::attention::published::snapshot;
use crate::attention::store::Wait;
use crate::attention::work::{Actor, Found, Work};
use crate::directory::domain::model::OverflowMode;

/// Most changes of a batch.
pub const MAX_CHANGES: usize = 500;

/// A change whose ids were read.
#[derive(Clone, Debug)]
pub struct Wish {
    id: InteractionId,
    change: AssignmentChange,
    wanted: Wanted,
}

/// What a change asks for.
#[derive(Clone, Debug)]
enum Wanted {
    Offer { offer: OfferId, make: MakeOffer },
    Expire { offer: OfferId, because: Expire },
    Overflow,
}

/// A batch that is well-formed.
#[derive(Clone, Debug)]
pub struct Batch {
    fence: Fence,
    wishes: Vec<Wish>,
}

impl Batch {
    /// Reads a request; offer ids are made here, so that a transaction that runs again makes the same ones.
    ///
    /// # Errors
    /// `INVALID_BATCH` with a violation per malformed change.
    pub fn read(request: ApplyOffersRequest) -> Result<Self, Error> {
        let mut error = Error::invalid("INVALID_BATCH", "the batch is malformed");
        if request.changes.len() > MAX_CHANGES {
            return Err(error.field("changes", format!("at most {MAX_CHANGES}")));
        }
        let mut wishes = Vec::with_capacity(request.changes.len());
        for (at, change) in request.changes.into_iter().enumerate() {
            match wish(change) {
                Ok(wish) => wishes.push(wish),
                Err((field, why)) => error = error.field(format!("changes[{at}].{field}"), why),
            }
        }
        if !error.violations().is_empty() {
            return Err(error);
        }
        let ApplyOffersRequest { partition, epoch, config_version, .. } = request;
        Ok(Self { fence: Fence { partition, epoch, config_version }, wishes })
    }

    /// Changes asked for.
    pub(super) fn len(&self) -> usize {
        self.wishes.len()
    }
}

fn wish(change: AssignmentChange) -> Result<Wish, (&'static str, &'static str)> {
    let id = change.interaction_id.parse().map_err(|_| ("interaction_id", "must be a UUID"))?;
    let wanted = match &change.change {
        Some(Change::Offer(make)) => Wanted::Offer { offer: OfferId::new(), make: make.clone() },
        Some(Change::Expire(expire)) => Wanted::Expire {
            offer: expire.offer_id.parse().map_err(|_| ("expire.offer_id", "must be a UUID"))?,
            because: Expire::of(&expire.reason).ok_or(("expire.reason", "is not known"))?,
        },
        Some(Change::Overflow(_)) => Wanted::Overflow,
        None => return Err(("change", "is required")),
    };
    Ok(Wish { id, change, wanted })
}

/// What became of a batch: a result per change, in order, or why it was refused whole (`STALE_EPOCH`, `STALE_CONFIG`).
pub type Applied = Result<Vec<AssignmentResult>, Error>;

/// Applies batches of any partitions, one after the other, each behind its own fence; one answer per batch, in order.
///
/// # Errors
/// Database errors: then nothing of any batch was applied.
pub async fn apply<B: AsRef<Batch> + Sync>(
    tx: &mut PgConnection,
    subjects: &Subjects,
    batches: &[B],
) -> Result<Vec<Applied>, Error> {
    let fences: Vec<Fence> = batches.iter().map(|batch| batch.as_ref().fence).collect();
    let fences = partition::guard(tx, &fences).await?;
    let held =
        batches.iter().zip(&fences).filter(|(_, fence)| fence.is_ok()).map(|(batch, _)| batch.as_ref());
    let wishes: Vec<&Wish> = held.flat_map(|batch| &batch.wishes).collect();
    let ids: Vec<InteractionId> = wishes.iter().map(|wish| wish.id).collect();
    let mut work = Work::lock(tx, &ids, Wait::Skip).await?;
    let mut facts = facts(tx, &wishes, &work).await?;
    let mut made = Made::default();
    let outcomes: Vec<Result<Vec<AssignmentOutcome>, Error>> = batches
        .iter()
        .zip(fences)
        .map(|(batch, fence)| fence.map(|()| of_batch(&mut work, &mut facts, &mut made, batch.as_ref())))
        .collect();
    if made.changed {
        work.write(tx, subjects).await?;
        load::offered(tx, &made.offered, work.now()).await?;
        rotate(tx, &made.pointers).await?;
        decisions::store(tx, &made.decided, work.now()).await?;
    }
    // Read after the writing, which fixes what an item asks for that came into another campaign.
    let results = |batch: &Batch, outcomes: Vec<AssignmentOutcome>| {
        batch.wishes.iter().zip(outcomes).map(|(wish, outcome)| result(&work, wish, outcome)).collect()
    };
    Ok(batches.iter().zip(outcomes).map(|(batch, one)| one.map(|one| results(batch.as_ref(), one))).collect())
}

fn of_batch(work: &mut Work, facts: &mut Facts, made: &mut Made, batch: &Batch) -> Vec<AssignmentOutcome> {
    batch.wishes.iter().map(|wish| one(work, facts, made, batch.fence.partition, wish)).collect()
}

/// What the decisions of batches leave to be written beside the interactions themselves.
#[derive(Debug, Default)]
struct Made {
    changed: bool,
    offered: BTreeSet<(UserKey, Channel)>,
    pointers: BTreeMap<String, String>,
    decided: Vec<Decided>,
}

fn one(
    work: &mut Work,
    facts: &mut Facts,
    made: &mut Made,
    partition: i32,
    wish: &Wish,
) -> AssignmentOutcome {
    match work.find(wish.id) {
        Found::Gone => AssignmentOutcome::Gone,
        Found::Busy => AssignmentOutcome::Busy,
        Found::Locked(_) => match change(work, facts, made, partition, wish) {
            Ok(()) => AssignmentOutcome::Applied,
            Err(outcome) => outcome,
        },
    }
}

fn result(work: &Work, wish: &Wish, outcome: AssignmentOutcome) -> AssignmentResult {
    let current = match outcome {
        AssignmentOutcome::Busy | AssignmentOutcome::Gone => None,
        AssignmentOutcome::Unspecified
        | AssignmentOutcome::Applied
        | AssignmentOutcome::Conflict
        | AssignmentOutcome::NoCapacity
        | AssignmentOutcome::NotAvailable
        | AssignmentOutcome::TooEarly => current(work, wish.id),
    };
    AssignmentResult { interaction_id: wish.id.to_string(), outcome: outcome.into(), current }
}

fn change(
    work: &mut Work,
    facts: &mut Facts,
    made: &mut Made,
    partition: i32,
    wish: &Wish,
) -> Result<(), AssignmentOutcome> {
    let (channel, before) = interaction(work, wish.id).ok_or(AssignmentOutcome::Gone)?;
    let campaign = before.campaign.as_str().to_owned();
    // An interaction of another partition is another owner's business.
    let known = facts.campaigns.get(&campaign).filter(|known| known.partition == partition).cloned();
    let known = known.ok_or(AssignmentOutcome::Conflict)?;
    let version = wish.change.version;
    let command = match &wish.wanted {
        Wanted::Offer { offer, make } => {
            let agent = (!make.agent_key.is_empty()).then(|| UserKey::new(&make.agent_key));
            // A version that has moved on is the better answer than what follows from the newer state.
            if before.version == version && matches!(before.stage, Stage::Queued { .. }) {
                offerable(facts, &known, &before, agent.as_ref(), channel)?;
            }
            let seconds = i64::from(known.accept_timeout_seconds);
            // An offer to everyone has nobody to move on to.
            let deadline_at =
                agent.as_ref().filter(|_| seconds > 0).map(|_| work.now() + Duration::seconds(seconds));
            Command::MakeOffer { version, offer: *offer, agent, deadline_at }
        }
        Wanted::Expire { offer, because } => {
            let returns = before.sender().is_some_and(|sender| {
                facts.returning.contains(&(campaign.clone(), sender.as_str().to_owned()))
            });
            Command::ExpireOffer { version, offer: *offer, because: *because, returns }
        }
        Wanted::Overflow => {
            let overflow = known.overflow.ok_or(AssignmentOutcome::Conflict)?;
            let after = Duration::seconds(i64::from(overflow.seconds));
            Command::Overflow { version, after, to: overflow.to }
        }
    };
    let decision = work.decide(wish.id, command, &Actor::System).map_err(|rejection| outcome(&rejection))?;
    let after = decision.state.as_ref().and_then(|state| state.interaction.as_ref());
    facts.moved(before.burden(), after.and_then(Interaction::burden), channel);
    made.note(wish, &campaign, channel);
    Ok(())
}

fn offerable(
    facts: &Facts,
    known: &CampaignFacts,
    item: &Interaction,
    agent: Option<&UserKey>,
    channel: Channel,
) -> Result<(), AssignmentOutcome> {
    if !known.active {
        return Err(AssignmentOutcome::NotAvailable);
    }
    agent.map_or(Ok(()), |agent| facts.fits(item.campaign.as_str(), agent, channel, item.demand.weight))
}

impl Made {
    fn note(&mut self, wish: &Wish, campaign: &str, channel: Channel) {
        self.changed = true;
        let mut id = None;
        if let Wanted::Offer { offer, make } = &wish.wanted {
            id = Some(offer.uuid());
            if !make.agent_key.is_empty() {
                self.offered.insert((UserKey::new(&make.agent_key), channel));
            }
            if !make.rotation_pointer.is_empty() {
                self.pointers.insert(campaign.to_owned(), make.rotation_pointer.clone());
            }
        }
        if let Some(record) = &wish.change.decision {
            self.decided.push(Decided { interaction: wish.id.uuid(), offer: id, record: record.clone() });
        }
    }
}

fn interaction(work: &Work, id: InteractionId) -> Option<(Channel, Interaction)> {
    let Found::Locked(attention) = work.find(id) else { return None };
    let state = work.state(attention, Some(id))?;
    Some((state.channel, state.interaction?))
}

fn current(work: &Work, id: InteractionId) -> Option<LiveInteraction> {
    let Found::Locked(attention) = work.find(id) else { return None };
    let state = work.state(attention, Some(id))?;
    Some(LiveInteraction {
        attention_id: attention.to_string(),
        sequence: state.sequence,
        channel: state.channel.word().to_owned(),
        interaction: state.interaction.as_ref().map(snapshot),
        traceparent: work.traceparent(id).to_owned(),
    })
}

/// Reads what batches are decided against: their campaigns, who of the named agents is available, and, locked in order, the loads
/// of all agents whose load may change.
async fn facts(tx: &mut PgConnection, wishes: &[&Wish], work: &Work) -> Result<Facts, Error> {
    let (mut campaigns, mut pairs, mut loads) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut senders = BTreeSet::new();
    for wish in wishes {
        let Some((channel, interaction)) = interaction(work, wish.id) else { continue };
        let campaign = interaction.campaign.as_str().to_owned();
        if let Wanted::Offer { make, .. } = &wish.wanted
            && !make.agent_key.is_empty()
        {
            pairs.insert((campaign.clone(), make.agent_key.clone()));
            loads.insert((UserKey::new(&make.agent_key), channel));
        }
        // An offer that moves on gives its agent room, maybe for another of the same batch.
        if matches!(interaction.stage, Stage::Queued { .. }) {
            loads.extend(interaction.holder().map(|holder| (holder.clone(), channel)));
        }
        if let Some(sender) = interaction.sender() {
            senders.insert((campaign.clone(), sender.as_str().to_owned()));
            loads.insert((sender.clone(), channel));
        }
        campaigns.insert(campaign);
    }
    let campaigns: Vec<String> = campaigns.into_iter().collect();
    Ok(Facts {
        campaigns: campaign_facts(tx, &campaigns).await?,
        available: available(tx, pairs).await?,
        returning: present::of(tx, senders).await?,
        loads: load::lock(tx, &loads).await?,
    })
}

async fn campaign_facts(
    tx: &mut PgConnection,
    keys: &[String],
) -> Result<BTreeMap<String, CampaignFacts>, Error> {
    let rows = sqlx::query!(
        r#"SELECT campaign.campaign_key, home.partition, campaign.accept_timeout_seconds, campaign.overflow_seconds,
               campaign.overflow_mode, campaign.active, target.campaign_key AS "target?"
           FROM directory.campaign AS campaign JOIN assignment.group_campaign AS home USING (campaign_key)
           LEFT JOIN directory.campaign AS target
               ON target.campaign_key = campaign.overflow_campaign_key AND target.active
           WHERE campaign.campaign_key = ANY($1)"#,
        keys,
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let seconds = row.overflow_seconds;
            let overflow = match row.overflow_mode.parse::<OverflowMode>()? {
                OverflowMode::None => None,
                OverflowMode::AssignToAll => Some(OverflowFacts { seconds, to: None }),
                // Its group, and so its partition, is this one: overflow targets compete with their sources.
                OverflowMode::SendToCampaign => {
                    row.target.map(|to| OverflowFacts { seconds, to: Some(CampaignKey::new(to)) })
                }
            };
            let overflow = overflow.filter(|overflow| overflow.seconds > 0);
            let facts = CampaignFacts {
                partition: row.partition,
                accept_timeout_seconds: row.accept_timeout_seconds,
                overflow,
                active: row.active,
            };
            Ok((row.campaign_key, facts))
        })
        .collect()
}

async fn available(
    tx: &mut PgConnection,
    pairs: BTreeSet<(String, String)>,
) -> Result<BTreeSet<(String, String)>, Error> {
    if pairs.is_empty() {
        return Ok(pairs);
    }
    let (campaigns, agents): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
    let rows = sqlx::query!(
        "SELECT member.campaign_key, member.user_key
         FROM unnest($1::text[], $2::text[]) AS given (campaign_key, user_key)
         JOIN directory.campaign_member AS member USING (campaign_key, user_key)
         JOIN directory.app_user AS person USING (user_key)
         JOIN assignment.agent_state AS state ON state.agent_key = user_key
         WHERE person.active AND 'agent' = ANY(person.roles) AND NOT state.paused AND state.absent_since IS NULL",
        &campaigns,
        &agents,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.campaign_key, row.user_key)).collect())
}

/// Stores round robin's pointers; the partition's fence makes their order the owner's.
async fn rotate(tx: &mut PgConnection, pointers: &BTreeMap<String, String>) -> Result<(), Error> {
    if pointers.is_empty() {
        return Ok(());
    }
    let (campaigns, members): (Vec<String>, Vec<String>) = pointers.clone().into_iter().unzip();
    sqlx::query!(
        "INSERT INTO assignment.rotation (campaign_key, pointer) SELECT * FROM unnest($1::text[], $2::text[])
         ON CONFLICT (campaign_key) DO UPDATE SET pointer = excluded.pointer",
        &campaigns,
        &members,
    )
    .execute(tx)
    .await?;
    Ok(())
}
