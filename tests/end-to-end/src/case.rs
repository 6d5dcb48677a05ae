//! A case whose public events a test follows step by step, and compares with a frozen list in the end.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::subscriber::{Seen, Subscriber};

/// An attention whose events are followed step by step.
#[derive(Clone, Debug)]
pub struct Case {
    /// Heading of the frozen list.
    pub name: &'static str,
    /// Attention.
    pub attention: String,
    /// Events that were walked; later ones are not compared.
    pub seen: usize,
}

impl Case {
    /// A case of which nothing was walked yet.
    pub fn new(name: &'static str, attention: impl Into<String>) -> Self {
        Self { name, attention: attention.into(), seen: 0 }
    }

    /// Waits for the next events: these, and no others before them.
    ///
    /// # Errors
    /// When others came, or none before the deadline.
    pub async fn then(&mut self, subscriber: &Subscriber, kinds: &[&str], deadline: Duration) -> Result<()> {
        let wanted = self.seen + kinds.len();
        let what = format!("{}: {kinds:?} after {}", self.name, self.seen);
        let attention = self.attention.as_str();
        let came = |log: &crate::subscriber::Log| {
            log.attentions.get(attention).is_some_and(|events| events.len() >= wanted)
        };
        subscriber.wait_until(&what, deadline, came).await?;
        let came: Vec<String> = subscriber.with(|log| {
            let events = log.attentions.get(attention).into_iter().flat_map(|events| events.values());
            events.skip(self.seen).take(kinds.len()).map(kind).collect()
        });
        ensure!(came == kinds, "{what}: {came:?}");
        self.seen = wanted;
        Ok(())
    }

    /// What the subscriber saw of the steps walked, a line per event: sequence, type, campaign of the subject, states of
    /// attention and interaction, reason, actor.
    ///
    /// # Errors
    /// When it never saw the attention.
    pub fn told(&self, subscriber: &Subscriber) -> Result<String> {
        let mut text = format!("== {}\n", self.name);
        subscriber.with(|log| {
            let events = log.attentions.get(&self.attention).context("an attention nobody saw")?;
            for (sequence, seen) in events.iter().take(self.seen) {
                let of = |value: Option<&serde_json::Value>| {
                    value.and_then(serde_json::Value::as_str).unwrap_or("-").to_owned()
                };
                let interaction = of(seen.data.pointer("/interaction/state"));
                writeln!(
                    text,
                    "{sequence:>2} {:<27} {:<8} {:<6} {:<7} {:<12} {}",
                    kind(seen),
                    of(seen.data.get("campaignKey")),
                    of(seen.data.get("attentionState")).replace("ATTENTION_STATE_", ""),
                    interaction.replace("INTERACTION_STATE_", ""),
                    of(seen.data.get("reason")),
                    of(seen.data.get("actorKey")),
                )?;
            }
            Ok(text)
        })
    }
}

/// The event's type without its prefix.
pub fn kind(seen: &Seen) -> String {
    seen.kind.rsplit('.').next().unwrap_or_default().to_owned()
}
