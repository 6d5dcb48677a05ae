//! The working task: forms batches, runs the handler where a panic is caught, and turns outcomes into
//! acknowledgements, waiting times and dead letters.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, AckKind, message::Acker};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::lanes::{Entry, Lanes};
use super::{BatchHandler, ConsumerSpec, DeadLetter, DeadLetterSink, Delivery, Outcome};
use crate::clock;
use crate::error::{BrokerAction, Error};
use crate::fault;
use crate::lifecycle::Shutdown;
use crate::nats::Nats;

const BUSY_BASE: Duration = Duration::from_millis(5);
/// What waits for long, for a report of Meta's say, is asked less often.
const BUSY_CAP: Duration = Duration::from_secs(1);
const RETRY_BASE: Duration = Duration::from_millis(100);
const RETRY_CAP: Duration = Duration::from_secs(5);
const REPLAY_POLL: Duration = Duration::from_secs(2);
/// From this attempt on a message is tried alone, so that one that kills its process, or panics, is found and counted by itself
/// and takes nobody along. What a killed process may have tried (`count_next`) counts as tried.
const ALONE_FROM: u32 = 2;

pub(super) struct Worker {
    nats: Nats,
    pub(super) spec: ConsumerSpec,
    handler: Arc<dyn BatchHandler>,
    pub(super) sink: Arc<dyn DeadLetterSink>,
    lanes: Lanes,
    handled: Counter<u64>,
}

/// What happens to one message of a batch.
pub(super) enum Fate {
    Done,
    Wait(Duration),
    Failed(Error),
    Bury(Error),
}

impl Worker {
    pub fn new(
        nats: Nats,
        spec: ConsumerSpec,
        handler: Arc<dyn BatchHandler>,
        sink: Arc<dyn DeadLetterSink>,
    ) -> Self {
        let handled = crate::telemetry::meter().u64_counter("hilo.consumer.messages").build();
        Self { nats, spec, handler, sink, lanes: Lanes::default(), handled }
    }

    pub async fn run(mut self, mut incoming: mpsc::Receiver<jetstream::Message>, stop: &Shutdown) {
        let mut alive = tokio::time::interval(self.spec.ack_wait / 4);
        let mut replays = tokio::time::interval(REPLAY_POLL);
        let mut full_at = Instant::now();
        loop {
            self.lanes.wake(Instant::now());
            let due = self.lanes.has_ready()
                && (self.lanes.ready_len() >= self.spec.max_batch
                    || (incoming.is_empty() && Instant::now() >= full_at));
            if due && !stop.is_cancelled() {
                self.run_batch(&mut incoming, &mut alive).await;
                // What is left has waited already.
                full_at = Instant::now();
                continue;
            }
            let wake = match self.lanes.next_wake() {
                Some(at) if !self.lanes.has_ready() => at,
                _ => full_at.max(Instant::now()),
            };
            let has_timer = self.lanes.has_ready() || self.lanes.next_wake().is_some();
            tokio::select! {
                message = incoming.recv() => match message {
                    Some(message) => {
                        if !self.lanes.has_ready() {
                            full_at = Instant::now() + self.spec.linger;
                        }
                        self.take_in(message);
                    }
                    None => break,
                },
                () = tokio::time::sleep_until(wake), if has_timer => {}
                _ = alive.tick() => self.send_signs_of_life().await,
                _ = replays.tick() => self.take_replays().await,
                () = stop.cancelled() => break,
            }
        }
        self.hand_back(incoming).await;
    }

    fn take_in(&mut self, message: jetstream::Message) {
        let delivery = Delivery::received(&message);
        let (_, acker) = message.split();
        let count_next = delivery.delivered() > 1;
        self.lanes.push(Entry {
            delivery,
            ackers: vec![acker],
            replay_of: None,
            attempts: 0,
            count_next,
            waits: 0,
            alive_at: Instant::now(),
        });
    }

    async fn take_replays(&mut self) {
        match self.sink.replays(&self.spec.durable).await {
            Ok(replays) => {
                for replay in replays {
                    self.lanes.push(Entry {
                        delivery: replay.delivery,
                        ackers: Vec::new(),
                        replay_of: Some(replay.dead_letter),
                        attempts: 0,
                        count_next: false,
                        waits: 0,
                        alive_at: Instant::now(),
                    });
                }
            }
            Err(error) => tracing::debug!(error = %error.chain(), "replays could not be read"),
        }
    }

