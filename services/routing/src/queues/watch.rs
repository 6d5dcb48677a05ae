//! `WatchQueues`: a snapshot, then what changed, until the token expires or the rights end.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use hilo_kit::directory::{Directory, DirectoryCache};
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::routing::v1::{AgentStatus, Queue, WatchQueuesResponse};
use prost_types::Timestamp;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use uuid::Uuid;

use super::feed::{Feed, Reading};
use super::{Panel, panel, scope};
use crate::presence::PresenceBoard;

/// Sign of life while nothing changes.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Rights are looked at on every change of the directory, and this often in any case.
const RECHECK_EVERY: Duration = Duration::from_secs(30);
/// Answers that may wait for a slow client; meanwhile readings replace each other and he gets the newest.
const OUTGOING: usize = 2;

/// Who watches.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// User key.
    pub user: String,
    /// His token.
    pub token_id: Uuid,
    /// When it expires.
    pub expires_at: OffsetDateTime,
    /// Campaigns asked for; empty means all.
    pub wanted: Vec<String>,
}

/// What every stream needs.
#[derive(Clone, Debug)]
pub struct Watching {
    /// The readings.
    pub feed: Feed,
    /// Sessions.
    pub board: PresenceBoard,
    /// Rights.
    pub directory: DirectoryCache,
    /// Streams end with it.
    pub shutdown: Shutdown,
}

/// The stream of answers.
pub type Answers = ReceiverStream<Result<WatchQueuesResponse, Status>>;

/// Begins a stream.
///
/// # Errors
/// As [`scope`]; `UNAUTHENTICATED`.
pub fn start(watching: &Watching, watcher: Watcher) -> Result<Answers, Error> {
    let scope = rights(&watching.directory.current(), &watcher)?;
    let (answers, stream) = mpsc::channel(OUTGOING);
    let session = Session {
        readings: watching.feed.join(),
        watching: watching.clone(),
        watcher,
        scope,
        answers,
        shown: None,
    };
    watching.shutdown.spawn("queue stream", session.run());
    Ok(ReceiverStream::new(stream))
}

fn rights(directory: &Directory, watcher: &Watcher) -> Result<BTreeSet<String>, Error> {
    if directory.is_revoked(&watcher.user, &watcher.token_id.to_string()) {
        return Err(Error::unauthenticated("the token is not valid any more"));
    }
    scope(directory, &watcher.user, &watcher.wanted)
}

struct Session {
    watching: Watching,
    watcher: Watcher,
    scope: BTreeSet<String>,
    readings: watch::Receiver<Reading>,
    answers: mpsc::Sender<Result<WatchQueuesResponse, Status>>,
    /// What the client has, and as of when; `None` before the snapshot.
    shown: Option<(Panel, Option<Timestamp>)>,
}

impl Session {
    async fn run(mut self) {
        if let Err(status) = self.go().await {
            // A client that does not read its last answer is cut with the channel.
            let _ = self.answers.try_send(Err(status));
        }
    }

    async fn go(&mut self) -> Result<(), Status> {
        let mut directory = self.watching.directory.watch();
        let expires = expiry(self.watcher.expires_at);
        let mut recheck = tokio::time::interval(RECHECK_EVERY);
        let mut alive = tokio::time::interval_at(Instant::now() + ALIVE_EVERY, ALIVE_EVERY);
        let (stop, open) = (self.watching.shutdown.clone(), self.answers.clone());
        loop {
            let answer = tokio::select! {
                changed = self.readings.changed() => {
                    changed.map_err(|_| stopping())?;
                    self.news()
                }
                changed = directory.changed() => {
                    changed.map_err(|_| stopping())?;
                    self.recheck()?
                }
                _ = recheck.tick() => self.recheck()?,
                _ = alive.tick() => Some(WatchQueuesResponse { now: self.as_of(), ..Default::default() }),
                () = tokio::time::sleep_until(expires) => return Err(expired()),
                () = stop.cancelled() => return Err(stopping()),
                () = open.closed() => return Ok(()),
            };
            let Some(answer) = answer else { continue };
            alive.reset();
            tokio::select! {
                sent = self.answers.send(Ok(answer)) => if sent.is_err() { return Ok(()) },
                () = tokio::time::sleep_until(expires) => return Err(expired()),
                () = stop.cancelled() => return Err(stopping()),
            }
        }
    }

