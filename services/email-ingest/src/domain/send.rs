//! The life of a send: `planned → attempting → sent | failed | unknown`, decided per recipient by what SMTP really said.
//!
//! SMTP has no idempotency. What failed before the final dot was certainly not sent and is tried again; what broke after
//! it may have been sent: that is `unknown`, tried again once with the same Message-ID, which receivers de-duplicate by.
//! An attempt that was cut off while its final dot was held back was certainly not sent either.

use std::time::Duration;

use hilo_proto::delivery::v1::SendState;

/// Longest time a refused mail is tried again (RFC 5321 section 4.5.4.1 asks for four to five days).
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(4 * 24 * 3600);
/// First pause after a server that could not take it now.
const RETRY_BASE: Duration = Duration::from_secs(10);
/// First pause after an attempt that ended with its process. It doubles too: a mail may be what ends the process.
const CUT_OFF_BASE: Duration = Duration::from_secs(1);
/// Pause before the one repetition after an unknown outcome.
pub const UNKNOWN_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Longest reply text that a report carries, in characters.
pub const REPLY_CHARS: usize = 500;

/// Where a recipient stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientState {
    /// Waits for its first or next attempt; certainly not sent.
    Planned,
    /// An attempt was begun and its end is not known here.
    Attempting,
    /// Accepted by the next server.
    Sent,
    /// Certainly not sent and never tried again.
    Failed,
    /// May have been sent.
    Unknown,
}

impl RecipientState {
    /// All, for parsing.
    pub const ALL: [Self; 5] = [Self::Planned, Self::Attempting, Self::Sent, Self::Failed, Self::Unknown];

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            RecipientState::Planned => "planned",
            RecipientState::Attempting => "attempting",
            RecipientState::Sent => "sent",
            RecipientState::Failed => "failed",
            RecipientState::Unknown => "unknown",
        }
    }

    /// From the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// As reported.
    pub fn reported(self) -> SendState {
        match self {
            RecipientState::Planned | RecipientState::Attempting => SendState::Queued,
            RecipientState::Sent => SendState::Sent,
            RecipientState::Failed => SendState::Failed,
            RecipientState::Unknown => SendState::Unknown,
        }
    }
}

/// What the server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Reply code; 0 when there was none.
    pub code: u16,
    /// Enhanced status code (RFC 3463); may be empty.
    pub enhanced: String,
    /// The server's words, or ours when there was no server.
    pub text: String,
}

impl Reply {
    /// Without a server's reply.
    pub fn local(text: &str) -> Self {
        Self { text: text.to_owned(), ..Self::default() }
    }
}

/// How an attempt ended for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server took it.
    Accepted(Reply),
    /// Refused for good (5xx, or an address that is none).
    Refused(Reply),
    /// Not now (4xx), or the connection failed before the final dot: certainly not sent.
    NotYet(Reply),
    /// The process ended before the final dot left: certainly not sent, and no server asked for a pause.
    CutOff(Reply),
    /// The final dot went out and no answer came.
    Unknown(Reply),
}

/// What is known of a recipient when an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// True when an earlier attempt may have sent it.
    pub maybe_sent: bool,
    /// Attempts made, this one included.
    pub attempts: u32,
    /// Time since the send was accepted.
    pub age: Duration,
    /// Pause before the one repetition after an unknown outcome; `None` when there is none.
    pub unknown_retry: Option<Duration>,
}

/// Where a recipient goes from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// New state.
    pub state: RecipientState,
    /// When it is tried again.
    pub retry_after: Option<Duration>,
    /// What to report.
    pub reply: Reply,
}

/// Decides; pure. `jitter` in 0..1 spreads retries.
pub fn next(outcome: Outcome, attempted: Attempted, jitter: f64) -> Next {
    let late = attempted.age >= GIVE_UP_AFTER;
    match (outcome, attempted.maybe_sent) {
        (Outcome::Accepted(reply), _) => Next { state: RecipientState::Sent, retry_after: None, reply },
        (Outcome::Refused(reply), false) => Next { state: RecipientState::Failed, retry_after: None, reply },
        // The first attempt may have arrived: a refusal of the repetition does not prove the contrary.
        (Outcome::Refused(reply), true) => Next { state: RecipientState::Unknown, retry_after: None, reply },
        (Outcome::NotYet(reply), maybe_sent) => {
            again(reply, maybe_sent, (!late).then(|| backoff(RETRY_BASE, attempted.attempts, jitter)))
        }
        (Outcome::CutOff(reply), maybe_sent) => {
            again(reply, maybe_sent, (!late).then(|| backoff(CUT_OFF_BASE, attempted.attempts, jitter)))
        }
        (Outcome::Unknown(reply), maybe_sent) => {
            let pause = attempted.unknown_retry.filter(|_| !maybe_sent && !late);
            Next { state: RecipientState::Unknown, retry_after: pause, reply }
        }
    }
}

