//! The life of a send: `planned → attempting → sent | failed`, and by way of `doubtful` to `unknown` when nobody answered.
//!
//! The Graph API has no idempotency: what may have gone out is never sent again by itself. A status that carries our id tells
//! what became of it; without one it is `unknown` after a while, and a person's matter.

use std::time::Duration;

use hilo_proto::delivery::v1::SendState;
use hilo_proto::inbound::v1::WhatsAppIdentity;

use super::class::{ErrorClass, Scope, class};
use super::unfit::Unfit;

/// Longest time that something certainly not sent is tried again.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Attempts at Meta's own trouble.
const TRANSIENT_ATTEMPTS: u32 = 8;
/// Attempts after a file was refused, which may be Meta's trouble.
const MEDIA_ATTEMPTS: u32 = 3;
/// Attempts of a read mark.
const MARK_ATTEMPTS: u32 = 3;
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Shortest pause of a number that must not send until a person has looked; then one message tries again.
const STOPPED: Duration = Duration::from_secs(60);

/// Where a send stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its first or next attempt; certainly not sent.
    Planned,
    /// An attempt was begun and its end is not known here.
    Attempting,
    /// An attempt ended without an answer; a status may still tell.
    Doubtful,
    /// Meta has it.
    Sent,
    /// Certainly not sent, or failed later, and never tried again by itself.
    Failed,
    /// May have been sent; a person's matter.
    Unknown,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Planned, Self::Attempting, Self::Doubtful, Self::Sent, Self::Failed, Self::Unknown];

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Planned => "planned",
            State::Attempting => "attempting",
            State::Doubtful => "doubtful",
            State::Sent => "sent",
            State::Failed => "failed",
            State::Unknown => "unknown",
        }
    }

    /// From the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// As reported.
    pub fn reported(self) -> SendState {
        match self {
            State::Planned | State::Attempting | State::Doubtful => SendState::Queued,
            State::Sent => SendState::Sent,
            State::Failed => SendState::Failed,
            State::Unknown => SendState::Unknown,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Meta has it.
    Accepted {
        /// Under this id (empty for a read mark, which has none).
        wamid: String,
        /// Whom it goes to, as far as Meta says.
        reached: Option<Box<WhatsAppIdentity>>,
    },
    /// Meta refused it with a code.
    Refused {
        /// `error.code`.
        code: i32,
        /// `error_data.details`, else the message.
        text: String,
    },
    /// It never left: no connection, no token.
    NotSent {
        /// Stable reason.
        reason: &'static str,
        /// For people.
        text: String,
    },
    /// It left, and nobody knows what became of it.
    NoAnswer(String),
    /// It can never leave as it is.
    Unsendable {
        /// Why.
        why: Unfit,
        /// For people.
        text: String,
    },
}

/// What else an outcome holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nothing.
    Nothing,
    /// The customer, for so long.
    Pair(Duration),
    /// The number, for so long; an operator should look when it is stopped.
    Number(Duration),
}

/// What becomes of a send after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    /// New state.
    pub state: State,
    /// Time until it is due again.
    pub after: Option<Duration>,
    /// Meta's id.
    pub wamid: String,
    /// Whom it goes to, as far as Meta says.
    pub reached: Option<Box<WhatsAppIdentity>>,
    /// Stable reason; empty when sent.
    pub reason: &'static str,
    /// Meta's code, 0 without.
    pub code: i32,
    /// Words.
    pub text: String,
    /// What else waits.
    pub hold: Hold,
}

/// What is known when an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attempted {
    /// Attempts made, this one included.
    pub attempts: u32,
    /// Time since the send was taken.
    pub age: Duration,
    /// Pauses of the number in a row.
    pub pauses: u32,
    /// First pause before a repetition.
    pub retry: Duration,
    /// How long a status is waited for.
    pub doubt: Duration,
    /// Spreads repetitions, 0 to 1.
    pub jitter: f64,
}

impl Attempted {
    fn backoff(&self, times: u32, base: Duration) -> Duration {
        let doubled = base.saturating_mul(1 << times.saturating_sub(1).min(16));
        doubled.min(LONGEST).mul_f64(1.0 + self.jitter.clamp(0.0, 1.0) / 4.0)
    }
}

/// Decides for a read mark: again is harmless, so there is no doubt, and a few attempts are enough.
pub fn next_of_mark(outcome: Outcome, at: Attempted) -> Next {
    let outcome = match outcome {
        Outcome::NoAnswer(text) => Outcome::NotSent { reason: "NO_ANSWER", text },
        other @ (Outcome::Accepted { .. }
        | Outcome::Refused { .. }
        | Outcome::NotSent { .. }
        | Outcome::Unsendable { .. }) => other,
    };
    let next = next(outcome, at);
    if next.state == State::Planned && at.attempts >= MARK_ATTEMPTS {
        return Next { state: State::Failed, after: None, ..next };
    }
    next
}