    fn as_of(&self) -> Option<Timestamp> {
        self.shown.as_ref().and_then(|(_, now)| *now)
    }

    /// What the newest reading changes for the client: everything at first, then only what is different.
    fn news(&mut self) -> Option<WatchQueuesResponse> {
        let reading = self.readings.borrow_and_update().clone()?;
        let Watching { board, directory, .. } = &self.watching;
        let next = panel(&reading, &directory.current(), &self.scope, |agent| board.presence(agent));
        let answer = match &self.shown {
            None => Some(WatchQueuesResponse {
                queues: next.queues.clone(),
                agents: next.agents.clone(),
                snapshot: true,
                now: reading.now,
            }),
            Some((before, _)) => difference(before, &next, reading.now),
        };
        self.shown = Some((next, reading.now));
        answer
    }

    /// Looks at the rights again: ends the stream, or begins anew with other campaigns. Who has no snapshot yet goes on
    /// waiting for a reading: the one there is may be of any age.
    fn recheck(&mut self) -> Result<Option<WatchQueuesResponse>, Status> {
        let scope = rights(&self.watching.directory.current(), &self.watcher)?;
        if scope == self.scope {
            return Ok(None);
        }
        self.scope = scope;
        Ok(if self.shown.take().is_some() { self.news() } else { None })
    }
}

/// The changed lines; a snapshot when one has gone, since only that says so.
fn difference(before: &Panel, next: &Panel, now: Option<Timestamp>) -> Option<WatchQueuesResponse> {
    let queues: HashMap<&str, &Queue> =
        before.queues.iter().map(|queue| (queue.campaign_key.as_str(), queue)).collect();
    let agents: HashMap<&str, &AgentStatus> =
        before.agents.iter().map(|agent| (agent.agent_key.as_str(), agent)).collect();
    let kept = next.queues.iter().filter(|queue| queues.contains_key(queue.campaign_key.as_str())).count()
        == queues.len()
        && next.agents.iter().filter(|agent| agents.contains_key(agent.agent_key.as_str())).count()
            == agents.len();
    let changed = |queue: &&Queue| !kept || queues.get(queue.campaign_key.as_str()) != Some(queue);
    let moved = |agent: &&AgentStatus| !kept || agents.get(agent.agent_key.as_str()) != Some(agent);
    let answer = WatchQueuesResponse {
        queues: next.queues.iter().filter(changed).cloned().collect(),
        agents: next.agents.iter().filter(moved).cloned().collect(),
        snapshot: !kept,
        now,
    };
    (answer.snapshot || !answer.queues.is_empty() || !answer.agents.is_empty()).then_some(answer)
}

fn expired() -> Status {
    Error::unauthenticated("the token has expired").into()
}

/// What a client is told whose replica goes away.
fn stopping() -> Status {
    Error::unavailable("STOPPING", "this replica stops; connect again").into()
}