/// Certainly not sent this time; without a pause it is never tried again.
fn again(reply: Reply, maybe_sent: bool, pause: Option<Duration>) -> Next {
    let state = match (maybe_sent, pause) {
        (true, _) => RecipientState::Unknown,
        (false, Some(_)) => RecipientState::Planned,
        (false, None) => RecipientState::Failed,
    };
    Next { state, retry_after: pause, reply }
}

/// From `base` doubling to an hour, with up to 25 % added.
fn backoff(base: Duration, attempts: u32, jitter: f64) -> Duration {
    let doubled = base.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    doubled.min(Duration::from_secs(3600)).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 4.0)
}

/// State of the whole send: still open while anything is to be done, else the truth that needs a person's eye first.
pub fn whole(recipients: &[RecipientState]) -> RecipientState {
    let any = |state: RecipientState| recipients.contains(&state);
    let order = [
        RecipientState::Attempting,
        RecipientState::Planned,
        RecipientState::Unknown,
        RecipientState::Sent,
        RecipientState::Failed,
    ];
    order.into_iter().find(|state| any(*state)).unwrap_or(RecipientState::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use RecipientState::{Attempting, Failed, Planned, Sent, Unknown};

    fn reply() -> Reply {
        Reply::local("x")
    }

    fn at(maybe_sent: bool, hours: u64) -> Attempted {
        Attempted {
            maybe_sent,
            attempts: 2,
            age: Duration::from_secs(hours * 3600),
            unknown_retry: Some(UNKNOWN_RETRY_AFTER),
        }
    }

    #[test]
    fn every_outcome_in_every_situation() {
        let pause = Some(Duration::from_secs(20));
        let again = Some(UNKNOWN_RETRY_AFTER);
        let soon = Some(Duration::from_secs(2));
        let table = [
            (Outcome::Accepted(reply()), at(false, 0), Sent, None),
            (Outcome::Accepted(reply()), at(true, 0), Sent, None),
            (Outcome::Refused(reply()), at(false, 0), Failed, None),
            (Outcome::Refused(reply()), at(true, 0), Unknown, None),
            (Outcome::NotYet(reply()), at(false, 0), Planned, pause),
            (Outcome::NotYet(reply()), at(true, 0), Unknown, pause),
            (Outcome::NotYet(reply()), at(false, 96), Failed, None),
            (Outcome::NotYet(reply()), at(true, 96), Unknown, None),
            (Outcome::CutOff(reply()), at(false, 0), Planned, soon),
            (Outcome::CutOff(reply()), at(true, 0), Unknown, soon),
            (Outcome::CutOff(reply()), at(false, 96), Failed, None),
            (Outcome::CutOff(reply()), at(true, 96), Unknown, None),
            (Outcome::Unknown(reply()), at(false, 0), Unknown, again),
            (Outcome::Unknown(reply()), at(true, 0), Unknown, None),
        ];
        for (outcome, attempted, state, retry_after) in table {
            let next = next(outcome.clone(), attempted, 0.0);
            assert_eq!((next.state, next.retry_after), (state, retry_after), "{outcome:?} {attempted:?}");
        }
    }

    #[test]
    fn what_no_person_wrote_is_not_repeated_on_a_doubt() {
        let automatic = Attempted { unknown_retry: None, ..at(false, 0) };
        let doubt = next(Outcome::Unknown(reply()), automatic, 0.0);
        assert_eq!((doubt.state, doubt.retry_after), (Unknown, None));
        let not_yet = next(Outcome::NotYet(reply()), automatic, 0.0);
        assert_eq!(not_yet.state, Planned, "what was certainly not sent is tried again");
    }

    #[test]
    fn pauses_grow_to_an_hour() {
        assert_eq!(backoff(RETRY_BASE, 1, 0.0), Duration::from_secs(10));
        assert_eq!(backoff(RETRY_BASE, 40, 0.0), Duration::from_secs(3600));
        assert!(backoff(RETRY_BASE, 40, 1.0) <= Duration::from_secs(4500));
    }

    #[test]
    fn the_whole_is_open_while_anything_is_and_never_hides_doubt() {
        assert_eq!(whole(&[Sent, Failed, Sent]), Sent);
        assert_eq!(whole(&[Sent, Unknown]), Unknown);
        assert_eq!(whole(&[Sent, Planned, Unknown]), Planned);
        assert_eq!(whole(&[Planned, Attempting]), Attempting);
        assert_eq!(whole(&[Failed]), Failed);
        assert!(
            RecipientState::ALL.iter().all(|state| RecipientState::parse(state.as_str()) == Some(*state))
        );
    }
}
