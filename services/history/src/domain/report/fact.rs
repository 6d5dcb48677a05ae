//! What the events say of an interaction: a pure function of its facts in the order of their sequence, so that it is the
//! same however often and in whatever order they came.

use time::OffsetDateTime;

use crate::domain::thread::{AttentionId, Direction, InteractionId, MessageId};

/// The reason of a transfer that nobody made: it had waited too long.
const OVERFLOW: &str = "overflow";

/// The events that reports count; the numbers are those of `hilo.event.v1.EventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub enum Happened {
    /// The attention was closed with it.
    Closed = 2,
    /// It entered a queue.
    Queued = 3,
    /// It rang.
    Offered = 4,
    /// An agent opened it.
    Opened = 7,
    /// It ended.
    Ended = 8,
    /// It was opened again.
    Reopened = 9,
    /// It went back to the queue.
    Released = 10,
    /// It left for another campaign.
    TransferredOut = 11,
    /// It came from another campaign.
    TransferredIn = 12,
    /// A customer's message.
    MessageReceived = 13,
    /// A message of ours was committed.
    MessageQueued = 14,
    /// What became of it.
    MessageStatusChanged = 15,
    /// An agent began it by a message of his own.
    Started = 18,
    /// It went back to the queue because its agent had gone.
    Orphaned = 19,
}

impl Happened {
    /// Every one.
    pub const ALL: [Self; 14] = [
        Self::Closed,
        Self::Queued,
        Self::Offered,
        Self::Opened,
        Self::Ended,
        Self::Reopened,
        Self::Released,
        Self::TransferredOut,
        Self::TransferredIn,
        Self::MessageReceived,
        Self::MessageQueued,
        Self::MessageStatusChanged,
        Self::Started,
        Self::Orphaned,
    ];

    /// Its number.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// From its number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }
}

/// State of an interaction; the numbers are those of `hilo.event.v1.InteractionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum State {
    /// Queued.
    Queued = 1,
    /// Open.
    Open = 2,
    /// Ended.
    Ended = 3,
}

impl State {
    /// From its number.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Queued, Self::Open, Self::Ended].into_iter().find(|one| *one as i16 == number)
    }
}

/// One event about an interaction, with the state after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Attention.
    pub attention: AttentionId,
    /// Its place among the attention's events.
    pub sequence: i64,
    /// Interaction.
    pub interaction: InteractionId,
    /// What happened.
    pub happened: Happened,
    /// When.
    pub at: OffsetDateTime,
    /// Campaign of the interaction.
    pub campaign: String,
    /// Agent who has it, or ended it; empty for nobody.
    pub agent: String,
    /// Who caused it; empty for the system and for customers.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// State.
    pub state: State,
    /// True when the attention is closed after it.
    pub attention_closed: bool,
    /// Who started it.
    pub direction: Direction,
    /// Position in the attention.
    pub ordinal: i32,
    /// Since when the customer waits.
    pub waiting_since: Option<OffsetDateTime>,
    /// The message it is about.
    pub message: Option<MessageId>,
    /// Its delivery state, when it is one of ours.
    pub delivery_state: String,
    /// True when it came in outside of the hours.
    pub out_of_hours: bool,
}

/// What reports know of an interaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InteractionFacts {
    /// Interaction.
    pub interaction: InteractionId,
    /// Attention.
    pub attention: AttentionId,
    /// Position in the attention.
    pub ordinal: i32,
    /// Who started it.
    pub direction: Direction,
    /// Present campaign.
    pub campaign: String,
    /// Who has or last had it; empty for nobody yet.
    pub agent: String,
    /// Present state.
    pub state: State,
    /// True when the attention was closed with it.
    pub attention_closed: bool,
    /// When the wait, or the work of an agent, began.
    pub began_at: OffsetDateTime,
    /// First ring.
    pub first_offered_at: Option<OffsetDateTime>,
    /// First opening.
    pub first_opened_at: Option<OffsetDateTime>,
    /// First message of a person of ours.
    pub first_response_at: Option<OffsetDateTime>,
    /// How often it passed to another agent or campaign.
    pub reassigned_times: i32,
    /// How often its agent had gone.
    pub orphaned_times: i32,
    /// True when it came in outside of the hours.
    pub out_of_hours: bool,
}

