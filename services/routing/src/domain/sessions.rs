//! Who is present: leases of sessions, pure and in virtual time.
//!
//! A session that says it lives is present for one lease. Losing contact with the bucket, or finding it re-created,
//! says nothing about the agents: they are unknown, and only after a whole lease of undisturbed contact is anybody
//! without a session absent.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::agent::Presence;
use super::time::{Instant, Span};

/// Whose presence may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// Anybody's.
    All,
    /// These agents'.
    Some(Vec<Arc<str>>),
}

/// All sessions known.
#[derive(Debug)]
pub struct Sessions {
    lease: Span,
    /// End of the time in which nobody is absent; `None` without contact.
    settled_at: Option<Instant>,
    /// True once the end of that time was reported as a change.
    settled: bool,
    /// Per agent, his sessions with the instant at which each ends.
    agents: HashMap<Arc<str>, HashMap<Arc<str>, Instant>>,
    /// Last sign of life per agent.
    last_seen: HashMap<Arc<str>, Instant>,
    ends: BTreeSet<(Instant, Arc<str>, Arc<str>)>,
}

impl Sessions {
    /// No contact yet.
    pub fn new(lease: Span) -> Self {
        Self {
            lease,
            settled_at: None,
            settled: false,
            agents: HashMap::new(),
            last_seen: HashMap::new(),
            ends: BTreeSet::new(),
        }
    }

    /// Contact begins, or begins anew with a bucket that may have lost leases.
    pub fn connected(&mut self, now: Instant) -> Changed {
        self.settled_at = Some(now + self.lease);
        self.settled = false;
        Changed::All
    }

    /// Contact is lost.
    pub fn disconnected(&mut self) -> Changed {
        self.settled_at = None;
        Changed::All
    }

    /// A session said at `at` that it lives. An older sign of life than the known one changes nothing.
    pub fn seen(&mut self, agent: &str, session: &str, at: Instant) -> Option<Changed> {
        let agent = self.agent_key(agent);
        let session: Arc<str> = session.into();
        let end = at + self.lease;
        let last = self.last_seen.entry(agent.clone()).or_insert(at);
        *last = (*last).max(at);
        let sessions = self.agents.entry(agent.clone()).or_default();
        let was_present = !sessions.is_empty();
        if sessions.get(&session).is_some_and(|known| *known >= end) {
            return None;
        }
        if let Some(before) = sessions.insert(session.clone(), end) {
            self.ends.remove(&(before, agent.clone(), session.clone()));
        }
        self.ends.insert((end, agent.clone(), session));
        if was_present { None } else { Some(Changed::Some(vec![agent])) }
    }

    /// A session ended by itself.
    pub fn left(&mut self, agent: &str, session: &str) -> Option<Changed> {
        let agent = self.agent_key(agent);
        let sessions = self.agents.get_mut(&agent)?;
        let (session, end) = sessions.remove_entry(session)?;
        self.ends.remove(&(end, agent.clone(), session));
        if sessions.is_empty() { Some(Changed::Some(vec![agent])) } else { None }
    }

    /// Ends the sessions whose lease is over.
    pub fn tick(&mut self, now: Instant) -> Option<Changed> {
        let mut gone = Vec::new();
        while let Some((end, _, _)) = self.ends.first()
            && *end <= now
            && let Some((_, agent, session)) = self.ends.pop_first()
        {
            if let Some(sessions) = self.agents.get_mut(&agent) {
                sessions.remove(&session);
                if sessions.is_empty() {
                    gone.push(agent);
                }
            }
        }
        if !self.settled && self.settled_at.is_some_and(|at| at <= now) {
            self.settled = true;
            return Some(Changed::All);
        }
        if gone.is_empty() { None } else { Some(Changed::Some(gone)) }
    }

    /// When `tick` has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let settling = if self.settled { None } else { self.settled_at };
        let end = self.ends.first().map(|(end, _, _)| *end);
        match (settling, end) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// What is known of an agent as of the last tick.
    pub fn presence(&self, agent: &str) -> Presence {
        let lives = self.agents.get(agent).is_some_and(|sessions| !sessions.is_empty());
        match (self.settled_at, lives, self.settled) {
            (None, _, _) | (Some(_), false, false) => Presence::Unknown,
            (Some(_), true, _) => Presence::Present,
            (Some(_), false, true) => Presence::Absent,
        }
    }

    /// The agent's last sign of life.
    pub fn last_seen(&self, agent: &str) -> Option<Instant> {
        self.last_seen.get(agent).copied()
    }

    fn agent_key(&self, agent: &str) -> Arc<str> {
        self.last_seen.get_key_value(agent).map_or_else(|| agent.into(), |(key, _)| key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Span = Span::seconds(60);

    fn at(seconds: i64) -> Instant {
        Instant(seconds * 1_000_000)
    }

    fn settled() -> Sessions {
        let mut sessions = Sessions::new(LEASE);
        sessions.connected(at(0));
        sessions.tick(at(60));
        sessions
    }

    #[test]
    fn a_session_is_present_for_one_lease_and_then_absent() {
        let mut sessions = settled();
        assert_eq!(sessions.presence("ana"), Presence::Absent);
        assert!(sessions.seen("ana", "tab", at(100)).is_some());
        assert!(sessions.seen("ana", "tab", at(120)).is_none(), "a renewal changes nothing");
        assert_eq!(sessions.next_deadline(), Some(at(180)));
        sessions.tick(at(179));
        assert_eq!(sessions.presence("ana"), Presence::Present);
        assert_eq!(sessions.tick(at(180)), Some(Changed::Some(vec!["ana".into()])));
        assert_eq!(sessions.presence("ana"), Presence::Absent);
    }

    #[test]
    fn one_of_two_sessions_is_enough() {
        let mut sessions = settled();
        sessions.seen("ana", "tab", at(100));
        sessions.seen("ana", "phone", at(110));
        assert_eq!(sessions.left("ana", "tab"), None);
        assert_eq!(sessions.presence("ana"), Presence::Present);
        assert!(sessions.left("ana", "phone").is_some());
        assert_eq!(sessions.presence("ana"), Presence::Absent);
    }

    #[test]
    fn lost_contact_is_unknown_and_nobody_is_gone_before_a_full_lease_of_contact() {
        let mut sessions = settled();
        sessions.seen("ana", "tab", at(100));
        assert_eq!(sessions.disconnected(), Changed::All);
        assert_eq!(sessions.presence("ana"), Presence::Unknown);
        sessions.tick(at(500));
        assert_eq!(sessions.presence("ana"), Presence::Unknown);
        assert_eq!(sessions.presence("beto"), Presence::Unknown);
        sessions.connected(at(600));
        assert_eq!(sessions.presence("ana"), Presence::Unknown);
        assert_eq!(sessions.tick(at(659)), None);
        sessions.seen("beto", "tab", at(630));
        assert_eq!(sessions.presence("beto"), Presence::Present, "a sign of life counts at once");
        assert_eq!(sessions.tick(at(660)), Some(Changed::All));
        assert_eq!(sessions.presence("ana"), Presence::Absent);
        assert_eq!(sessions.presence("beto"), Presence::Present);
    }

    #[test]
    fn an_older_sign_of_life_never_shortens_the_lease() {
        let mut sessions = settled();
        sessions.seen("ana", "tab", at(100));
        sessions.seen("ana", "tab", at(70));
        sessions.tick(at(140));
        assert_eq!(sessions.presence("ana"), Presence::Present);
        assert_eq!(sessions.last_seen("ana"), Some(at(100)));
    }
}
