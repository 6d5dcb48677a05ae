//! One transaction's work on attentions: lock, decide in memory as often as needed, write everything at once.
//!
//! Lock order: identity keys and Message-IDs first (intake), then attentions in id order (here), then agent loads in key
//! order (on writing). A caller that checks capacity locks the loads itself between [`Work::lock`] and [`Work::write`].

mod entering;
mod write;

use std::collections::BTreeMap;

use hilo_kit::error::Error;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::domain::{
    Attention, AttentionId, Channel, Command, Decision, Event, Happened, Interaction, InteractionId,
    MAX_MESSAGES, Rejection, UserKey, decide,
};
use super::store::{self, Head, LastMessage, Lines, Wait};

/// Who caused a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The router, a customer, a channel service.
    System,
    /// A person.
    User(UserKey),
}

impl Actor {
    fn key(&self) -> Option<&UserKey> {
        match self {
            Actor::System => None,
            Actor::User(key) => Some(key),
        }
    }
}

/// An attention under work.
#[derive(Clone, Debug)]
struct Entry {
    /// Sequence as stored; 0 when it is new.
    stored_sequence: i64,
    /// Head as it is now, no interaction addressed.
    attention: Attention,
    head: Head,
    head_changed: bool,
    /// Its interaction is full: it stands aside from now on.
    floods: bool,
    interactions: BTreeMap<InteractionId, Touched>,
}

/// An interaction under work.
#[derive(Clone, Debug)]
struct Touched {
    /// As stored; `None` when it is new.
    stored: Option<Interaction>,
    now: Interaction,
    lines: Lines,
}

/// An event to be published.
#[derive(Clone, Debug)]
pub(crate) struct Announcement {
    pub happened: Happened,
    pub actor: Option<UserKey>,
    /// Why, where the event itself does not say it; empty otherwise.
    pub reason: &'static str,
    /// Trace stored with the interaction.
    pub traceparent: String,
    /// The interaction came in outside of its campaign's hours; only where it was queued.
    pub out_of_hours: bool,
}

/// Locked attentions and what was decided on them.
#[derive(Debug)]
pub struct Work {
    now: OffsetDateTime,
    entries: BTreeMap<AttentionId, Entry>,
    /// Attention of every interaction asked for, locked or not.
    attentions: BTreeMap<InteractionId, AttentionId>,
    announcements: Vec<Announcement>,
}

/// Where an interaction asked for stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Locked; commands may be decided on it.
    Locked(AttentionId),
    /// Another transaction holds it ([`Wait::Skip`]).
    Busy,
    /// There is no such interaction.
    Gone,
}

impl Work {
    /// Locks the attentions of these interactions and reads both.
    ///
    /// # Errors
    /// Database errors; `LOCK_TIMEOUT`.
    pub async fn lock(tx: &mut PgConnection, ids: &[InteractionId], wait: Wait) -> Result<Self, Error> {
        let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
        let owners = store::attentions_of(tx, &ids).await?;
        let mut wanted: Vec<Uuid> = owners.values().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let locked = store::lock_attentions(tx, &wanted, wait).await?;
        let mut work = Self::empty(store::clock(tx).await?);
        work.attentions = owners.into_iter().map(|(i, a)| (InteractionId(i), AttentionId(a))).collect();
        work.hold(locked);
        work.add(store::interactions(tx, &ids).await?);
        Ok(work)
    }

    /// Locks attentions with their live or else last interaction: what a customer's message is for.
    pub(crate) async fn lock_current(tx: &mut PgConnection, ids: &[Uuid], wait: Wait) -> Result<Self, Error> {
        let locked = store::lock_attentions(tx, ids, wait).await?;
        let mut work = Self::empty(store::clock(tx).await?);
        let ids: Vec<Uuid> = locked.keys().map(|id| id.uuid()).collect();
        work.hold(locked);
        work.add(store::current_interactions(tx, &ids).await?);
        Ok(work)
    }

    fn empty(now: OffsetDateTime) -> Self {
        Self { now, entries: BTreeMap::new(), attentions: BTreeMap::new(), announcements: Vec::new() }
    }

    fn hold(&mut self, locked: BTreeMap<AttentionId, store::LoadedAttention>) {
        self.entries = locked.into_iter().map(|(id, loaded)| (id, Entry::stored(loaded))).collect();
    }

    fn add(&mut self, loaded: Vec<store::LoadedInteraction>) {
        for one in loaded {
            if let Some(entry) = self.entries.get_mut(&one.attention) {
                let lines = Lines { last_message: None, traceparent: one.traceparent };
                let touched = Touched { stored: Some(one.interaction.clone()), now: one.interaction, lines };
                self.attentions.insert(touched.now.id, one.attention);
                entry.interactions.insert(touched.now.id, touched);
            }
        }
    }

