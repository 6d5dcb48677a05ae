//! `WatchDesk`: a snapshot, then what changes for one agent, until his token expires or his rights end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hilo_kit::db::Db;
use hilo_kit::directory::{Directory, DirectoryCache, Role};
use hilo_kit::error::Error;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::telemetry;
use hilo_proto::attention::v1::watch_desk_response::Update as ProtoUpdate;
use hilo_proto::attention::v1::{DeskAlive, DeskCounters, DeskRemoval, DeskSnapshot, WatchDeskResponse};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

use super::answers::{Answers, Waiting};
use super::hub::{Hub, QueueLengths, Subscription, Update};
use super::items::{After, Item, Place};
use super::list;
use super::rights::Desk;

/// Sign of life while nothing changes.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// Rights are looked at on every change of the directory, and this often in any case.
const RECHECK_EVERY: Duration = Duration::from_secs(30);
/// Queued items a desk shows before it begins anew with the newest: its memory is bounded.
const MOST_QUEUED: usize = 400;
/// Of a list that holds only the newest queued items so few may be left before it begins anew.
const LEAST_QUEUED: usize = 50;
/// Answers that may wait for a slow client; behind them the hub's queue fills and a new snapshot follows.
const OUTGOING: usize = 32;

/// Who watches.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    pub user: String,
    pub token_id: Uuid,
    pub expires_at: OffsetDateTime,
    pub channel: String,
}

/// What every stream needs.
#[derive(Clone)]
pub(crate) struct Watching {
    pub db: Db,
    pub hub: Hub,
    pub directory: DirectoryCache,
    pub shutdown: Shutdown,
}

/// Begins a stream.
///
/// # Errors
/// `INVALID_REQUEST` for an unknown channel, `AGENT_REQUIRED`, `UNAUTHENTICATED`.
pub(crate) fn start(watching: &Watching, watcher: Watcher) -> Result<Answers, Error> {
    list::check_channel(&watcher.channel)?;
    let (desk, campaigns) = rights(&watching.directory.current(), &watcher)?;
    let (answers, waiting) = mpsc::channel(OUTGOING);
    let stream = Answers::new(waiting, watching.directory.clone(), watcher.clone());
    let session = Session {
        subscription: watching.hub.join(&watcher.user, campaigns.iter().cloned().collect()),
        lengths: watching.hub.lengths(),
        desk,
        campaigns,
        watching: watching.clone(),
        watcher,
        answers,
        shown: HashMap::new(),
        floor: None,
        counted: None,
    };
    watching.shutdown.spawn("desk stream", session.run());
    Ok(stream)
}

/// The watcher's desk and the campaigns whose queues it shows, as the directory says now; the same rules as of the list.
pub(super) fn rights(directory: &Directory, watcher: &Watcher) -> Result<(Desk, HashSet<String>), Error> {
    if directory.is_revoked(&watcher.user, &watcher.token_id.to_string()) {
        return Err(Error::unauthenticated("the token is not valid any more"));
    }
    let desk = Desk::of(|role| directory.has_role(&watcher.user, role.into()))?;
    let campaigns = match desk {
        Desk::Serving => {
            let member = |keys: &[String]| keys.contains(&watcher.user);
            directory.campaigns().filter(|one| member(&one.member_keys)).map(|one| one.key.clone()).collect()
        }
        Desk::Watching if directory.has_role(&watcher.user, Role::Coordinator) => {
            directory.campaigns().map(|one| one.key.clone()).collect()
        }
        Desk::Watching => directory.campaigns_of(&watcher.user),
    };
    Ok((desk, campaigns))
}

#[derive(Clone, Copy)]
struct Shown {
    version: i64,
    open: bool,
}

struct Session {
    watching: Watching,
    watcher: Watcher,
    desk: Desk,
    campaigns: HashSet<String>,
    subscription: Subscription,
    lengths: watch::Receiver<Arc<QueueLengths>>,
    answers: mpsc::Sender<Waiting>,
    shown: HashMap<Uuid, Shown>,
    /// Older queued items are shown only while they ring at the user.
    floor: Option<After>,
    counted: Option<DeskCounters>,
}

/// The client is gone, or the stream was ended with an answer.
struct Ended;

impl Session {
    async fn run(mut self) {
        let result = self.go().await;
        if let Err(Some(status)) = result {
            // A client that does not read its last answer is cut with the channel.
            let _ = self.answers.try_send(Err(status));
        }
    }

