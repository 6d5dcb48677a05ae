//! Made-up courses of attentions as their public events, the same for the same seed.

use hilo_proto::event::v1::{
    AttentionEvent, AttentionState, Direction, EventType, InteractionSnapshot, InteractionState,
    MessageSummary, OfferSnapshot,
};
use uuid::Uuid;

use crate::sample::at;

/// xorshift64: enough to mix courses, and the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    pub fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub fn of(&mut self, from: &[&'static str]) -> &'static str {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    /// In an order of its own.
    pub fn shuffled<T>(&mut self, mut things: Vec<T>) -> Vec<T> {
        for place in (1..things.len()).rev() {
            let other = usize::try_from(self.below(place as u64 + 1)).unwrap();
            things.swap(place, other);
        }
        things
    }
}

/// An attention while its events are made up.
struct Course<'d> {
    dice: &'d mut Dice,
    attention: Uuid,
    sequence: i64,
    seconds: i64,
    closed: bool,
    interaction: InteractionSnapshot,
    /// Messages that were sent in interactions that ended, with these as they ended.
    sent: Vec<(InteractionSnapshot, Uuid)>,
    events: Vec<AttentionEvent>,
}

impl Course<'_> {
    fn happens(&mut self, kind: i32, actor: &str, reason: &str) -> &mut AttentionEvent {
        self.sequence += 1;
        self.seconds += i64::try_from(self.dice.below(600)).unwrap();
        let instant = hilo_kit::clock::to_proto(at(self.seconds));
        let state = if self.closed { AttentionState::Closed } else { AttentionState::Open };
        self.events.push(AttentionEvent {
            r#type: kind,
            attention_id: self.attention.to_string(),
            attention_number: 1,
            sequence: self.sequence,
            occurred_at: Some(instant),
            attention_state: state.into(),
            channel: "email".into(),
            campaign_key: self.interaction.campaign_key.clone(),
            interaction: Some(self.interaction.clone()),
            actor_key: actor.into(),
            reason: reason.into(),
            ..Default::default()
        });
        self.events.last_mut().unwrap()
    }

    fn open(&mut self, kind: i32, agent: &str) {
        self.interaction.state = InteractionState::Open.into();
        self.interaction.agent_key = agent.into();
        self.happens(kind, agent, "");
    }

    fn back(&mut self, kind: i32, reason: &str) {
        self.interaction.state = InteractionState::Queued.into();
        self.interaction.agent_key.clear();
        self.happens(kind, "", reason);
    }

    fn message(&mut self, kind: EventType, id: Uuid, actor: &str, delivery: &str) {
        let way = if kind == EventType::MessageReceived { Direction::Inbound } else { Direction::Outbound };
        let summary = MessageSummary {
            message_id: id.to_string(),
            direction: way.into(),
            delivery_state: delivery.into(),
            ..Default::default()
        };
        self.happens(kind.into(), actor, "").message = Some(summary);
    }

    /// An agent works on it: answers, perhaps loses it, ends it or not.
    fn worked(&mut self) {
        const AGENTS: [&str; 3] = ["ana", "luis", "sol"];
        let mut agent = self.dice.of(&AGENTS);
        self.open(EventType::InteractionOpened.into(), agent);
        if self.dice.one_in(3) {
            // 19: INTERACTION_ORPHANED.
            match self.dice.below(3) {
                0 => self.back(19, ""),
                1 => self.back(EventType::InteractionReleased.into(), "released"),
                _ => {
                    self.interaction.campaign_key = self.dice.of(&["ventas", "soporte", "cerrada"]).into();
                    self.back(EventType::InteractionTransferredOut.into(), "transferred");
                    self.back(EventType::InteractionTransferredIn.into(), "transferred");
                }
            }
            agent = self.dice.of(&AGENTS);
            self.open(EventType::InteractionOpened.into(), agent);
        }
        let mut sent = Vec::new();
        for _ in 0..self.dice.below(3) {
            let id = Uuid::from_u128(u128::from(self.dice.below(u64::MAX)));
            let actor = if self.dice.one_in(5) { "" } else { agent };
            self.message(EventType::MessageQueued, id, actor, "queued");
            sent.push(id);
            for state in ["sent", "failed", "unknown"] {
                if self.dice.one_in(2) {
                    self.message(EventType::MessageStatusChanged, id, "", state);
                }
            }
        }
        if self.dice.one_in(4) {
            return;
        }
        self.interaction.state = InteractionState::Ended.into();
        self.happens(EventType::InteractionEnded.into(), agent, "");
        if self.dice.one_in(2) {
            self.closed = true;
            self.happens(EventType::AttentionClosed.into(), agent, "");
        }
        let ended = self.interaction.clone();
        self.sent.extend(sent.into_iter().map(|id| (ended.clone(), id)));
    }

    /// Mails of interactions that ended, whenever that was, come back now; the attention may be closed, or open again.
    fn bounced(&mut self) {
        for (ended, id) in self.sent.clone() {
            if self.dice.one_in(2) {
                let live = self.interaction.clone();
                if ended.interaction_id != live.interaction_id {
                    self.interaction = ended;
                }
                self.message(EventType::MessageStatusChanged, id, "", "failed");
                self.interaction = live;
            }
        }
    }

    /// An agent opens the ended interaction again, and the attention with it.
    fn reopened(&mut self) {
        self.closed = false;
        self.open(EventType::InteractionReopened.into(), "luis");
    }
}