    /// The database's clock, read after the locks.
    pub fn now(&self) -> OffsetDateTime {
        self.now
    }

    /// Where an interaction asked for stands.
    pub fn find(&self, interaction: InteractionId) -> Found {
        match self.attentions.get(&interaction) {
            None => Found::Gone,
            Some(attention) if self.entries.contains_key(attention) => Found::Locked(*attention),
            Some(_) => Found::Busy,
        }
    }

    /// True when the attention is locked here.
    pub(crate) fn holds(&self, attention: AttentionId) -> bool {
        self.entries.contains_key(&attention)
    }

    /// The attention as it is now, with the interaction addressed.
    pub fn state(&self, attention: AttentionId, interaction: Option<InteractionId>) -> Option<Attention> {
        self.entries.get(&attention).map(|entry| entry.addressed(interaction))
    }

    /// Trace stored with an interaction.
    pub fn traceparent(&self, interaction: InteractionId) -> &str {
        let entry = self.attentions.get(&interaction).and_then(|attention| self.entries.get(attention));
        entry
            .and_then(|entry| entry.interactions.get(&interaction))
            .map_or("", |t| t.lines.traceparent.as_str())
    }

    /// What the attention's row holds beside the domain's head.
    pub(crate) fn head(&self, attention: AttentionId) -> Option<&Head> {
        self.entries.get(&attention).map(|entry| &entry.head)
    }

    /// Decides a command on a locked interaction. A rejection leaves everything as it was.
    ///
    /// # Errors
    /// The rejection; `UnknownAttention` for an interaction that is not locked here.
    pub fn decide(
        &mut self,
        interaction: InteractionId,
        command: Command,
        actor: &Actor,
    ) -> Result<Decision, Rejection> {
        let attention = *self.attentions.get(&interaction).ok_or(Rejection::UnknownAttention)?;
        self.decide_at(attention, Some(interaction), command, actor, "")
    }

    /// Decides a command on an attention; `None` addresses its live or else last interaction. An interaction that begins
    /// keeps `traceparent`.
    pub(crate) fn decide_at(
        &mut self,
        attention: AttentionId,
        interaction: Option<InteractionId>,
        command: Command,
        actor: &Actor,
        traceparent: &str,
    ) -> Result<Decision, Rejection> {
        let entry = self.entries.get_mut(&attention).ok_or(Rejection::UnknownAttention)?;
        let before = entry.addressed(interaction);
        let decision = decide(Some(&before), command, self.now)?;
        entry.take(&decision, traceparent);
        self.attentions.extend(entry.interactions.keys().map(|id| (*id, attention)));
        self.announce(attention, &decision, actor, "");
        Ok(decision)
    }

    /// Begins a new attention by `command`; `because` is the reason that its first event gives, a stable word or empty.
    pub(crate) fn begin(
        &mut self,
        command: Command,
        head: Head,
        traceparent: &str,
        because: &'static str,
    ) -> Result<AttentionId, Rejection> {
        self.begin_by(command, head, traceparent, because, &Actor::System)
    }

    /// As [`Work::begin`], caused by `actor`.
    pub(crate) fn begin_by(
        &mut self,
        command: Command,
        head: Head,
        traceparent: &str,
        because: &'static str,
        actor: &Actor,
    ) -> Result<AttentionId, Rejection> {
        let decision = decide(None, command, self.now)?;
        let state = decision.state.clone().ok_or(Rejection::UnknownAttention)?;
        let id = state.id;
        let mut entry = Entry {
            stored_sequence: 0,
            attention: Attention { interaction: None, ..state },
            head,
            head_changed: true,
            floods: false,
            interactions: BTreeMap::new(),
        };
        entry.take(&decision, traceparent);
        self.attentions.extend(entry.interactions.keys().map(|interaction| (*interaction, id)));
        self.entries.insert(id, entry);
        self.announce(id, &decision, actor, because);
        Ok(id)
    }

    fn announce(
        &mut self,
        attention: AttentionId,
        decision: &Decision,
        actor: &Actor,
        because: &'static str,
    ) {
        let Some(entry) = self.entries.get(&attention) else { return };
        for (happened, reason) in
            decision.events.iter().zip(std::iter::once(because).chain(std::iter::repeat("")))
        {
            let touched = decision.state.as_ref().and_then(|state| state.interaction.as_ref());
            let touched = touched.and_then(|interaction| entry.interactions.get(&interaction.id));
            self.announcements.push(Announcement {
                happened: happened.clone(),
                actor: actor.key().cloned(),
                reason,
                traceparent: touched.map(|touched| touched.lines.traceparent.clone()).unwrap_or_default(),
                out_of_hours: false,
            });
        }
    }