    async fn go(&mut self) -> Result<(), Option<Status>> {
        let ended = |Ended| None;
        self.snapshot().await?;
        let mut directory = self.watching.directory.watch();
        let expires = expiry(self.watcher.expires_at);
        let mut recheck = tokio::time::interval(RECHECK_EVERY);
        let mut alive = tokio::time::interval_at(Instant::now() + ALIVE_EVERY, ALIVE_EVERY);
        let stop = self.watching.shutdown.clone();
        let open = self.answers.clone();
        loop {
            tokio::select! {
                // What ends the stream or changes what it may show goes before what it shows.
                biased;
                () = open.closed() => return Ok(()),
                () = stop.cancelled() => return Err(Some(stopping())),
                () = tokio::time::sleep_until(expires) => {
                    return Err(Some(Error::unauthenticated("the token has expired").into()));
                }
                changed = directory.changed() => {
                    changed.map_err(|_| Some(stopping()))?;
                    self.recheck().await?;
                }
                _ = recheck.tick() => {
                    self.recheck().await?;
                    // What came behind the last counters is looked at too.
                    self.refill().await?;
                }
                _ = alive.tick() => self.send(ProtoUpdate::Alive(DeskAlive {}), "").await.map_err(ended)?,
                changed = self.lengths.changed() => {
                    changed.map_err(|_| Some(stopping()))?;
                    self.counters().await.map_err(ended)?;
                    self.refill().await?;
                }
                update = self.subscription.next() => match update {
                    Some(Update::Item(item)) => {
                        if self.item(&item).await.map_err(ended)? {
                            alive.reset();
                        }
                    }
                    Some(Update::Resync) => self.snapshot().await?,
                    None => return Err(Some(stopping())),
                },
            }
        }
    }

    async fn send(&self, update: ProtoUpdate, traceparent: &str) -> Result<(), Ended> {
        let answer = WatchDeskResponse { update: Some(update), traceparent: traceparent.to_owned() };
        self.answers.send(Ok(Box::new(answer))).await.map_err(|_| Ended)
    }

