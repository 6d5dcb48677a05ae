//! Turns lines and news into calls and output. Knows no terminal and no network: its tests are transcripts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hilo_proto::attention::v1::OpenInteractionResponse;
use hilo_proto::event::v1::AttentionState;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::command::{DeskCommand, HELP, ItemName, parse};
use super::list::{DeskList, Notice};
use super::remote::DeskCalls;
use super::render;
use super::watch::News;
use crate::cli::terminal::{Output, clean};
use crate::cli::{Exit, Failure, explain};

#[path = "driver_chat.rs"]
mod chat;
#[path = "driver_mail.rs"]
mod mail;
#[path = "moving.rs"]
mod moving;

/// What happens after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next line.
    Line,
    /// The desk is left.
    Quit,
}

/// The item worked on.
#[derive(Debug)]
struct Current {
    interaction_id: String,
    answer: OpenInteractionResponse,
}

/// The desk of one agent.
#[derive(Debug)]
pub struct Driver<C> {
    calls: C,
    output: Output,
    list: DeskList,
    current: Option<Current>,
    interactive: bool,
    wait_until: Option<Instant>,
    ending: Option<bool>,
    lost: BTreeSet<&'static str>,
    failed: usize,
    pending: mail::Pending,
}

impl<C: DeskCalls> Driver<C> {
    /// A desk without a list yet; an interactive one prompts, rings and asks before ending.
    pub fn new(calls: C, output: Output, interactive: bool) -> Self {
        let list = DeskList::default();
        Self {
            calls,
            output,
            list,
            current: None,
            interactive,
            wait_until: None,
            ending: None,
            lost: BTreeSet::new(),
            failed: 0,
            pending: mail::Pending::default(),
        }
    }

    /// The same desk over so many channels.
    #[must_use]
    pub fn over(mut self, channels: usize) -> Self {
        self.list = DeskList::of(channels);
        self
    }

    /// Commands that failed so far.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// True once the first list is here.
    pub fn has_list(&self) -> bool {
        self.list.is_complete()
    }

    /// Until when the desk waits for work, if it does.
    pub fn waits_until(&self) -> Option<Instant> {
        self.wait_until
    }