/// What the facts of one interaction, ordered by sequence, amount to; `None` without facts.
pub fn fold(facts: &[Fact]) -> Option<InteractionFacts> {
    let first = facts.first()?;
    let mut known = InteractionFacts {
        interaction: first.interaction,
        attention: first.attention,
        ordinal: first.ordinal,
        direction: first.direction,
        campaign: String::new(),
        agent: String::new(),
        state: first.state,
        attention_closed: false,
        began_at: first.waiting_since.unwrap_or(first.at),
        first_offered_at: None,
        first_opened_at: None,
        first_response_at: None,
        reassigned_times: 0,
        orphaned_times: 0,
        out_of_hours: false,
    };
    let mut holder = String::new();
    for fact in facts {
        apply(&mut known, &mut holder, fact);
    }
    Some(known)
}

/// `holder` is who had it open last; a reopening starts anew, since it takes nothing from anybody. Whether the attention was
/// closed with it says only its own end: later facts (a late status) know of what happened to the attention since.
fn apply(known: &mut InteractionFacts, holder: &mut String, fact: &Fact) {
    known.campaign.clone_from(&fact.campaign);
    known.state = fact.state;
    known.out_of_hours |= fact.out_of_hours;
    if !fact.agent.is_empty() {
        known.agent.clone_from(&fact.agent);
    }
    match fact.happened {
        Happened::Offered => _ = known.first_offered_at.get_or_insert(fact.at),
        Happened::Opened => {
            known.first_opened_at.get_or_insert(fact.at);
            if !holder.is_empty() && *holder != fact.agent {
                known.reassigned_times += 1;
            }
            holder.clone_from(&fact.agent);
        }
        Happened::Reopened | Happened::Started => {
            known.attention_closed = false;
            known.first_opened_at.get_or_insert(fact.at);
            holder.clone_from(&fact.agent);
        }
        Happened::Ended => known.attention_closed = false,
        // Comes after the end it belongs to.
        Happened::Closed => known.attention_closed = true,
        Happened::Orphaned => known.orphaned_times += 1,
        Happened::TransferredOut => {
            known.reassigned_times += i32::from(fact.reason != OVERFLOW);
            // Counted now, not again when somebody of the other campaign opens it.
            holder.clear();
        }
        Happened::MessageQueued if !fact.actor.is_empty() => {
            _ = known.first_response_at.get_or_insert(fact.at)
        }
        Happened::Queued
        | Happened::Released
        | Happened::TransferredIn
        | Happened::MessageReceived
        | Happened::MessageQueued
        | Happened::MessageStatusChanged => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(sequence: i64, happened: Happened, agent: &str, reason: &str) -> Fact {
        Fact {
            attention: AttentionId(Default::default()),
            sequence,
            interaction: InteractionId(Default::default()),
            happened,
            at: OffsetDateTime::from_unix_timestamp(sequence).unwrap(),
            campaign: "ventas".into(),
            agent: agent.into(),
            actor: agent.into(),
            reason: reason.into(),
            state: State::Open,
            attention_closed: false,
            direction: Direction::Inbound,
            ordinal: 1,
            waiting_since: None,
            message: None,
            delivery_state: String::new(),
            out_of_hours: false,
        }
    }

    /// What happened, by whom, why; then how often it was reassigned and orphaned.
    #[test]
    fn conditions_as_a_table() {
        use Happened::*;
        type Steps = &'static [(Happened, &'static str, &'static str)];
        let rows: [(Steps, i32, i32); 10] = [
            (&[(Queued, "", ""), (Opened, "ana", "")], 0, 0),
            (&[(Opened, "ana", ""), (Released, "", "released"), (Opened, "ana", "")], 0, 0),
            (&[(Opened, "ana", ""), (Released, "", "released"), (Opened, "luis", "")], 1, 0),
            (&[(Opened, "ana", ""), (Orphaned, "", ""), (Opened, "luis", "")], 1, 1),
            (&[(Opened, "ana", ""), (Orphaned, "", ""), (Opened, "ana", "")], 0, 1),
            (
                &[
                    (Queued, "", ""),
                    (TransferredOut, "", "overflow"),
                    (TransferredIn, "", "overflow"),
                    (Opened, "luis", ""),
                ],
                0,
                0,
            ),
            (&[(Started, "ana", ""), (Released, "", "transferred"), (Opened, "ana", "returned")], 0, 0),
            (
                &[
                    (Opened, "ana", ""),
                    (TransferredOut, "", "transferred"),
                    (TransferredIn, "", ""),
                    (Opened, "luis", ""),
                ],
                1,
                0,
            ),
            (&[(Opened, "ana", ""), (Ended, "ana", ""), (Reopened, "luis", ""), (Ended, "luis", "")], 0, 0),
            (
                &[
                    (Opened, "a", ""),
                    (Released, "", ""),
                    (Opened, "b", ""),
                    (Released, "", ""),
                    (Opened, "a", ""),
                ],
                2,
                0,
            ),
        ];
        for (steps, reassigned, orphaned) in rows {
            let facts =
                (1..).zip(steps).map(|(n, (happened, agent, reason))| fact(n, *happened, agent, reason));
            let known = fold(&facts.collect::<Vec<_>>()).unwrap();
            assert_eq!((known.reassigned_times, known.orphaned_times), (reassigned, orphaned), "{steps:?}");
        }
    }

    /// What happened, and whether the attention is closed after it; then whether it was closed together with the interaction.
    #[test]
    fn ended_and_closed_as_a_table() {
        use Happened::*;
        type Steps = &'static [(Happened, bool)];
        let rows: [(Steps, bool); 6] = [
            (&[(Opened, false), (Ended, false)], false),
            (&[(Opened, false), (Ended, true), (Closed, true)], true),
            // A later interaction closed the attention before this one's mail came back.
            (&[(Opened, false), (Ended, false), (MessageStatusChanged, true)], false),
            // And the reverse: a later one opened it again.
            (&[(Ended, true), (Closed, true), (MessageStatusChanged, false)], true),
            (&[(Ended, true), (Closed, true), (Reopened, false)], false),
            (&[(Ended, true), (Closed, true), (Reopened, false), (Ended, false)], false),
        ];
        for (steps, closed) in rows {
            let facts = (1..).zip(steps).map(|(n, (happened, attention_closed))| Fact {
                attention_closed: *attention_closed,
                ..fact(n, *happened, "ana", "")
            });
            let known = fold(&facts.collect::<Vec<_>>()).unwrap();
            assert_eq!(known.attention_closed, closed, "{steps:?}");
        }
    }

    #[test]
    fn only_a_person_answers_and_only_the_first_time_counts() {
        use Happened::*;
        let facts = [
            fact(1, Queued, "", ""),
            fact(2, MessageQueued, "", ""),
            fact(3, Offered, "", ""),
            fact(4, Opened, "ana", ""),
            fact(5, MessageQueued, "ana", ""),
            fact(6, Offered, "", ""),
            fact(7, MessageQueued, "ana", ""),
        ];
        let known = fold(&facts).unwrap();
        let second = |at: Option<OffsetDateTime>| at.map(OffsetDateTime::unix_timestamp);
        assert_eq!(second(known.first_offered_at), Some(3));
        assert_eq!(second(known.first_opened_at), Some(4));
        assert_eq!(second(known.first_response_at), Some(5));
        assert_eq!(fold(&[]), None);
    }
}
