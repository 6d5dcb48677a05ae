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
    /// Certainly not sent, or given up by whoever had accepted it, and not tried again.
    Failed,
    /// Arrived at the recipient's device.
    Delivered,
    /// Was shown to the recipient.
    Read,
    /// A voice note was played.
    Played,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [DeliveryState; 7] = [
        DeliveryState::Queued,
        DeliveryState::Unknown,
        DeliveryState::Sent,
        DeliveryState::Failed,
        DeliveryState::Delivered,
        DeliveryState::Read,
        DeliveryState::Played,
    ];

    /// The word of contracts and tables.
    pub fn word(self) -> &'static str {
        match self {
            DeliveryState::Queued => "queued",
            DeliveryState::Unknown => "unknown",
            DeliveryState::Sent => "sent",
            DeliveryState::Failed => "failed",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Read => "read",
            DeliveryState::Played => "played",
        }
    }

    /// From the word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// True when a report of `next` tells something new: states only rise, in the order of their definition. A failure after
    /// the next server had accepted it counts only when the report says so (`returned`): a mail that came back, a message
    /// that Meta gave up. What arrived at the recipient's device did not fail, whatever is reported before or after.
    pub fn rises_to(self, next: DeliveryState, returned: bool) -> bool {
        match self {
            DeliveryState::Queued | DeliveryState::Unknown => next > self,
            DeliveryState::Sent => next > self && (returned || next != DeliveryState::Failed),
            DeliveryState::Failed
            | DeliveryState::Delivered
            | DeliveryState::Read
            | DeliveryState::Played => next > self,
        }
    }

    /// True when a failure and an arrival of the same message are reported, in whatever order.
    pub fn contradicts(self, other: DeliveryState) -> bool {
        (self == DeliveryState::Failed && other.arrived())
            || (self.arrived() && other == DeliveryState::Failed)
    }

    /// It certainly left, whatever became of it then; a failure is none of these.
    pub fn left(self) -> bool {
        self == DeliveryState::Sent || self.arrived()
    }

    /// On the recipient's device.
    fn arrived(self) -> bool {
        match self {
            DeliveryState::Delivered | DeliveryState::Read | DeliveryState::Played => true,
            DeliveryState::Queued | DeliveryState::Unknown | DeliveryState::Sent | DeliveryState::Failed => {
                false
            }
        }
    }

    /// True when a report of `next` leaves the whole mail where it is, and there is more to come: of a failed one nothing is.
    pub fn stays_open_at(self, next: DeliveryState) -> bool {
        match self {
            DeliveryState::Queued | DeliveryState::Unknown | DeliveryState::Sent => next == self,
            DeliveryState::Failed
            | DeliveryState::Delivered
            | DeliveryState::Read
            | DeliveryState::Played => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DeliveryState::{self, Delivered, Failed, Played, Queued, Read, Sent, Unknown};

    /// The states of email, which know no arrival.
    const OF_MAIL: [DeliveryState; 4] = [Queued, Unknown, Sent, Failed];

    #[test]
    fn states_only_rise() {
        let rises = |returned: bool| -> Vec<(DeliveryState, DeliveryState)> {
            let all = OF_MAIL.iter();
            all.flat_map(|from| OF_MAIL.iter().map(move |to| (*from, *to)))
                .filter(|(from, to)| from.rises_to(*to, returned))
                .collect()
        };
        let mut usual =
            vec![(Queued, Unknown), (Queued, Sent), (Queued, Failed), (Unknown, Sent), (Unknown, Failed)];
        assert_eq!(rises(false), usual);
        usual.push((Sent, Failed));
        assert_eq!(rises(true), usual);
    }

    /// Every order of every set of reports, with repeats, ends alike.
    #[test]
    fn statuses_in_every_order_end_at_the_highest_and_a_failure_only_where_nothing_arrived() {
        let all = [Sent, Delivered, Read, Played, Failed, Unknown];
        let run = |reports: &[DeliveryState]| {
            let mut state = Queued;
            for next in reports.iter().chain(reports) {
                if state.rises_to(*next, true) {
                    state = *next;
                }
            }
            state
        };
        for set in 1_u8..64 {
            let reports: Vec<DeliveryState> =
                all.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0).map(|(_, one)| *one).collect();
            let arrived = reports.iter().filter(|one| one.arrived()).max().copied();
            let failed = reports.contains(&Failed).then_some(Failed);
            let sent = reports.contains(&Sent).then_some(Sent);
            let expected = arrived.or(failed).or(sent).unwrap_or(Unknown);
            for order in orders(&reports) {
                assert_eq!(run(&order), expected, "{order:?}");
            }
        }
    }

    fn orders(of: &[DeliveryState]) -> Vec<Vec<DeliveryState>> {
        let Some((first, rest)) = of.split_first() else { return vec![Vec::new()] };
        let mut all = Vec::new();
        for order in orders(rest) {
            for at in 0..=order.len() {
                let mut longer = order.clone();
                longer.insert(at, *first);
                all.push(longer);
            }
        }
        all
    }

    #[test]
    fn a_failure_of_what_arrived_is_a_contradiction_in_either_order() {
        for (one, other, contradict) in [
            (Delivered, Failed, true),
            (Failed, Read, true),
            (Played, Failed, true),
            (Sent, Failed, false),
            (Failed, Sent, false),
            (Failed, Failed, false),
            (Read, Delivered, false),
        ] {
            assert_eq!(one.contradicts(other), contradict, "{one:?} {other:?}");
        }
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
