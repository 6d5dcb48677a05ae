//! The way of an answer to its client. Answers wait here for a slow client, so the rights are looked at once more when
//! one leaves: what was queued before a revocation is not sent after it.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hilo_kit::directory::{Directory, DirectoryCache};
use hilo_kit::error::Error;
use hilo_proto::attention::v1::watch_desk_response::Update;
use hilo_proto::attention::v1::{DeskItem, WatchDeskResponse};
use hilo_proto::event::v1::InteractionState;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::Status;

use super::watch::{Watcher, rights};

/// An answer on its way. Boxed: a channel keeps room for 32 of them per desk, also while nothing waits.
pub(super) type Waiting = Result<Box<WatchDeskResponse>, Status>;

/// The stream of `WatchDesk`.
pub(crate) struct Answers {
    waiting: mpsc::Receiver<Waiting>,
    directory: DirectoryCache,
    watcher: Watcher,
    /// What the directory last looked at says, so that looking at every answer costs a comparison.
    known: Option<(Arc<Directory>, HashSet<String>)>,
    ended: bool,
}

impl Answers {
    pub(super) fn new(waiting: mpsc::Receiver<Waiting>, directory: DirectoryCache, watcher: Watcher) -> Self {
        Self { waiting, directory, watcher, known: None, ended: false }
    }

    /// The answer as the watcher may see it now; `None` when nothing of it is left. The session sends a new snapshot
    /// after every change of campaigns, so leaving items out here never leaves a desk incomplete.
    fn allowed(&mut self, mut answer: WatchDeskResponse) -> Result<Option<WatchDeskResponse>, Error> {
        if self.watcher.expires_at <= OffsetDateTime::now_utc() {
            return Err(Error::unauthenticated("the token has expired"));
        }
        let campaigns = self.campaigns()?;
        // Own open items stay with whoever opened them, also after he left the campaign.
        let visible = |item: &DeskItem| {
            item.state() != InteractionState::Queued || campaigns.contains(&item.campaign_key)
        };
        match &mut answer.update {
            Some(Update::Item(item)) if !visible(item) => return Ok(None),
            Some(Update::Snapshot(snapshot)) => snapshot.items.retain(visible),
            Some(Update::Item(_) | Update::Removal(_) | Update::Counters(_) | Update::Alive(_)) | None => {}
        }
        Ok(Some(answer))
    }
}

impl Answers {
    /// Campaigns whose queues the watcher may see now.
    fn campaigns(&mut self) -> Result<&HashSet<String>, Error> {
        let current = self.directory.current();
        let known = match self.known.take() {
            Some(known) if Arc::ptr_eq(&known.0, &current) => known,
            Some(_) | None => {
                let (_, campaigns) = rights(&current, &self.watcher)?;
                (current, campaigns)
            }
        };
        Ok(&self.known.insert(known).1)
    }
}

impl Stream for Answers {
    type Item = Result<WatchDeskResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ended {
            let answer = match self.waiting.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => break,
                Poll::Ready(Some(Err(status))) => Err(status),
                Poll::Ready(Some(Ok(answer))) => match self.allowed(*answer) {
                    Ok(Some(answer)) => return Poll::Ready(Some(Ok(answer))),
                    Ok(None) => continue,
                    Err(error) => Err(error.into()),
                },
            };
            self.ended = true;
            // Whatever still waits is not for him any more; the session notices and ends.
            self.waiting.close();
            return Poll::Ready(Some(answer));
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hilo_proto::attention::v1::{DeskCounters, DeskSnapshot};
    use hilo_proto::directory::v1::{Campaign, Directory as ProtoDirectory, Role, User};
    use time::Duration;
    use tokio::sync::watch;
    use tokio_stream::StreamExt;
    use uuid::Uuid;