/// The monotonic instant of a token's end.
fn expiry(at: OffsetDateTime) -> Instant {
    let left = at - OffsetDateTime::now_utc();
    Instant::now() + Duration::try_from(left).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hilo_kit::directory::Role;
    use hilo_proto::directory::v1 as proto;
    use hilo_proto::internal::v1::{CampaignQueue, ReadQueuesResponse};

    use super::*;
    use crate::clock::DatabaseClock;

    fn queue(key: &str, waiting: i32) -> Queue {
        Queue { campaign_key: key.to_owned(), waiting, ..Queue::default() }
    }

    fn panel_of(queues: &[(&str, i32)]) -> Panel {
        let queues = queues.iter().map(|(key, waiting)| queue(key, *waiting)).collect();
        Panel { queues, agents: Vec::new() }
    }

    #[test]
    fn only_changed_lines_are_sent_and_a_line_that_goes_makes_a_snapshot() {
        let before = panel_of(&[("a", 1), ("b", 2)]);
        assert_eq!(difference(&before, &before.clone(), None), None);
        let changed = difference(&before, &panel_of(&[("a", 1), ("b", 3)]), None).unwrap();
        assert_eq!((changed.queues, changed.snapshot), (vec![queue("b", 3)], false));
        let grown = difference(&before, &panel_of(&[("a", 1), ("b", 2), ("c", 0)]), None).unwrap();
        assert_eq!((grown.queues, grown.snapshot), (vec![queue("c", 0)], false));
        let gone = difference(&before, &panel_of(&[("a", 1)]), None).unwrap();
        assert_eq!((gone.queues, gone.snapshot), (vec![queue("a", 1)], true));
    }
    fn directory(campaigns: &[&str]) -> Arc<Directory> {
        let keys = || campaigns.iter().map(|key| (*key).to_owned());
        let sonia = proto::User {
            key: "sonia".to_owned(),
            roles: vec![Role::Supervisor.into()],
            campaign_keys: keys().collect(),
            active: true,
            ..proto::User::default()
        };
        let campaign = |key| proto::Campaign { key, active: true, ..proto::Campaign::default() };
        let campaigns = keys().map(campaign).collect();
        let whole = proto::Directory { users: vec![sonia], campaigns, ..proto::Directory::default() };
        Arc::new(Directory::new(1, whole, []))
    }

    fn reading(waiting: i32) -> Reading {
        let queue =
            |key: &str| CampaignQueue { campaign_key: key.to_owned(), waiting, ..CampaignQueue::default() };
        let queues = vec![queue("soporte"), queue("ventas")];
        Some(Arc::new(ReadQueuesResponse { queues, ..ReadQueuesResponse::default() }))
    }

    fn waiting(answer: Option<WatchQueuesResponse>) -> Vec<(String, i32)> {
        let answer = answer.unwrap();
        assert!(answer.snapshot);
        answer.queues.into_iter().map(|queue| (queue.campaign_key, queue.waiting)).collect()
    }

    #[tokio::test]
    async fn a_snapshot_is_what_was_read_since_and_other_rights_begin_it_anew() {
        let (latest, mut readings) = watch::channel(reading(1));
        readings.mark_unchanged();
        let (rights, known) = watch::channel(directory(&["soporte"]));
        let watching = Watching {
            feed: Feed::without_answers(),
            board: PresenceBoard::new(Duration::from_secs(1), DatabaseClock::default()),
            directory: DirectoryCache::fed(known),
            shutdown: Shutdown::new(),
        };
        let watcher = Watcher {
            user: "sonia".to_owned(),
            token_id: Uuid::nil(),
            expires_at: OffsetDateTime::now_utc(),
            wanted: Vec::new(),
        };
        let (answers, _stream) = mpsc::channel(OUTGOING);
        let scope = BTreeSet::from(["soporte".to_owned()]);
        let mut session = Session { watching, watcher, scope, readings, answers, shown: None };
        assert_eq!(session.recheck().unwrap(), None, "that reading may be of any age");
        latest.send_replace(reading(2));
        let soporte = |waiting| ("soporte".to_owned(), waiting);
        assert_eq!(waiting(session.news()), [soporte(2)]);
        assert_eq!(session.recheck().unwrap(), None);
        rights.send_replace(directory(&["soporte", "ventas"]));
        assert_eq!(waiting(session.recheck().unwrap()), [soporte(2), ("ventas".to_owned(), 2)]);
        rights.send_replace(directory(&[]));
        assert!(waiting(session.recheck().unwrap()).is_empty());
    }
}
