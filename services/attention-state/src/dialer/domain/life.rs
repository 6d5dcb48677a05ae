//! The life of a dialer: `draft → running ⇄ paused → stopped`, and `running → finished` when every row has had its turn.

use hilo_kit::error::Error;
use hilo_proto::dialer::v1::DialerState;

/// State of a dialer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Made, not started yet.
    Draft,
    /// Sends.
    Running,
    /// Held by a person, or by itself.
    Paused,
    /// Every row has had its turn.
    Finished,
    /// Ended for good.
    Stopped,
}

/// What is asked of a dialer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To start or to go on.
    Start,
    /// To hold.
    Pause,
    /// To end for good.
    Stop,
    /// To hold by itself: nothing that it sends would arrive.
    Halt,
    /// To end for now: no row is pending.
    Finish,
    /// To take rows.
    Import,
}

/// State after it; the same when the wish is fulfilled already.
///
/// # Errors
/// `DIALER_STOPPED`, `DIALER_NOT_RUNNING`.
pub(crate) fn decide(life: Life, ask: Ask) -> Result<Life, Error> {
    let stopped = || Error::rejected("DIALER_STOPPED", "the dialer was stopped for good");
    let idle = || Error::rejected("DIALER_NOT_RUNNING", "the dialer is not running");
    match (life, ask) {
        (Life::Stopped, Ask::Stop) => Ok(Life::Stopped),
        (Life::Stopped, Ask::Start | Ask::Pause | Ask::Halt | Ask::Finish | Ask::Import) => Err(stopped()),
        (Life::Draft | Life::Running | Life::Paused | Life::Finished, Ask::Stop) => Ok(Life::Stopped),
        (Life::Draft | Life::Running | Life::Paused | Life::Finished, Ask::Start) => Ok(Life::Running),
        (Life::Running | Life::Paused, Ask::Pause | Ask::Halt) => Ok(Life::Paused),
        (Life::Draft | Life::Finished, Ask::Pause | Ask::Halt) => Err(idle()),
        (Life::Running, Ask::Finish) => Ok(Life::Finished),
        (Life::Draft | Life::Paused | Life::Finished, Ask::Finish) => Err(idle()),
        (life @ (Life::Draft | Life::Running | Life::Paused | Life::Finished), Ask::Import) => Ok(life),
    }
}

impl Life {
    /// Every state.
    pub(crate) const ALL: [Life; 5] =
        [Life::Draft, Life::Running, Life::Paused, Life::Finished, Life::Stopped];

    /// The word of the table.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Life::Draft => "draft",
            Life::Running => "running",
            Life::Paused => "paused",
            Life::Finished => "finished",
            Life::Stopped => "stopped",
        }
    }

    /// From the word.
    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|life| life.word() == word)
    }
}

impl From<Life> for DialerState {
    fn from(life: Life) -> Self {
        match life {
            Life::Draft => DialerState::Draft,
            Life::Running => DialerState::Running,
            Life::Paused => DialerState::Paused,
            Life::Finished => DialerState::Finished,
            Life::Stopped => DialerState::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_answers_every_wish_as_the_table_says() {
        use Ask::{Finish, Halt, Import, Pause, Start, Stop};
        use Life::{Draft, Finished, Paused, Running, Stopped};
        let (stopped, idle) = ("DIALER_STOPPED", "DIALER_NOT_RUNNING");
        for (life, answers) in [
            (Draft, [Ok(Running), Err(idle), Ok(Stopped), Err(idle), Err(idle), Ok(Draft)]),
            (Running, [Ok(Running), Ok(Paused), Ok(Stopped), Ok(Paused), Ok(Finished), Ok(Running)]),
            (Paused, [Ok(Running), Ok(Paused), Ok(Stopped), Ok(Paused), Err(idle), Ok(Paused)]),
            (Finished, [Ok(Running), Err(idle), Ok(Stopped), Err(idle), Err(idle), Ok(Finished)]),
            (Stopped, [Err(stopped), Err(stopped), Ok(Stopped), Err(stopped), Err(stopped), Err(stopped)]),
        ] {
            for (ask, expected) in [Start, Pause, Stop, Halt, Finish, Import].into_iter().zip(answers) {
                let told = decide(life, ask).map_err(|error| error.reason().to_owned());
                assert_eq!(told, expected.map_err(str::to_owned), "{life:?} {ask:?}");
            }
            assert_eq!(Life::of(life.word()), Some(life));
        }
    }
}