/// Decides; pure.
pub fn next(outcome: Outcome, at: Attempted) -> Next {
    let end = |state, reason, code, text| Next {
        state,
        after: None,
        wamid: String::new(),
        reached: None,
        reason,
        code,
        text,
        hold: Hold::Nothing,
    };
    match outcome {
        Outcome::Accepted { wamid, reached } => {
            Next { wamid, reached, ..end(State::Sent, "", 0, String::new()) }
        }
        Outcome::NoAnswer(text) => {
            Next { after: Some(at.doubt), ..end(State::Doubtful, "NO_ANSWER", 0, text) }
        }
        Outcome::NotSent { reason, text } => {
            again(end(State::Failed, reason, 0, text), at, u32::MAX, Hold::Nothing)
        }
        Outcome::Refused { code, text } => refused(end(State::Failed, class(code).reason(), code, text), at),
        Outcome::Unsendable { why, text } => end(State::Failed, why.as_str(), 0, text),
    }
}

impl Next {
    /// What becomes of a send that was called unknown already when this came late: its conversation went on and a person may have
    /// written it again, so what certainly did not go out has failed and only a person sends it again.
    pub fn after_unknown(self) -> Self {
        match self.state {
            State::Planned => Self { state: State::Failed, after: None, ..self },
            State::Attempting | State::Doubtful | State::Unknown | State::Sent | State::Failed => self,
        }
    }
}

fn refused(failed: Next, at: Attempted) -> Next {
    let number_pause = at.pauses.saturating_add(1);
    match class(failed.code) {
        ErrorClass::Credentials | ErrorClass::Blocked => {
            let pause = at.backoff(number_pause, STOPPED);
            again(failed, at, u32::MAX, Hold::Number(pause))
        }
        ErrorClass::Throttled(Scope::Number) => {
            let pause = at.backoff(number_pause, at.retry);
            again(failed, at, u32::MAX, Hold::Number(pause))
        }
        ErrorClass::Throttled(Scope::Pair) => {
            // Meta asks for pauses that grow by powers of four (its page on throughput).
            let pause = at.backoff(at.attempts.saturating_mul(2), at.retry);
            again(failed, at, u32::MAX, Hold::Pair(pause))
        }
        ErrorClass::Transient => again(failed, at, TRANSIENT_ATTEMPTS, Hold::Nothing),
        ErrorClass::Media => again(failed, at, MEDIA_ATTEMPTS, Hold::Nothing),
        ErrorClass::Window
        | ErrorClass::OptedOut
        | ErrorClass::Withheld
        | ErrorClass::Recipient
        | ErrorClass::Country
        | ErrorClass::Content
        | ErrorClass::Unlisted => failed,
    }
}

