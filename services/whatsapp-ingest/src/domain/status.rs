//! What became of a message of ours: a lattice, so that the order in which Meta tells it does not matter.
//!
//! Source: Meta, "Status messages webhook reference" (May 2026): sent, delivered, read, played and failed come in any order,
//! with gaps and repeats. The highest of sent < delivered < read < played wins; failed counts only while nothing from
//! delivered upwards has come.

use hilo_kit::ids::Uuid;
use hilo_proto::delivery::v1::SendState;
use hilo_proto::inbound::v1::WhatsAppIdentity;
use serde_json::Value;
use time::OffsetDateTime;

use super::identity;
use super::json::{first_error, short, text, whole};
use super::send::State;

/// Longest id of Meta's that is one.
const ID_CHARS: usize = 512;

/// How far a sent message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    /// Meta has it.
    Sent,
    /// It is on the customer's device.
    Delivered,
    /// It was shown.
    Read,
    /// The voice note was played.
    Played,
}

impl Reached {
    const ALL: [Self; 4] = [Self::Sent, Self::Delivered, Self::Read, Self::Played];

    /// As stored, and as Meta names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reached::Sent => "sent",
            Reached::Delivered => "delivered",
            Reached::Read => "read",
            Reached::Played => "played",
        }
    }

    /// From the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reached| reached.as_str() == text)
    }

    /// As reported.
    pub fn reported(self) -> SendState {
        match self {
            Reached::Sent => SendState::Sent,
            Reached::Delivered => SendState::Delivered,
            Reached::Read => SendState::Read,
            Reached::Played => SendState::Played,
        }
    }
}

/// What a status tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has come this far.
    Reached(Reached),
    /// It will not come.
    Failed,
}

impl Told {
    /// As stored, and as Meta names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Told::Reached(reached) => reached.as_str(),
            Told::Failed => "failed",
        }
    }

    /// From the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "failed" { Some(Told::Failed) } else { Reached::parse(text).map(Told::Reached) }
    }
}

/// A status of a webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Meta's id of our message.
    pub wamid: String,
    /// What it tells.
    pub told: Told,
    /// Our id of the send, as Meta gave it back.
    pub opaque: Option<Uuid>,
    /// Meta's instant.
    pub happened_at: OffsetDateTime,
    /// Meta's error code, 0 when there is none.
    pub error_code: i32,
    /// Meta's words for it.
    pub error_text: String,
    /// Whom the message went to.
    pub reached: Option<WhatsAppIdentity>,
}

/// Why a status is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It has no id.
    NoId,
    /// Its word is another one.
    Word(String),
}

/// Reads an element of `statuses`.
///
/// # Errors
/// [`Unread`].
pub fn read(status: &Value, received_at: OffsetDateTime) -> Result<Status, Unread> {
    let wamid = text(status, "id");
    if wamid.is_empty() || wamid.len() > ID_CHARS {
        return Err(Unread::NoId);
    }
    let word = short(status, "status", 80);
    let Some(told) = Told::parse(&word) else { return Err(Unread::Word(word)) };
    let happened_at = whole(status, "timestamp").filter(|seconds| *seconds > 0);
    let happened_at = happened_at.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let (error_code, error_text) = first_error(status);
    Ok(Status {
        wamid,
        told,
        opaque: Uuid::try_parse(&text(status, "biz_opaque_callback_data")).ok(),
        happened_at: happened_at.unwrap_or(received_at),
        error_code,
        error_text,
        reached: identity::of_status(status),
    })
}

/// What a status does to a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that was not known.
    Nothing,
    /// It has come further: sent, and this far.
    Raise(Reached),
    /// It has failed.
    Fail,
    /// It contradicts what is known and is only recorded.
    Anomaly,
}

/// Decides; pure.
pub fn effect(state: State, reached: Option<Reached>, told: Told) -> Effect {
    match (told, state) {
        (Told::Reached(new), _) if reached.is_some_and(|known| known >= new) => Effect::Nothing,
        // A message that failed later was sent before.
        (Told::Reached(Reached::Sent), State::Failed) => Effect::Nothing,
        (Told::Reached(new), _) => Effect::Raise(new),
        (Told::Failed, _) if reached.is_some_and(|known| known >= Reached::Delivered) => Effect::Anomaly,
        // Certainly not sent already, and perhaps to be tried again: an attempt that failed says nothing new.
        (Told::Failed, State::Planned | State::Failed) => Effect::Nothing,
        (Told::Failed, State::Attempting | State::Doubtful | State::Sent | State::Unknown) => Effect::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(order: &[Told]) -> (State, Option<Reached>) {
        let (mut state, mut reached) = (State::Sent, None);
        for told in order {
            match effect(state, reached, *told) {
                Effect::Raise(to) => (state, reached) = (State::Sent, Some(to)),
                Effect::Fail => state = State::Failed,
                Effect::Nothing | Effect::Anomaly => {}
            }
        }
        (state, reached)
    }

    fn permutations(of: &[Told]) -> Vec<Vec<Told>> {
        if of.is_empty() {
            return vec![vec![]];
        }
        let mut all = Vec::new();
        for (n, first) in of.iter().enumerate() {
            let rest: Vec<Told> =
                of.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, told)| *told).collect();
            for mut tail in permutations(&rest) {
                tail.insert(0, *first);
                all.push(tail);
            }
        }
        all
    }

    #[test]
    fn all_orders_with_gaps_and_repeats_end_alike() {
        use Reached::{Delivered, Played, Read, Sent};
        let up = |reached| Told::Reached(reached);
        let orders = permutations(&[up(Sent), up(Delivered), up(Read), up(Played)]);
        assert_eq!(orders.len(), 24);
        for order in orders {
            assert_eq!(run(&order), (State::Sent, Some(Played)), "{order:?}");
            let twice: Vec<Told> = order.iter().chain(&order).copied().collect();
            assert_eq!(run(&twice), (State::Sent, Some(Played)), "{twice:?}");
            for gap in 0..4 {
                let mut gapped = order.clone();
                let left = gapped.remove(gap);
                let highest = if left == up(Played) { Read } else { Played };
                assert_eq!(run(&gapped), (State::Sent, Some(highest)), "{gapped:?}");
            }
        }
    }

    #[test]
    fn failed_shows_only_while_nothing_from_delivered_upwards_came() {
        for order in permutations(&[Told::Reached(Reached::Sent), Told::Failed, Told::Failed]) {
            assert_eq!(run(&order).0, State::Failed, "{order:?}");
        }
        for order in
            permutations(&[Told::Reached(Reached::Delivered), Told::Failed, Told::Reached(Reached::Sent)])
        {
            assert_eq!(run(&order), (State::Sent, Some(Reached::Delivered)), "{order:?}");
        }
        assert_eq!(effect(State::Sent, Some(Reached::Read), Told::Failed), Effect::Anomaly);
    }

    #[test]
    fn any_certain_status_ends_a_doubt_and_a_repetition() {
        let sent = Told::Reached(Reached::Sent);
        for state in [State::Planned, State::Attempting, State::Doubtful, State::Unknown] {
            assert_eq!(effect(state, None, sent), Effect::Raise(Reached::Sent), "{state:?}");
        }
        for state in [State::Attempting, State::Doubtful, State::Unknown] {
            assert_eq!(effect(state, None, Told::Failed), Effect::Fail, "{state:?}");
        }
        assert_eq!(effect(State::Planned, None, Told::Failed), Effect::Nothing);
    }
}
