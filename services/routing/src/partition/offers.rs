//! Decisions on their way to be committed: batched while a batch is out, tried again while a row is busy.

use std::collections::{BTreeMap, VecDeque};

use hilo_kit::error::Error;
use hilo_proto::internal::v1::{
    ApplyOffersRequest, ApplyOffersResponse, AssignmentOutcome, AssignmentResult,
};

use super::{Effect, Partition};
use crate::convert;
use crate::domain::{Answer, Decision, Input, Instant, Offer, Outcome, Span};

/// Most changes in one batch, by contract.
const MAX_CHANGES: usize = 500;
/// Batches of a partition on their way at once: one is being committed while the next is on the wire.
const MAX_OUT: usize = 2;
/// A busy row is tried again after this long, doubling.
const BUSY_FIRST: Span = Span::millis(5);
/// And at the latest after this long.
const BUSY_LONGEST: Span = Span::millis(200);

/// A decision with the pause before its next try.
#[derive(Debug, Clone)]
struct Waiting {
    decision: Decision,
    pause: Span,
    /// Configuration of the partition when it was decided.
    config_version: i64,
}

/// Decisions that were sent together.
#[derive(Debug)]
pub struct Batch {
    sent_at: Instant,
    decisions: Vec<Waiting>,
}

/// What became of a batch, for the partition's owner.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Held,
    /// Another replica holds the partition: drop it.
    Lost,
}

/// Decisions not answered yet.
#[derive(Debug, Default)]
pub struct Offers {
    ready: VecDeque<Waiting>,
    /// Busy ones by the instant of their next try; the number keeps equal instants apart.
    busy: BTreeMap<(Instant, u64), Waiting>,
    counter: u64,
    out: usize,
}

impl Offers {
    /// Queues a decision.
    pub fn push(&mut self, decision: Decision, config_version: i64) {
        self.ready.push_back(Waiting { decision, pause: BUSY_FIRST, config_version });
    }

    /// When a busy one is to be tried again.
    pub fn next_retry(&self) -> Option<Instant> {
        self.busy.first_key_value().map(|((at, _), _)| *at)
    }

    /// Makes ready what was busy long enough.
    pub fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.busy.first_entry()
            && entry.key().0 <= now
        {
            self.ready.push_back(entry.remove());
        }
    }

    fn again(&mut self, mut waiting: Waiting, now: Instant) {
        let at = now + waiting.pause;
        waiting.pause = waiting.pause.doubled(BUSY_LONGEST);
        self.counter += 1;
        self.busy.insert((at, self.counter), waiting);
    }
}

impl Partition {
    /// Makes batches of what is ready, as far as they may be out.
    pub(super) fn send_offers(&mut self, now: Instant) {
        self.void_outdated(now);
        while self.offers.out < MAX_OUT && !self.offers.ready.is_empty() {
            let many = self.offers.ready.len().min(MAX_CHANGES);
            let decisions: Vec<Waiting> = self.offers.ready.drain(..many).collect();
            self.offers.out += 1;
            self.around.metrics.decisions.add(many as u64, &[]);
            let changes =
                decisions.iter().map(|waiting| convert::change(&waiting.decision, &self.names)).collect();
            decisions.iter().for_each(|waiting| self.trace(&waiting.decision));
            let request = ApplyOffersRequest {
                partition: self.number,
                epoch: self.epoch,
                config_version: self.config_version,
                changes,
            };
            self.effects.push(Effect::Apply(request, Batch { sent_at: now, decisions }));
        }
    }

    /// What was decided with an earlier configuration and is not on its way, as a busy row, is decided again: sent now it would
    /// pass for a decision of the present one.
    fn void_outdated(&mut self, now: Instant) {
        let version = self.config_version;
        let (present, outdated): (VecDeque<_>, VecDeque<_>) =
            self.offers.ready.drain(..).partition(|waiting| waiting.config_version >= version);
        self.offers.ready = present;
        for waiting in outdated {
            self.feed(Input::Answer(convert::unanswered(&waiting.decision)), now);
        }
    }

    /// Leaves a span in the trace the item arrived with.
    fn trace(&self, decision: &Decision) {
        if let Decision::Offer(Offer { interaction, .. }) = decision
            && let Some(parent) = self.traces.get(interaction)
        {
            let span = tracing::info_span!("routing.offer", partition = self.number);
            drop(hilo_kit::telemetry::span_with_parent(Some(parent), span).entered());
        }
    }

    /// Takes over the answer to a batch.
    pub fn applied(
        &mut self,
        batch: Batch,
        answer: Result<ApplyOffersResponse, Error>,
        now: Instant,
    ) -> Verdict {
        self.offers.out = self.offers.out.saturating_sub(1);
        let taken = (now - batch.sent_at).0 as f64 / 1e6;
        self.around.metrics.commit_seconds.record(taken, &[]);
        let results = match answer {
            Ok(answer) => answer.results,
            Err(error) if error.reason() == "STALE_EPOCH" => return Verdict::Lost,
            Err(error) => {
                if error.reason() == "STALE_CONFIG" {
                    self.effects.push(Effect::RefreshConfig);
                } else {
                    error.log("committing offers; they are decided again");
                }
                Vec::new()
            }
        };
        let mut results = results.into_iter();
        for waiting in batch.decisions {
            match results.next() {
                Some(result) => self.answered(waiting, &result, now),
                None => self.feed(Input::Answer(convert::unanswered(&waiting.decision)), now),
            }
        }
        Verdict::Held
    }

    fn answered(&mut self, waiting: Waiting, result: &AssignmentResult, now: Instant) {
        let wire = AssignmentOutcome::try_from(result.outcome).unwrap_or_default();
        let label = opentelemetry::KeyValue::new("outcome", wire.as_str_name());
        self.around.metrics.answers.add(1, &[label]);
        let (interaction, version) = waiting.decision.subject();
        let Some(outcome) = convert::outcome(wire) else {
            // A newer state may have come meanwhile; then the proposal is void and nobody waits for its answer.
            if self.engine.version_of(interaction) == Some(version) {
                self.offers.again(waiting, now);
            }
            return;
        };
        let current = match &result.current {
            None => None,
            Some(live) => self.live(live, now).unwrap_or_else(|error| {
                error.log("reading the state in an answer");
                None
            }),
        };
        if outcome == Outcome::Applied && current.is_none() {
            // Committed, but the answer does not say what it is now: read it.
            tracing::debug!(partition = self.number, "an applied change came without its state");
        }
        self.feed(Input::Answer(Answer { interaction, version, outcome, current }), now);
    }
}