/// Certainly not sent: planned again, until it is too old or was tried too often.
fn again(failed: Next, at: Attempted, attempts: u32, hold: Hold) -> Next {
    if at.age >= GIVE_UP_AFTER || at.attempts >= attempts {
        return Next { hold, ..failed };
    }
    let after = match hold {
        Hold::Nothing => at.backoff(at.attempts, at.retry),
        Hold::Pair(pause) | Hold::Number(pause) => pause,
    };
    Next { state: State::Planned, after: Some(after), hold, ..failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(attempts: u32, hours: u64) -> Attempted {
        Attempted {
            attempts,
            age: Duration::from_secs(hours * 3600),
            pauses: 0,
            retry: Duration::from_secs(2),
            doubt: Duration::from_secs(60),
            jitter: 0.0,
        }
    }

    fn accepted(wamid: &str) -> Outcome {
        Outcome::Accepted { wamid: wamid.into(), reached: None }
    }

    fn refusal(code: i32) -> Outcome {
        Outcome::Refused { code, text: "x".into() }
    }

    #[test]
    fn every_outcome_has_its_end() {
        use State::{Doubtful, Failed, Planned, Sent};
        let secs = |n| Some(Duration::from_secs(n));
        let not_sent = || Outcome::NotSent { reason: "UNREACHABLE", text: "x".into() };
        let table = [
            (accepted("wamid.1"), at(1, 0), Sent, None, ""),
            (Outcome::NoAnswer("x".into()), at(1, 0), Doubtful, secs(60), "NO_ANSWER"),
            (not_sent(), at(1, 0), Planned, secs(2), "UNREACHABLE"),
            (not_sent(), at(3, 0), Planned, secs(8), "UNREACHABLE"),
            (not_sent(), at(3, 24), Failed, None, "UNREACHABLE"),
            (refusal(190), at(1, 0), Planned, secs(60), "CREDENTIALS_REFUSED"),
            (refusal(190), at(1, 24), Failed, None, "CREDENTIALS_REFUSED"),
            (refusal(131_031), at(1, 0), Planned, secs(60), "NUMBER_BLOCKED"),
            (refusal(130_429), at(5, 0), Planned, secs(2), "RATE_LIMITED"),
            (refusal(131_056), at(1, 0), Planned, secs(4), "RATE_LIMITED"),
            (refusal(131_056), at(2, 0), Planned, secs(16), "RATE_LIMITED"),
            (refusal(131_047), at(1, 0), Failed, None, "WINDOW_CLOSED"),
            (refusal(131_050), at(1, 0), Failed, None, "OPTED_OUT"),
            (refusal(131_049), at(1, 0), Failed, None, "WITHHELD_BY_META"),
            (refusal(131_026), at(1, 0), Failed, None, "RECIPIENT_UNREACHABLE"),
            (refusal(130_497), at(1, 0), Failed, None, "COUNTRY_RESTRICTED"),
            (refusal(131_037), at(1, 0), Planned, secs(60), "NUMBER_BLOCKED"),
            (refusal(133_010), at(1, 0), Planned, secs(60), "NUMBER_BLOCKED"),
            (refusal(100), at(1, 0), Failed, None, "CONTENT_REFUSED"),
            (refusal(131_053), at(1, 0), Planned, secs(2), "MEDIA_REFUSED"),
            (refusal(131_053), at(3, 0), Failed, None, "MEDIA_REFUSED"),
            (refusal(131_000), at(1, 0), Planned, secs(2), "TEMPORARY_FAILURE"),
            (refusal(131_000), at(8, 0), Failed, None, "TEMPORARY_FAILURE"),
            (refusal(999_999), at(1, 0), Failed, None, "REFUSED"),
            (
                Outcome::Unsendable { why: Unfit::ObjectMissing, text: "x".into() },
                at(1, 0),
                Failed,
                None,
                "OBJECT_MISSING",
            ),
        ];
        for (outcome, attempted, state, after, reason) in table {
            let next = next(outcome.clone(), attempted);
            assert_eq!(
                (next.state, next.after, next.reason),
                (state, after, reason),
                "{outcome:?} {attempted:?}"
            );
        }
    }

    #[test]
    fn what_was_called_unknown_never_leaves_by_itself() {
        let not_sent = Outcome::NotSent { reason: "LEASE_LOST", text: "x".into() };
        for outcome in [not_sent, refusal(130_429), refusal(131_047)] {
            let next = next(outcome.clone(), at(1, 0)).after_unknown();
            assert_eq!((next.state, next.after), (State::Failed, None), "{outcome:?}");
        }
        let accepted = next(accepted("wamid.1"), at(1, 0)).after_unknown();
        assert_eq!((accepted.state, accepted.wamid.as_str()), (State::Sent, "wamid.1"));
    }

    #[test]
    fn a_mark_is_sent_or_failed_and_never_in_doubt() {
        let silent = || Outcome::NoAnswer("x".into());
        let first = next_of_mark(silent(), at(1, 0));
        assert_eq!((first.state, first.reason), (State::Planned, "NO_ANSWER"));
        let last = next_of_mark(silent(), at(3, 0));
        assert_eq!((last.state, last.after, last.reason), (State::Failed, None, "NO_ANSWER"));
        assert_eq!(next_of_mark(refusal(190), at(3, 0)).state, State::Failed);
        assert_eq!(next_of_mark(refusal(100), at(1, 0)).state, State::Failed);
        assert_eq!(next_of_mark(accepted(""), at(3, 0)).state, State::Sent);
    }

    #[test]
    fn only_the_scope_of_a_limit_waits() {
        let hold = |code| next(refusal(code), at(1, 0)).hold;
        assert_eq!(hold(190), Hold::Number(Duration::from_secs(60)));
        assert_eq!(hold(131_048), Hold::Number(Duration::from_secs(2)));
        assert_eq!(hold(131_056), Hold::Pair(Duration::from_secs(4)));
        assert_eq!((hold(131_000), hold(130_497)), (Hold::Nothing, Hold::Nothing));
        let third = next(refusal(190), Attempted { pauses: 2, ..at(1, 0) }).hold;
        assert_eq!(third, Hold::Number(Duration::from_secs(240)));
    }

    #[test]
    fn states_are_stored_and_read() {
        assert!(State::ALL.iter().all(|state| State::parse(state.as_str()) == Some(*state)));
    }
}
