//! What a desk does beyond answering: transfer, notes, starting and reopening.

use hilo_proto::history::v1::ThreadMessage;

use super::{Current, DeskCalls, Driver};
use crate::cli::desk::command::{First, To};
use crate::cli::desk::render;
use crate::cli::terminal::clean;
use crate::cli::{Exit, Failure};

impl<C: DeskCalls> Driver<C> {
    pub(super) async fn transfer(&mut self, to: &To, note: &str) -> Result<(), Failure> {
        let interaction_id = self.current_id()?;
        self.calls.transfer(&interaction_id, to, note).await?;
        self.current = None;
        if matches!(to, To::Agent(_)) {
            self.list.offered_on(&interaction_id);
        }
        self.output.line(match to {
            To::Campaign(key) => format!("transferred to {}", clean(key)),
            To::Agent(key) => format!("offered to {}; what is not taken comes back", clean(key)),
        })
    }

    pub(super) async fn note(&mut self, text: &str) -> Result<(), Failure> {
        let interaction_id = self.current_id()?;
        self.calls.note(&interaction_id, text).await?;
        self.output.line("noted")
    }

    pub(super) async fn start(&mut self, first: &First) -> Result<(), Failure> {
        let started = self.calls.start(first).await?;
        self.output.line(format!("attention #{} started", started.attention_number))?;
        self.show_opened(started.interaction.unwrap_or_default().interaction_id).await
    }

    /// Sends again what failed last, or may not have been sent.
    pub(super) async fn retry(&mut self) -> Result<(), Failure> {
        self.current_id()?;
        let messages = self.calls.messages(&self.attention_id()).await?;
        let failed =
            |message: &&ThreadMessage| matches!(message.delivery_state.as_str(), "failed" | "unknown");
        let Some(message) = messages.iter().rev().find(failed) else {
            return Err(Failure::new(
                Exit::Missing,
                "NOTHING_FAILED",
                "no message of this conversation failed",
            ));
        };
        let again = self.calls.retry(&message.message_id).await?;
        render::message(&again).iter().try_for_each(|line| self.output.line(line))
    }

    pub(super) async fn reopen(&mut self, interaction_id: &str) -> Result<(), Failure> {
        self.calls.reopen(interaction_id).await?;
        self.show_opened(interaction_id.to_owned()).await
    }

    pub(super) async fn show_opened(&mut self, interaction_id: String) -> Result<(), Failure> {
        let answer = self.calls.open(&interaction_id).await?;
        self.list.opened(&interaction_id);
        for line in render::opened(&answer) {
            self.output.line(line)?;
        }
        if self.current.as_ref().is_none_or(|before| before.interaction_id != interaction_id) {
            self.pending = super::mail::Pending::default();
        }
        self.current = Some(Current { interaction_id, answer });
        Ok(())
    }
}