    /// Sets what lists show of the interaction's last message.
    pub(crate) fn show(&mut self, interaction: InteractionId, last: LastMessage) {
        let entry = self.attentions.get(&interaction).and_then(|attention| self.entries.get_mut(attention));
        if let Some(touched) = entry.and_then(|entry| entry.interactions.get_mut(&interaction)) {
            let verified = touched.lines.last_message.as_ref().and_then(|before| before.sender_verified);
            let sender_verified = last.sender_verified.or(verified);
            touched.lines.last_message = Some(LastMessage { sender_verified, ..last });
        }
    }

    /// Messages that the attention's live interaction may still take; without one as many as a new one holds.
    pub(crate) fn room(&self, attention: AttentionId) -> usize {
        let live =
            self.state(attention, None).and_then(|state| state.interaction).filter(Interaction::is_live);
        let held = live.map_or(0, |live| live.message_count);
        usize::try_from(MAX_MESSAGES.saturating_sub(held)).unwrap_or(0)
    }

    /// The attention's interaction is full: it stands aside, so that another of its lineage can take what comes.
    pub(crate) fn flood(&mut self, attention: AttentionId) {
        if let Some(entry) = self.entries.get_mut(&attention) {
            entry.floods = true;
        }
    }

    /// What is published of the interaction's beginning says that it came in out of hours.
    pub(crate) fn mark_out_of_hours(&mut self, interaction: InteractionId) {
        for announcement in &mut self.announcements {
            if let Event::InteractionQueued { interaction: begun, .. } = &announcement.happened.event {
                announcement.out_of_hours |= *begun == interaction;
            }
        }
    }

    /// Adds participants, lower-cased, bounded.
    pub(crate) fn admit(&mut self, attention: AttentionId, addresses: impl IntoIterator<Item = String>) {
        let Some(entry) = self.entries.get_mut(&attention) else { return };
        for address in addresses {
            let room = entry.head.participants.len() < MAX_PARTICIPANTS;
            if room && !entry.head.participants.contains(&address) {
                entry.head.participants.push(address);
                entry.head_changed = true;
            }
        }
    }

    /// How the loads of agents change: weights of open items and offers, after minus before. Each is freed as it was stored, so that
    /// whatever way an item leaves its holder gives back what it took.
    pub fn loads(&self) -> BTreeMap<(UserKey, Channel), i32> {
        let mut loads = BTreeMap::new();
        for entry in self.entries.values() {
            for touched in entry.interactions.values() {
                let freed = touched.stored.as_ref().and_then(Interaction::burden);
                let taken = touched.now.burden();
                for (burden, sign) in [(freed, -1), (taken, 1)] {
                    if let Some((holder, weight)) = burden {
                        *loads.entry((holder.clone(), entry.attention.channel)).or_insert(0) += sign * weight;
                    }
                }
            }
        }
        loads.retain(|_, change| *change != 0);
        loads
    }
}

/// Most participants of an attention; a limit keeps a forged Cc list from growing a row.
const MAX_PARTICIPANTS: usize = 100;

impl Entry {
    fn stored(loaded: store::LoadedAttention) -> Self {
        Self {
            stored_sequence: loaded.head.sequence,
            attention: loaded.head,
            head: Head {
                customer_address: loaded.customer_address,
                subject: loaded.subject,
                lineage: loaded.lineage.uuid(),
                participants: loaded.participants,
            },
            head_changed: false,
            floods: false,
            interactions: BTreeMap::new(),
        }
    }

    /// The state with one interaction addressed; `None` the live or else last one.
    fn addressed(&self, interaction: Option<InteractionId>) -> Attention {
        let touched = match interaction {
            Some(id) => self.interactions.get(&id),
            None => self.interactions.values().max_by_key(|t| (t.now.is_live(), t.now.ordinal)),
        };
        Attention { interaction: touched.map(|touched| touched.now.clone()), ..self.attention.clone() }
    }

    fn take(&mut self, decision: &Decision, traceparent: &str) {
        let Some(state) = &decision.state else { return };
        if let Some(interaction) = &state.interaction {
            match self.interactions.get_mut(&interaction.id) {
                Some(touched) => touched.now = interaction.clone(),
                None => {
                    let lines = Lines { last_message: None, traceparent: traceparent.to_owned() };
                    let touched = Touched { stored: None, now: interaction.clone(), lines };
                    self.interactions.insert(interaction.id, touched);
                }
            }
        }
        self.attention = Attention { interaction: None, ..state.clone() };
    }
}
