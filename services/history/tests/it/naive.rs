//! The reports, computed the plain way: all events in a list, one interaction after the other. Shares nothing with the
//! service but the contracts.

use std::collections::BTreeMap;

use hilo_proto::event::v1::{AttentionEvent, EventType};
use time::{Duration, OffsetDateTime};

/// What is counted of an interaction, and of a message.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub day: String,
    pub campaign: String,
    pub agent: String,
    pub direction: i32,
    pub state: i32,
    pub closed: bool,
    pub ordinal: i32,
    pub reassigned: i64,
    pub orphaned: i64,
    pub late: bool,
    pub offer_ms: Option<i64>,
    pub open_ms: Option<i64>,
    pub answer_ms: Option<i64>,
    /// Of messages: `received`, or the last delivery state.
    pub fate: String,
}

fn instant(at: &Option<prost_types::Timestamp>) -> OffsetDateTime {
    hilo_kit::clock::from_proto(at.as_ref().unwrap()).unwrap()
}

/// In Lima, five hours behind UTC, without summer time.
fn day(at: OffsetDateTime) -> String {
    (at - Duration::hours(5)).date().to_string()
}

/// Events of each interaction in order.
fn by_interaction(events: &[AttentionEvent]) -> BTreeMap<String, Vec<&AttentionEvent>> {
    let mut all: BTreeMap<String, Vec<&AttentionEvent>> = BTreeMap::new();
    for event in events {
        if let Some(interaction) = &event.interaction {
            all.entry(interaction.interaction_id.clone()).or_default().push(event);
        }
    }
    all.values_mut().for_each(|events| events.sort_by_key(|event| event.sequence));
    all
}

/// The attention was closed together with its last end, and it was not opened again.
fn closed_with_it(events: &[&AttentionEvent]) -> bool {
    // 2: ATTENTION_CLOSED, 8: INTERACTION_ENDED, 9: INTERACTION_REOPENED, 18: INTERACTION_STARTED.
    let mut ways = events.iter().map(|event| event.r#type).filter(|kind| [2, 8, 9, 18].contains(kind));
    ways.next_back() == Some(2)
}

fn interaction(events: &[&AttentionEvent]) -> Counted {
    let snapshot = |event: &AttentionEvent| event.interaction.clone().unwrap();
    let (first, last) = (snapshot(events[0]), snapshot(events[events.len() - 1]));
    let began = instant(&first.waiting_since);
    let since = |wanted: &dyn Fn(&AttentionEvent) -> bool| {
        let event = events.iter().find(|event| wanted(event))?;
        i64::try_from((instant(&event.occurred_at) - began).whole_milliseconds()).ok()
    };
    let kinds = |number: i32| events.iter().filter(move |event| event.r#type == number).count() as i64;
    let mut reassigned = 0;
    let mut had = String::new();
    for event in events {
        match event.r#type {
            11 => {
                reassigned += 1;
                had.clear();
            }
            7 | 9 | 18 => {
                let now = snapshot(event).agent_key;
                reassigned += i64::from(event.r#type == 7 && !had.is_empty() && had != now);
                had = now;
            }
            _ => {}
        }
    }
    let mut agents = events.iter().map(|event| snapshot(event).agent_key).filter(|agent| !agent.is_empty());
    Counted {
        day: day(began),
        campaign: last.campaign_key,
        agent: agents.next_back().unwrap_or_default(),
        direction: last.direction,
        state: last.state,
        closed: closed_with_it(events),
        ordinal: last.ordinal,
        reassigned,
        orphaned: kinds(19),
        late: events.iter().any(|event| event.out_of_hours),
        offer_ms: since(&|event| event.r#type() == EventType::InteractionOffered),
        open_ms: since(&|event| [7, 9, 18].contains(&event.r#type)),
        answer_ms: since(&|event| event.r#type() == EventType::MessageQueued && !event.actor_key.is_empty()),
        fate: String::new(),
    }
}

/// Every interaction.
pub fn interactions(events: &[AttentionEvent]) -> Vec<Counted> {
    by_interaction(events).values().map(|events| interaction(events)).collect()
}

/// Every message, with what its interaction has become.
pub fn messages(events: &[AttentionEvent]) -> Vec<Counted> {
    let mut all = Vec::new();
    for events in by_interaction(events).values() {
        let whole = interaction(events);
        for event in events {
            let id = event.message.as_ref().map(|message| message.message_id.clone());
            let mut statuses = events.iter().filter(|other| {
                other.r#type() == EventType::MessageStatusChanged
                    && other.message.as_ref().map(|message| message.message_id.clone()) == id
            });
            let last = statuses.next_back().map(|event| event.message.clone().unwrap().delivery_state);
            let snapshot = event.interaction.clone().unwrap();
            let (agent, fate) = match event.r#type() {
                EventType::MessageReceived => (snapshot.agent_key, "received".to_owned()),
                EventType::MessageQueued => {
                    (event.actor_key.clone(), last.unwrap_or_else(|| "queued".into()))
                }
                _ => continue,
            };
            let day = day(instant(&event.occurred_at));
            all.push(Counted { day, agent, fate, campaign: snapshot.campaign_key, ..whole.clone() });
        }
    }
    all
}

fn count(of: &[Counted], fits: impl Fn(&Counted) -> bool) -> i64 {
    of.iter().filter(|one| fits(one)).count() as i64
}

/// Number, average (half up) and greatest of the waits that there are.
fn waits(of: &[Counted], wait: impl Fn(&Counted) -> Option<i64>) -> (i64, i64, i64) {
    let waits: Vec<i64> = of.iter().filter(|one| one.direction == 1).filter_map(wait).collect();
    let (number, sum) = (waits.len() as i64, waits.iter().sum::<i64>());
    let average = if number == 0 { 0 } else { (2 * sum + number) / (2 * number) };
    (number, average, waits.into_iter().max().unwrap_or(0))
}

/// The figures of a report, in the order of the contract's fields.
pub fn figures(report: &str, of: &[Counted]) -> Vec<i64> {
    let all = of.len() as i64;
    let fate = |fate: &str| count(of, |one| one.fate == fate);
    match report {
        "Volumes" => vec![
            count(of, |one| one.ordinal == 1),
            all,
            count(of, |one| one.direction == 1),
            count(of, |one| one.direction == 2),
            count(of, |one| one.state == 3),
            count(of, |one| one.state == 3 && one.closed),
        ],
        "States" => vec![
            count(of, |one| one.state == 1),
            count(of, |one| one.state == 2),
            count(of, |one| one.state == 3 && !one.closed),
            count(of, |one| one.state == 3 && one.closed),
        ],
        "Reassigned" => {
            vec![count(of, |one| one.reassigned > 0), of.iter().map(|one| one.reassigned).sum(), all]
        }
        "Orphaned" => vec![count(of, |one| one.orphaned > 0), of.iter().map(|one| one.orphaned).sum(), all],
        "OutOfHours" => vec![count(of, |one| one.late), all],
        "Messages" => vec![fate("received"), fate("sent"), fate("queued"), fate("failed"), fate("unknown")],
        "FirstResponse" => {
            let (answered, average, longest) = waits(of, |one| one.answer_ms);
            vec![answered, count(of, |one| one.direction == 1) - answered, average, longest]
        }
        "TimeToAssign" => {
            let (offered, to_offer, _) = waits(of, |one| one.offer_ms);
            let (opened, to_open, longest) = waits(of, |one| one.open_ms);
            vec![offered, to_offer, opened, to_open, longest]
        }
        other => panic!("{other} is no report"),
    }
}
