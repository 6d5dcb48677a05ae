//! Mails that could not be fetched: when each is tried again, and when it is the mail's own fault.
//!
//! A lost connection says nothing about a mail, however often: it is tried again, behind the others, for ever. Only a server that
//! answers, refuses this mail and hands out another one blames the mail; then it is put aside, visible and still in its mailbox.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Refusals of one mail before it is put aside; one mail must not be asked for without end.
const MAX_REFUSALS: u32 = 3;
/// A mail without another to compare with is put aside only after this time: the server itself may have a bad hour.
const ALONE: Duration = Duration::from_secs(3600);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What happened to a mail so far.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    failures: u32,
    refusals: u32,
    since: Instant,
    next: Instant,
}

/// Every troubled mail of an account, by UIDVALIDITY and UID, and what is stored already behind one.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    mails: HashMap<(u32, u32), Trouble>,
    behind: BTreeSet<(u32, u32)>,
}

impl Troubles {
    /// The mail could not be fetched; `refused` when the server answered and this mail was the answer's subject.
    pub fn failed(&mut self, mail: (u32, u32), refused: bool, now: Instant) {
        let trouble =
            self.mails.entry(mail).or_insert(Trouble { failures: 0, refusals: 0, since: now, next: now });
        let pause = FIRST_PAUSE.saturating_mul(1 << trouble.failures.min(12)).min(LONGEST_PAUSE);
        trouble.failures = trouble.failures.saturating_add(1);
        trouble.refusals = trouble.refusals.saturating_add(u32::from(refused));
        trouble.next = now + pause;
    }

    /// The mail is stored; `behind` when the cursor still waits in front of an earlier one.
    pub fn over(&mut self, mail: (u32, u32), behind: bool) {
        self.mails.remove(&mail);
        if behind {
            self.behind.insert(mail);
        }
    }

    /// True for a mail that was stored behind a troubled one. The ledger knows those too, but not under this UIDVALIDITY
    /// when it has had them from before a change of it.
    pub fn is_stored(&self, mail: (u32, u32)) -> bool {
        self.behind.contains(&mail)
    }

    /// Forgets what is not in the mailbox any more: nobody would try it again, and it would be due for ever.
    pub fn keep(&mut self, uid_validity: u32, listed: &BTreeSet<u32>) {
        let is_listed = |(validity, uid): &(u32, u32)| *validity == uid_validity && listed.contains(uid);
        self.mails.retain(|mail, _| is_listed(mail));
        self.behind.retain(is_listed);
    }

    /// True when it may be tried now.
    pub fn is_due(&self, mail: (u32, u32), now: Instant) -> bool {
        self.mails.get(&mail).is_none_or(|trouble| trouble.next <= now)
    }

    /// Order of fetching: what never failed first.
    pub fn failures(&self, mail: (u32, u32)) -> u32 {
        self.mails.get(&mail).map_or(0, |trouble| trouble.failures)
    }

    /// True when one more refusal puts it aside, provided that another mail can be fetched.
    pub fn is_last_try(&self, mail: (u32, u32)) -> bool {
        self.mails.get(&mail).is_some_and(|trouble| trouble.refusals + 1 >= MAX_REFUSALS)
    }

    /// True when it has failed for so long that it is put aside although there is no other to compare with.
    pub fn is_old(&self, mail: (u32, u32), now: Instant) -> bool {
        self.mails.get(&mail).is_some_and(|trouble| now.duration_since(trouble.since) >= ALONE)
    }

    /// Time until the next troubled mail is due.
    pub fn next_due(&self, now: Instant) -> Option<Duration> {
        self.mails.values().map(|trouble| trouble.next.saturating_duration_since(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: (u32, u32) = (7, 3);

    #[test]
    fn lost_connections_only_make_a_mail_wait() {
        let (mut troubles, now) = (Troubles::default(), Instant::now());
        assert!(troubles.is_due(MAIL, now) && troubles.next_due(now).is_none());
        for failure in 1..=20 {
            troubles.failed(MAIL, false, now);
            assert_eq!(troubles.failures(MAIL), failure);
            assert!(!troubles.is_due(MAIL, now) && !troubles.is_last_try(MAIL), "{failure}");
            let pause = troubles.next_due(now).unwrap();
            assert!((FIRST_PAUSE..=LONGEST_PAUSE).contains(&pause), "{pause:?}");
            assert!(troubles.is_due(MAIL, now + pause));
        }
        troubles.over(MAIL, false);
        assert!(!troubles.is_stored(MAIL));
        assert!(troubles.is_due(MAIL, now));
    }

    #[test]
    fn what_left_the_mailbox_or_was_numbered_anew_is_forgotten() {
        let (mut troubles, now) = (Troubles::default(), Instant::now());
        for mail in [MAIL, (7, 4), (8, 3)] {
            troubles.failed(mail, false, now);
        }
        for mail in [(7, 9), (7, 10), (8, 9)] {
            troubles.over(mail, true);
        }
        troubles.keep(7, &BTreeSet::from([3, 9]));
        assert_eq!([MAIL, (7, 4), (8, 3)].map(|mail| troubles.failures(mail)), [1, 0, 0]);
        assert_eq!([(7, 9), (7, 10), (8, 9)].map(|mail| troubles.is_stored(mail)), [true, false, false]);
        troubles.keep(7, &BTreeSet::new());
        assert_eq!(troubles.next_due(now), None);
    }

    #[test]
    fn the_third_refusal_may_be_the_last_and_age_counts_from_the_first_failure() {
        let (mut troubles, now) = (Troubles::default(), Instant::now());
        troubles.failed(MAIL, false, now);
        troubles.failed(MAIL, true, now);
        assert!(!troubles.is_last_try(MAIL));
        troubles.failed(MAIL, true, now + ALONE / 2);
        assert!(troubles.is_last_try(MAIL) && !troubles.is_last_try((8, 3)));
        assert!(!troubles.is_old(MAIL, now + ALONE / 2) && troubles.is_old(MAIL, now + ALONE));
    }
}
