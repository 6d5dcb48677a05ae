//! What became of an outbound message. Reports may come late, twice and out of order, so states form a lattice.

/// State of a send, as agents see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeliveryState {
    /// Committed, waiting for its turn or the next attempt.
    Queued,
    /// May have been sent.
    Unknown,
    /// Accepted by the next server.
    Sent,
    /// Certainly not sent, and not tried again.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [DeliveryState; 4] =
        [DeliveryState::Queued, DeliveryState::Unknown, DeliveryState::Sent, DeliveryState::Failed];

    /// The word of contracts and tables.
    pub fn word(self) -> &'static str {
        match self {
            DeliveryState::Queued => "queued",
            DeliveryState::Unknown => "unknown",
            DeliveryState::Sent => "sent",
            DeliveryState::Failed => "failed",
        }
    }

    /// From the word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// True when a report of `next` tells something new: states only rise, and the two final ones stay; only a mail that
    /// came back (`returned`) fails after the next server had taken it.
    pub fn rises_to(self, next: DeliveryState, returned: bool) -> bool {
        match self {
            DeliveryState::Queued => next != DeliveryState::Queued,
            DeliveryState::Unknown => matches!(next, DeliveryState::Sent | DeliveryState::Failed),
            DeliveryState::Sent => returned && next == DeliveryState::Failed,
            DeliveryState::Failed => false,
        }
    }

    /// True when a report of `next` leaves the whole mail where it is, and there is more to come: of a failed one nothing is.
    pub fn stays_open_at(self, next: DeliveryState) -> bool {
        match self {
            DeliveryState::Queued | DeliveryState::Unknown | DeliveryState::Sent => next == self,
            DeliveryState::Failed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeliveryState::{self, Failed, Queued, Sent, Unknown};

    #[test]
    fn states_only_rise() {
        let rises = |returned: bool| -> Vec<(DeliveryState, DeliveryState)> {
            let all = DeliveryState::ALL.iter();
            all.flat_map(|from| DeliveryState::ALL.iter().map(move |to| (*from, *to)))
                .filter(|(from, to)| from.rises_to(*to, returned))
                .collect()
        };
        let mut usual =
            vec![(Queued, Unknown), (Queued, Sent), (Queued, Failed), (Unknown, Sent), (Unknown, Failed)];
        assert_eq!(rises(false), usual);
        usual.push((Sent, Failed));
        assert_eq!(rises(true), usual);
    }

    #[test]
    fn a_mail_that_failed_is_over_and_another_goes_on_where_it_is() {
        for (from, to, open) in [
            (Queued, Queued, true),
            (Unknown, Unknown, true),
            (Sent, Sent, true),
            (Failed, Failed, false),
            (Sent, Queued, false),
            (Queued, Sent, false),
        ] {
            assert_eq!(from.stays_open_at(to), open, "{from:?} {to:?}");
        }
    }
}