    fn directory(campaigns: &[&str], revoked: &[Uuid]) -> Arc<Directory> {
        let campaign = |key: &&str| Campaign {
            key: (*key).to_owned(),
            member_keys: vec!["ana".to_owned()],
            ..Campaign::default()
        };
        let user =
            User { key: "ana".into(), roles: vec![Role::Agent.into()], active: true, ..User::default() };
        let directory = ProtoDirectory {
            users: vec![user],
            campaigns: campaigns.iter().map(campaign).collect(),
            ..ProtoDirectory::default()
        };
        Arc::new(Directory::new(1, directory, revoked.iter().map(Uuid::to_string)))
    }

    fn item(campaign: &str, state: InteractionState) -> DeskItem {
        DeskItem { campaign_key: campaign.into(), state: state.into(), ..DeskItem::default() }
    }

    fn answer(update: Update) -> Waiting {
        Ok(Box::new(WatchDeskResponse { update: Some(update), traceparent: String::new() }))
    }

    struct Rig {
        token: Uuid,
        sender: mpsc::Sender<Waiting>,
        feed: watch::Sender<Arc<Directory>>,
        answers: Answers,
    }

    fn rig(expires_at: OffsetDateTime) -> Rig {
        let token = Uuid::now_v7();
        let (sender, waiting) = mpsc::channel(8);
        let (feed, current) = watch::channel(directory(&["soporte", "ventas"], &[]));
        let watcher = Watcher { user: "ana".into(), token_id: token, expires_at, channel: "email".into() };
        let answers = Answers::new(waiting, DirectoryCache::fed(current), watcher);
        Rig { token, sender, feed, answers }
    }

    /// Without the look in `poll_next` the counters are sent after the revocation.
    #[tokio::test]
    async fn what_waited_before_a_revocation_is_not_sent_after_it() {
        let mut rig = rig(OffsetDateTime::now_utc() + Duration::hours(1));
        for _ in 0..3 {
            rig.sender.send(answer(Update::Counters(DeskCounters::default()))).await.unwrap();
        }
        assert!(rig.answers.next().await.unwrap().is_ok());
        rig.feed.send(directory(&["soporte", "ventas"], &[rig.token])).unwrap();
        let status = rig.answers.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
        assert!(rig.answers.next().await.is_none());
        assert!(rig.sender.is_closed(), "the session ends");
    }

    #[tokio::test]
    async fn an_expired_token_gets_nothing_that_waited() {
        let mut rig = rig(OffsetDateTime::now_utc() - Duration::seconds(1));
        rig.sender.send(answer(Update::Counters(DeskCounters::default()))).await.unwrap();
        let status = rig.answers.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
    }

    #[tokio::test]
    async fn items_of_a_lost_campaign_are_left_out_and_open_ones_stay() {
        let mut rig = rig(OffsetDateTime::now_utc() + Duration::hours(1));
        let (queued, open) = (InteractionState::Queued, InteractionState::Open);
        let items = vec![item("soporte", queued), item("ventas", queued), item("ventas", open)];
        let snapshot = DeskSnapshot { items, counters: None };
        rig.sender.send(answer(Update::Snapshot(snapshot))).await.unwrap();
        rig.sender.send(answer(Update::Item(item("ventas", queued)))).await.unwrap();
        rig.sender.send(answer(Update::Item(item("soporte", queued)))).await.unwrap();
        rig.feed.send(directory(&["soporte"], &[])).unwrap();
        let first = rig.answers.next().await.unwrap().unwrap().update;
        let Some(Update::Snapshot(left)) = first else { panic!("{first:?}") };
        let left: Vec<(&str, InteractionState)> =
            left.items.iter().map(|item| (item.campaign_key.as_str(), item.state())).collect();
        assert_eq!(left, [("soporte", queued), ("ventas", open)]);
        let next = rig.answers.next().await.unwrap().unwrap().update;
        assert!(matches!(&next, Some(Update::Item(item)) if item.campaign_key == "soporte"), "{next:?}");
    }
}