/// Events of `count` attentions, each attention's in order.
pub fn made_up(dice: &mut Dice, count: u32) -> Vec<AttentionEvent> {
    (0..count).flat_map(|number| course(dice, number)).collect()
}

fn course(dice: &mut Dice, number: u32) -> Vec<AttentionEvent> {
    let attention = Uuid::from_u128(u128::from(dice.below(u64::MAX)) << 32 | u128::from(number));
    let seconds = i64::try_from(dice.below(4 * 86_400)).unwrap();
    let campaign = dice.of(&["ventas", "soporte", "cerrada"]);
    let mut course = Course {
        attention,
        sequence: 0,
        seconds,
        closed: false,
        interaction: InteractionSnapshot::default(),
        sent: Vec::new(),
        events: Vec::new(),
        dice,
    };
    course.happens(EventType::AttentionOpened.into(), "", "").interaction = None;
    for ordinal in 1..=i32::try_from(1 + course.dice.below(2)).unwrap() {
        if course.closed || (ordinal > 1 && course.interaction.state != i32::from(InteractionState::Ended)) {
            break;
        }
        let outbound = course.dice.one_in(4);
        let way = if outbound { Direction::Outbound } else { Direction::Inbound };
        let waiting = hilo_kit::clock::to_proto(at(course.seconds));
        course.interaction = InteractionSnapshot {
            interaction_id: Uuid::from_u128(attention.as_u128() ^ (ordinal as u128) << 100).to_string(),
            version: 1,
            state: InteractionState::Queued.into(),
            ordinal,
            direction: way.into(),
            campaign_key: campaign.into(),
            waiting_since: Some(waiting),
            ..Default::default()
        };
        if outbound {
            // 18: INTERACTION_STARTED.
            course.open(18, "ana");
        } else {
            let late = course.dice.one_in(3);
            course.happens(EventType::InteractionQueued.into(), "", "").out_of_hours = late;
            let id = Uuid::from_u128(u128::from(course.dice.below(u64::MAX)));
            course.message(EventType::MessageReceived, id, "", "");
            if course.dice.one_in(2) {
                course.interaction.offer = Some(OfferSnapshot::default());
                course.happens(EventType::InteractionOffered.into(), "", "");
                course.interaction.offer = None;
            }
        }
        if !course.dice.one_in(5) {
            course.worked();
        }
    }
    course.bounced();
    if course.interaction.state == i32::from(InteractionState::Ended) && course.dice.one_in(4) {
        course.reopened();
        course.bounced();
    }
    course.events
}