    async fn run_batch(
        &mut self,
        incoming: &mut mpsc::Receiver<jetstream::Message>,
        alive: &mut tokio::time::Interval,
    ) {
        // Asked before this try is counted.
        let alone =
            |entry: &Entry| entry.count_next || entry.attempts >= ALONE_FROM || entry.replay_of.is_some();
        let mut batch = self.lanes.take(self.spec.max_batch, self.spec.one_per_key, alone);
        if let Err(error) = self.count_attempts(&mut batch).await {
            error.log("counting attempts");
            let fates = batch.iter().map(|entry| Fate::Wait(retry_delay(entry.waits))).collect();
            return self.settle(batch, fates).await;
        }
        let (worn, mut fresh): (Vec<Entry>, Vec<Entry>) =
            batch.into_iter().partition(|entry| entry.attempts > self.spec.max_attempts);
        let mut fates: Vec<Fate> = worn.iter().map(|_| Fate::Bury(worn_out())).collect();
        let mut all = worn;
        if !fresh.is_empty() {
            let outcomes = self.handle(&fresh, incoming, alive).await;
            let judged = self.judge(&fresh, outcomes);
            self.take_back_attempts(&mut fresh, &judged).await;
            fates.extend(judged);
            all.extend(fresh);
        }
        fault::point_of(&self.spec.durable, "before_ack").await;
        self.settle(all, fates).await;
    }

    /// Runs the handler in a task of its own; meanwhile messages go on coming in and get their signs of life.
    async fn handle(
        &mut self,
        batch: &[Entry],
        incoming: &mut mpsc::Receiver<jetstream::Message>,
        alive: &mut tokio::time::Interval,
    ) -> Result<Vec<Outcome>, ()> {
        let deliveries: Vec<Delivery> = batch.iter().map(|entry| entry.delivery.clone()).collect();
        let handler = self.handler.clone();
        let mut task: JoinHandle<Vec<Outcome>> =
            tokio::spawn(async move { handler.handle(&deliveries).await });
        let mut open = true;
        loop {
            tokio::select! {
                // What a panic says may quote a message, so it is not passed on.
                done = &mut task => return done.map_err(|_| ()),
                message = incoming.recv(), if open && !self.lanes.is_full(self.spec.max_ack_pending) => match message {
                    Some(message) => self.take_in(message),
                    None => open = false,
                },
                _ = alive.tick() => {
                    for entry in batch {
                        signs_of_life(&entry.ackers).await;
                    }
                    self.send_signs_of_life().await;
                }
            }
        }
    }

    fn judge(&self, batch: &[Entry], outcomes: Result<Vec<Outcome>, ()>) -> Vec<Fate> {
        let panicked = outcomes.is_err();
        let mut outcomes = outcomes.unwrap_or_default().into_iter();
        let unanswered = || match panicked {
            true => Error::internal("HANDLER_PANICKED", "the handler panicked"),
            false => Error::internal("NO_OUTCOME", "the handler gave no outcome"),
        };
        batch
            .iter()
            .map(|entry| match outcomes.next().unwrap_or_else(|| Outcome::Retry(unanswered())) {
                Outcome::Ack => Fate::Done,
                Outcome::Busy => Fate::Wait(clock::backoff(entry.waits, BUSY_BASE, BUSY_CAP)),
                Outcome::Dead(error) => Fate::Bury(error),
                Outcome::Retry(error) => self.judge_retry(entry, error),
            })
            .collect()
    }

    fn judge_retry(&self, entry: &Entry, error: Error) -> Fate {
        match error.class().broker_action() {
            BrokerAction::Wait => {
                if entry.waits == 0 {
                    error.log("handling a message");
                }
                Fate::Wait(retry_delay(entry.waits))
            }
            BrokerAction::Ack | BrokerAction::Retry | BrokerAction::DeadLetter => {
                error.log("handling a message");
                if entry.attempts >= self.spec.max_attempts { Fate::Bury(error) } else { Fate::Failed(error) }
            }
        }
    }

    async fn settle(&mut self, batch: Vec<Entry>, fates: Vec<Fate>) {
        let now = Instant::now();
        let mut kept = Vec::new();
        let mut forget = Vec::new();
        for (mut entry, fate) in batch.into_iter().zip(fates) {
            match fate {
                Fate::Done => {
                    if entry.attempts > 1 {
                        forget.push(entry.delivery.id());
                    }
                    self.finish(entry).await;
                }
                Fate::Wait(delay) => {
                    entry.waits += 1;
                    kept.push((entry, now + delay));
                }
                Fate::Failed(error) => match entry.replay_of {
                    // A replay gets one try; it becomes a dead letter again at once.
                    Some(_) => self.bury(entry, error, &mut kept).await,
                    None => {
                        let delay = retry_delay(entry.attempts);
                        entry.count_next = true;
                        entry.waits = 0;
                        // Alone from now on, also when the failed try was the uncounted first one.
                        entry.attempts = entry.attempts.max(1);
                        kept.push((entry, now + delay));
                    }
                },
                Fate::Bury(error) => self.bury(entry, error, &mut kept).await,
            }
        }
        self.lanes.put_back(kept);
        self.lanes.finish_batch();
        if !forget.is_empty()
            && let Err(error) = self.sink.forget_attempts(&self.spec.durable, &forget).await
        {
            error.log("forgetting attempts");
        }
    }