    /// Sends the whole list. What changes while it is read waits in the subscription and wins by its version. A future of its own
    /// on the heap: what reading a list needs is not kept by a desk that waits for changes.
    fn snapshot(&mut self) -> BoxFuture<'_, Result<(), Option<Status>>> {
        Box::pin(self.begin_anew())
    }

    async fn begin_anew(&mut self) -> Result<(), Option<Status>> {
        let user = self.watcher.user.clone();
        let campaigns = self.campaigns.iter().cloned().collect();
        let turn = tokio::select! {
            turn = self.watching.hub.snapshot_turn() => turn,
            // Nobody reads a list for a client that went away while he waited for it.
            () = self.answers.closed() => return Err(None),
        };
        let list = list::snapshot(&self.watching.db, user, campaigns, self.watcher.channel.clone())
            .await
            .map_err(|error| Some(error.into()))?;
        drop(turn);
        self.floor = list.floor;
        self.shown = list
            .items
            .iter()
            .map(|item| {
                (item.interaction, Shown { version: item.version, open: item.place != Place::Queued })
            })
            .collect();
        self.follow();
        let counters = list::counters(list.counted);
        self.counted = Some(counters);
        let items = list.items.iter().map(|item| list::shown(self.desk, item, &self.watcher.user)).collect();
        let snapshot = DeskSnapshot { items, counters: Some(counters) };
        self.send(ProtoUpdate::Snapshot(snapshot), "").await.map_err(|Ended| None)?;
        // A small answer right behind the large one begins a new buffer: the stream does not keep the room of its whole list
        // (`hilo_proto::codec`).
        self.send(ProtoUpdate::Alive(DeskAlive {}), "").await.map_err(|Ended| None)
    }

    /// Sends what the change means for this desk; false when it means nothing.
    async fn item(&mut self, item: &Item) -> Result<bool, Ended> {
        if item.channel != self.watcher.channel {
            return Ok(false);
        }
        let user = &self.watcher.user;
        let visible = match &item.place {
            Place::Queued => self.campaigns.contains(&item.campaign),
            Place::OpenBy(agent) => agent == user,
            Place::Gone => false,
        };
        let known = self.shown.get(&item.interaction).copied();
        let below = item.place == Place::Queued
            && self.floor.is_some_and(|floor| item.queued_place() < floor)
            && !item.is_offered_to(user);
        // What is shown already stays, also below the floor: the client merges by version.
        let visible = visible && (!below || known.is_some());
        if known.is_some_and(|known| known.version >= item.version) || (!visible && known.is_none()) {
            return Ok(false);
        }
        if visible {
            let open = item.place != Place::Queued;
            self.shown.insert(item.interaction, Shown { version: item.version, open });
            if open != known.is_some_and(|known| known.open) {
                self.follow();
            }
            let traceparent = self.trace(item);
            let shown = list::shown(self.desk, item, &self.watcher.user);
            self.send(ProtoUpdate::Item(shown), &traceparent).await?;
        } else {
            self.shown.remove(&item.interaction);
            if known.is_some_and(|known| known.open) {
                self.follow();
            }
            let removal = DeskRemoval { interaction_id: item.interaction.to_string(), version: item.version };
            self.send(ProtoUpdate::Removal(removal), &item.traceparent).await?;
        }
        Ok(true)
    }

    /// The trace of a change; what concerns this agent himself gets a span of its own, the end of the way of a message.
    fn trace(&self, item: &Item) -> String {
        let own = item.rings_at(&self.watcher.user) || matches!(item.place, Place::OpenBy(_));
        if !own || item.traceparent.is_empty() {
            return item.traceparent.clone();
        }
        let span =
            telemetry::span_with_parent(Some(&item.traceparent), tracing::info_span!("attention.desk.push"));
        span.in_scope(telemetry::current_traceparent).unwrap_or_else(|| item.traceparent.clone())
    }

    async fn counters(&mut self) -> Result<(), Ended> {
        let lengths = self.lengths.borrow_and_update().clone();
        let queued = self
            .campaigns
            .iter()
            .filter_map(|campaign| lengths.get(&(campaign.clone(), self.watcher.channel.clone())))
            .sum();
        let open = self.shown.values().filter(|shown| shown.open).count();
        let counters = list::counters((i64::try_from(open).unwrap_or(i64::MAX), queued));
        if self.counted == Some(counters) {
            return Ok(());
        }
        self.counted = Some(counters);
        self.send(ProtoUpdate::Counters(counters), "").await
    }

    /// Tells the hub what is open here: it concerns this desk also when the user is no member of its campaign (any more).
    fn follow(&self) {
        let open = self.shown.iter().filter(|(_, shown)| shown.open).map(|(id, _)| *id).collect();
        self.subscription.follow(&open);
    }

    /// Begins anew when the list is out of shape.
    async fn refill(&mut self) -> Result<(), Option<Status>> {
        if self.is_out_of_shape() { self.snapshot().await } else { Ok(()) }
    }

    /// True when the list holds too many queued items, too few of many, or only the newest although all would fit.
    fn is_out_of_shape(&self) -> bool {
        let queued = self.shown.values().filter(|shown| !shown.open).count();
        let all_fit = self.counted.is_some_and(|counted| i64::from(counted.queued) < list::SNAPSHOT_QUEUED);
        queued > MOST_QUEUED || (self.floor.is_some() && (all_fit || queued < LEAST_QUEUED))
    }

    /// Looks at the rights again: ends the stream, or begins anew with other campaigns.
    async fn recheck(&mut self) -> Result<(), Option<Status>> {
        let directory = self.watching.directory.current();
        let (desk, campaigns) = rights(&directory, &self.watcher).map_err(|error| Some(error.into()))?;
        if campaigns == self.campaigns && desk == self.desk {
            return Ok(());
        }
        self.subscription = self.watching.hub.join(&self.watcher.user, campaigns.iter().cloned().collect());
        // What is open here concerns the new subscription too, already while the list is read.
        self.follow();
        (self.desk, self.campaigns) = (desk, campaigns);
        self.snapshot().await
    }
}

/// What a client is told whose replica goes away; tasks of a stopping process end in any order.
fn stopping() -> Status {
    Error::unavailable("STOPPING", "this replica stops; connect again").into()
}

/// The monotonic instant of a token's end.
fn expiry(at: OffsetDateTime) -> Instant {
    let left = at - OffsetDateTime::now_utc();
    Instant::now() + Duration::try_from(left).unwrap_or(Duration::ZERO)
}