    /// Shows that a line is awaited.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn prompt(&mut self) -> Result<(), Failure> {
        if !self.interactive || self.wait_until.is_some() {
            return Ok(());
        }
        let text = if self.ending.is_some() { "¿Terminar? (s/n) " } else { "> " };
        self.output.to_person(text)
    }

    /// Takes what came from the stream and says what matters to a person.
    ///
    /// # Errors
    /// When the output cannot be written, or the agent may not go on.
    pub fn news(&mut self, news: News) -> Result<(), Failure> {
        match news {
            News::Update(channel, update) => {
                let first = !self.list.is_complete();
                let notices = self.list.apply(channel, *update);
                if first {
                    if self.list.is_complete() {
                        self.show_list()?;
                    }
                } else {
                    if self.lost.remove(channel) && self.lost.is_empty() {
                        self.output
                            .line(format!("connected again. {}", render::counters(self.list.counters())))?;
                    }
                    for notice in notices {
                        self.say(&notice)?;
                    }
                }
                if self.wait_until.is_some() && self.list.has_queued() {
                    self.wait_until = None;
                }
                Ok(())
            }
            News::Lost(channel, failure) => {
                let first = self.lost.is_empty();
                if self.lost.insert(channel) && first {
                    self.output.line(format!("connection lost ({}), trying again ...", failure.reason))?;
                }
                Ok(())
            }
            News::Over(failure) => Err(failure),
        }
    }

    fn say(&mut self, notice: &Notice) -> Result<(), Failure> {
        let (number, what, rings) = match notice {
            Notice::Ringing(number) => (*number, "offer", true),
            Notice::Queued(number) => (*number, "queued", false),
            Notice::Message(number) => (*number, "new message", true),
            Notice::Left(number) => (*number, "left the queue", false),
            Notice::CameBack(number) => (*number, "came back", true),
        };
        // On a person's terminal the prompt is there already: the notice takes its line, a new prompt follows.
        let before = if rings { "\u{7}\r\u{1b}[K" } else { "\r\u{1b}[K" };
        if self.interactive {
            self.output.to_person(before)?;
        }
        let item = self.list.find(&ItemName::Number(number)).and_then(|id| self.list.get(&id).cloned());
        match item {
            Some(item) => self.output.line(format!(
                "* {what}: {}",
                render::item(number, &item, OffsetDateTime::now_utc()).trim_start()
            )),
            None => self.output.line(format!("* {what}: {number}")),
        }?;
        self.prompt()
    }

    /// The wait ended without anything queued.
    ///
    /// # Errors
    /// When the output cannot be written.
    pub fn wait_is_over(&mut self) -> Result<(), Failure> {
        self.wait_until = None;
        self.refuse(&Failure::unavailable("NOTHING_QUEUED", "nothing came into the queue"))?;
        self.prompt()
    }

    fn refuse(&mut self, failure: &Failure) -> Result<(), Failure> {
        if failure.exit == Exit::Quiet {
            return Err(failure.clone());
        }
        self.failed += 1;
        self.output.line(format!("! {failure}"))?;
        for detail in &failure.details {
            self.output.line(format!("!   {detail}"))?;
        }
        Ok(())
    }

    /// Takes a line.
    ///
    /// # Errors
    /// Only when the output cannot be written; what a command refuses is printed.
    pub async fn line(&mut self, line: &str) -> Result<Next, Failure> {
        if let Some(close) = self.ending.take() {
            if matches!(line.trim(), "s" | "si" | "sí" | "y" | "yes") {
                let outcome = self.end(close).await;
                self.finish(outcome)?;
            }
            return Ok(Next::Line);
        }
        let command = match parse(line) {
            Ok(command) => command,
            Err(what) => {
                self.refuse(&Failure::invalid("BAD_LINE", clean(&what)))?;
                return Ok(Next::Line);
            }
        };
        if command == DeskCommand::Quit {
            return Ok(Next::Quit);
        }
        let outcome = self.carry_out(command).await;
        self.finish(outcome)?;
        Ok(Next::Line)
    }

    fn finish(&mut self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        match outcome {
            Ok(()) => Ok(()),
            Err(failure) => self.refuse(&failure),
        }
    }

    async fn carry_out(&mut self, command: DeskCommand) -> Result<(), Failure> {
        match command {
            DeskCommand::Nothing | DeskCommand::Quit => Ok(()),
            DeskCommand::Help => HELP.iter().try_for_each(|line| self.output.line(line)),
            DeskCommand::List => self.show_list(),
            DeskCommand::Open(name) => self.open(&name).await,
            DeskCommand::Read => self.read().await,
            DeskCommand::Reply { text, all } => self.reply(&text, all).await,
            DeskCommand::Forward { to, files, text } => self.forward(&to, files, &text).await,
            DeskCommand::Attach(path) => self.attach(&path).await,
            DeskCommand::Copy { to, hidden } => self.copy(to, hidden),
            DeskCommand::Download { number, to } => self.download(number, &to).await,
            DeskCommand::Templates => self.templates().await,
            DeskCommand::Template(sent) => self.template(sent).await,
            DeskCommand::StartChat(first) => self.start_chat(&first).await,
            DeskCommand::Form(fields) => self.form(fields).await,
            DeskCommand::End { close } if self.interactive => {
                self.current_id()?;
                self.ending = Some(close);
                Ok(())
            }
            DeskCommand::End { close } => self.end(close).await,
            DeskCommand::Retry => self.retry().await,
            DeskCommand::Release => self.release().await,
            DeskCommand::Transfer { to, note } => self.transfer(&to, &note).await,
            DeskCommand::Note(text) => self.note(&text).await,
            DeskCommand::Start(first) => self.start(&first).await,
            DeskCommand::Reopen(id) => self.reopen(&id).await,
            DeskCommand::Decline(name) => self.decline(&name).await,
            DeskCommand::Pause => self.pause(true).await,
            DeskCommand::Resume => self.pause(false).await,
            DeskCommand::Wait(limit) => self.wait(limit),
            DeskCommand::Why(name) => self.why(&name).await,
        }
    }

    fn show_list(&mut self) -> Result<(), Failure> {
        self.output.line(render::counters(self.list.counters()))?;
        for (number, item) in self.list.in_order() {
            self.output.line(render::item(number, &item, OffsetDateTime::now_utc()))?;
        }
        Ok(())
    }

    fn named(&self, name: &ItemName) -> Result<String, Failure> {
        self.list
            .find(name)
            .ok_or_else(|| Failure::new(Exit::Missing, "NO_SUCH_ITEM", "there is no such item; type list"))
    }

    fn current_id(&self) -> Result<String, Failure> {
        let current = self.current.as_ref().map(|current| current.interaction_id.clone());
        current.ok_or_else(|| Failure::new(Exit::Rejected, "NOTHING_OPEN", "open an item first: open N"))
    }

    async fn open(&mut self, name: &ItemName) -> Result<(), Failure> {
        let interaction_id = self.named(name)?;
        self.show_opened(interaction_id).await
    }

    async fn read(&mut self) -> Result<(), Failure> {
        self.current_id()?;
        for line in render::thread(&self.calls.messages(&self.attention_id()).await?) {
            self.output.line(line)?;
        }
        Ok(())
    }

    fn attention_id(&self) -> String {
        let attention = self.current.as_ref().and_then(|current| current.answer.attention.as_ref());
        attention.map(|attention| attention.attention_id.clone()).unwrap_or_default()
    }

    async fn form(&mut self, fields: Vec<(String, String)>) -> Result<(), Failure> {
        let interaction_id = self.current_id()?;
        let Some(current) = &mut self.current else { return Ok(()) };
        let mut values = render::values(&current.answer);
        if !fields.is_empty() {
            values.extend(fields);
            let base = current.answer.form_state.as_ref().map_or(0, |state| state.version);
            let saved = match self.calls.save_form(&interaction_id, base, values.clone()).await {
                Ok(saved) => saved,
                Err(failure) => {
                    // Whatever stands there now is the base of the next try.
                    if let Ok(fresh) = self.calls.open(&interaction_id).await {
                        current.answer = fresh;
                    }
                    return Err(failure);
                }
            };
            values = saved.values.clone().into_iter().collect::<BTreeMap<_, _>>();
            current.answer.form_state = Some(saved);
        }
        let lines = render::form(current.answer.form.as_ref(), &values);
        if lines.is_empty() {
            return self.output.line("this campaign has no form");
        }
        lines.iter().try_for_each(|line| self.output.line(line))
    }

    async fn end(&mut self, close: bool) -> Result<(), Failure> {
        let interaction_id = self.current_id()?;
        let answer = self.calls.end(&interaction_id, close).await?;
        self.current = None;
        let closed = answer.attention_state == AttentionState::Closed as i32;
        self.output.line(if closed {
            "interaction ended, attention closed"
        } else {
            "interaction ended, the attention stays open"
        })
    }

    async fn release(&mut self) -> Result<(), Failure> {
        let interaction_id = self.current_id()?;
        self.calls.release(&interaction_id).await?;
        self.current = None;
        self.output.line("given back to the queue")
    }

    async fn decline(&mut self, name: &ItemName) -> Result<(), Failure> {
        let interaction_id = self.named(name)?;
        let offer =
            self.list.get(&interaction_id).filter(|item| item.ringing).map(|item| item.offer_id.clone());
        let offer = offer
            .ok_or_else(|| Failure::new(Exit::Rejected, "NOT_RINGING", "that item does not ring here"))?;
        self.calls.decline(&interaction_id, &offer).await?;
        self.output.line("the offer moves on")
    }

    async fn pause(&mut self, paused: bool) -> Result<(), Failure> {
        let paused = self.calls.pause(paused).await?;
        self.output.line(if paused { "paused: no new offers" } else { "taking offers" })
    }

    async fn why(&mut self, name: &ItemName) -> Result<(), Failure> {
        let current = self.current_id().ok().filter(|_| *name == ItemName::Next);
        let interaction_id = current.map_or_else(|| self.named(name), Ok)?;
        let decisions = self.calls.explain(&interaction_id).await?;
        if decisions.is_empty() {
            return self.output.line("it has not been offered yet");
        }
        decisions.iter().try_for_each(|stored| self.output.line(explain::decision(stored)))
    }

    fn wait(&mut self, limit: Duration) -> Result<(), Failure> {
        if !self.list.has_queued() {
            self.wait_until = Some(Instant::now() + limit);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
