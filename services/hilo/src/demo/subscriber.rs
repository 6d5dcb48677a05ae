//! A subscriber of the public events, as another system would be: it only knows the broker's address and CloudEvents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::clock::{demand, until, wrong};
use crate::cli::Failure;
use crate::cli::events::{self, CloudEvent};

/// Events kept; the demo makes about a hundred.
const MAX_EVENTS: usize = 10_000;

/// A running reader of everything from its start on.
#[derive(Debug)]
pub struct Subscriber {
    events: Arc<Mutex<Vec<CloudEvent>>>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Begins to read new events.
    ///
    /// # Errors
    /// When the broker or the stream is not there.
    pub async fn start(nats: &str, prefix: &str) -> Result<Self, Failure> {
        let client = events::connect(nats).await?;
        let mut messages = events::subscribe(client, prefix, false).await?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let kept = events.clone();
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let Ok(message) = message else { continue };
                let mut kept = kept.lock();
                if kept.len() < MAX_EVENTS {
                    kept.push(CloudEvent::read(&message));
                }
            }
        });
        Ok(Self { events, task })
    }

    /// Events of these attentions in the order received, repeated deliveries left out.
    pub fn of(&self, attentions: &BTreeSet<String>) -> Vec<CloudEvent> {
        let mut seen = BTreeSet::new();
        let events = self.events.lock();
        let ours = events.iter().filter(|event| attentions.contains(&event.subject));
        ours.filter(|event| seen.insert((event.subject.clone(), event.sequence))).cloned().collect()
    }

    /// Waits until for each attention the events 1 to its last sequence are here, and checks their form and order.
    ///
    /// # Errors
    /// `NOT_IN_TIME` naming what is missing, or what is wrong with an event.
    pub async fn complete(
        &self,
        last: &BTreeMap<String, u64>,
        limit: Duration,
    ) -> Result<Vec<CloudEvent>, Failure> {
        let attentions: BTreeSet<String> = last.keys().cloned().collect();
        until(limit, "the subscriber has every event", || async {
            let events = self.of(&attentions);
            let all = last.iter().all(|(attention, last)| {
                events.iter().filter(|event| &event.subject == attention).map(|event| event.sequence).max()
                    >= Some(*last)
            });
            Ok(all.then_some(()))
        })
        .await?;
        let events = self.of(&attentions);
        check(&events)?;
        Ok(events)
    }

    /// Ends it.
    pub fn stop(self) {
        self.task.abort();
    }
}

/// Every attention's sequences go 1, 2, 3 … in the order received, and every event is a whole CloudEvent.
fn check(events: &[CloudEvent]) -> Result<(), Failure> {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for event in events {
        let before = last.insert(&event.subject, event.sequence).unwrap_or_default();
        if event.sequence != before + 1 {
            return Err(wrong(format!(
                "attention {}: sequence {} follows {before}",
                event.subject, event.sequence
            )));
        }
        let whole = !event.id.is_empty()
            && !event.source.is_empty()
            && !event.time.is_empty()
            && event.time.ends_with('Z');
        demand(
            whole && event.kind.starts_with("hilo.attention.v1."),
            format!("event {} is no whole CloudEvent", event.id),
        )?;
        demand(
            event.text("/attentionId") == event.subject,
            format!("event {}: data and subject differ", event.id),
        )?;
        demand(ids.insert(&event.id), format!("event id {} was used twice", event.id))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(attention: &str, sequence: u64) -> CloudEvent {
        CloudEvent {
            id: format!("{attention}-{sequence}"),
            source: "hilo".to_owned(),
            kind: "hilo.attention.v1.interaction_queued".to_owned(),
            time: "2026-11-21T00:00:00Z".to_owned(),
            subject: attention.to_owned(),
            sequence,
            data: serde_json::json!({"attentionId": attention}),
            ..CloudEvent::default()
        }
    }

    #[test]
    fn gaps_and_foreign_data_are_found() {
        assert!(check(&[event("a", 1), event("b", 1), event("a", 2)]).is_ok());
        assert!(check(&[event("a", 1), event("a", 3)]).is_err());
        assert!(check(&[event("a", 2)]).is_err());
        assert!(check(&[CloudEvent { data: serde_json::Value::Null, ..event("a", 1) }]).is_err());
        assert!(check(&[CloudEvent { id: String::new(), ..event("a", 1) }]).is_err());
    }
}