    async fn finish(&mut self, entry: Entry) {
        self.count("handled");
        if let Some(dead_letter) = entry.replay_of
            && let Err(error) = self.sink.settle_replay(dead_letter, None).await
        {
            error.log("settling a replay");
        }
        for acker in self.lanes.done(entry) {
            acknowledge(&acker).await;
        }
    }

    async fn bury(&mut self, entry: Entry, error: Error, kept: &mut Vec<(Entry, Instant)>) {
        let committed = match entry.replay_of {
            Some(dead_letter) => self.sink.settle_replay(dead_letter, Some(&error)).await,
            None => self.sink.bury(&self.letter(&entry, &error)).await,
        };
        if let Err(failed) = committed {
            failed.log("keeping a dead letter");
            return kept.push((entry, Instant::now() + RETRY_CAP));
        }
        self.count("dead");
        tracing::error!(
            consumer = %self.spec.durable,
            message_id = %entry.delivery.id(),
            reason = error.reason(),
            attempts = entry.attempts,
            "dead letter"
        );
        self.notify(&entry, &error).await;
        for acker in self.lanes.done(entry) {
            acknowledge(&acker).await;
        }
    }

    fn letter(&self, entry: &Entry, error: &Error) -> DeadLetter {
        DeadLetter {
            consumer: self.spec.durable.clone(),
            stream: self.spec.stream,
            delivery: entry.delivery.clone(),
            reason: error.reason().to_owned(),
            detail: error.message().to_owned(),
            attempts: entry.attempts.max(1),
        }
    }

    /// A notice for operators' tools; the dead letter itself is committed, so a lost notice loses nothing.
    async fn notify(&self, entry: &Entry, error: &Error) {
        let Ok(subject) = self.nats.subjects().dead(self.spec.stream, &self.spec.durable) else { return };
        let notice = serde_json::json!({
            "message_id": entry.delivery.id(),
            "reason": error.reason(),
            "attempts": entry.attempts,
        });
        let sent = self.nats.client().publish(subject, notice.to_string().into()).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "a dead letter notice was not sent");
        }
    }

    fn count(&self, outcome: &'static str) {
        let consumer = KeyValue::new("consumer", self.spec.durable.clone());
        self.handled.add(1, &[consumer, KeyValue::new("outcome", outcome)]);
    }

    /// Tells the broker that held messages are not forgotten.
    async fn send_signs_of_life(&mut self) {
        let old = Instant::now() - self.spec.ack_wait / 5;
        let due = self.lanes.entries_mut().filter(|entry| entry.alive_at < old);
        for entry in due {
            entry.alive_at = Instant::now();
            signs_of_life(&entry.ackers).await;
        }
    }

    /// At shutdown: what was not begun goes back at once, so that another replica need not wait for the ack time.
    async fn hand_back(mut self, mut incoming: mpsc::Receiver<jetstream::Message>) {
        incoming.close();
        while let Ok(message) = incoming.try_recv() {
            self.take_in(message);
        }
        for entry in self.lanes.drain() {
            for acker in &entry.ackers {
                if let Err(error) = acker.ack_with(AckKind::Nak(None)).await {
                    tracing::debug!(%error, "a message was not handed back");
                }
            }
        }
        if let Err(error) = self.nats.client().flush().await {
            tracing::debug!(%error, "acknowledgements were not flushed");
        }
    }
}

fn retry_delay(failures: u32) -> Duration {
    clock::backoff(failures, RETRY_BASE, RETRY_CAP)
}

fn worn_out() -> Error {
    Error::internal("TOO_MANY_ATTEMPTS", "every try ended without an answer, perhaps by killing its process")
}

async fn acknowledge(acker: &Acker) {
    // A lost acknowledgement means a redelivery, which the inbox answers.
    if let Err(error) = acker.ack().await {
        tracing::debug!(%error, "an acknowledgement was not sent");
    }
}

async fn signs_of_life(ackers: &[Acker]) {
    for acker in ackers {
        if let Err(error) = acker.ack_with(AckKind::Progress).await {
            tracing::debug!(%error, "a sign of life was not sent");
        }
    }
}
