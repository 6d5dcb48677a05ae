//! The handle: starts a simulator, plays its customers, sets its faults, reads its record.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Behaviour, Config, Number, Template};
use crate::customer::Customer;
use crate::faults::Fault;
use crate::phone::{self, PhoneError};
use crate::record::{Attempt, Request, Totals, Violation};
use crate::say::Say;
use crate::webhook::{self, Outbox};
use crate::world::{Core, Said, Sent, World};
use parking_lot::Mutex;

/// A running simulator; it stops when this is dropped.
pub struct Simulator {
    core: Arc<Core>,
}

impl Simulator {
    /// Starts it. Listens before it returns.
    ///
    /// # Errors
    /// When the address is not loopback or taken, or a callback is not loopback.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        ensure!(config.listen.ip().is_loopback(), "the simulator listens on loopback only");
        for callback in config.apps.iter().filter_map(|app| app.callback.as_deref()) {
            ensure!(webhook::loopback(callback), "webhooks go to loopback only, not to {callback}");
        }
        let listener = TcpListener::bind(config.listen).await.context("binding the simulator")?;
        let base = format!("http://{}", listener.local_addr()?);
        let keep = config.keep.clone();
        let mut world = World::new(config);
        if let Some(file) = &keep {
            crate::keep::restore(&mut world, file)?;
        }
        let core = Arc::new(Core {
            world: Mutex::new(world),
            keep,
            outbox: Outbox::default(),
            base,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        core.spawn(webhook::run(Arc::clone(&core)));
        core.spawn(crate::keep::run(Arc::clone(&core)));
        core.spawn(crate::serve::serve(Arc::clone(&core), listener));
        Ok(Self { core })
    }

    /// `http://127.0.0.1:port`, in the place of `https://graph.facebook.com`.
    pub fn base_url(&self) -> &str {
        &self.core.base
    }

    /// Sets the callback of `app`, after the verify handshake, as the app dashboard does.
    ///
    /// # Errors
    /// When the callback is not loopback or does not give the challenge back.
    pub async fn subscribe(&self, app: &str, callback: &str) -> anyhow::Result<()> {
        crate::control::subscribe(&self.core, app, callback).await.map_err(anyhow::Error::msg)
    }

    /// Adds a business number, or replaces the one with its id.
    pub fn add_number(&self, number: Number) {
        self.core.world.lock().put_number(number);
    }

    /// Adds a template, or replaces the one of the same account, name and language.
    pub fn put_template(&self, template: Template) {
        crate::control::put_template(&self.core, template);
    }

    /// Adds a customer and gives their phone. The BSUID is made up where it is empty.
    pub fn customer(&self, customer: Customer) -> Phone {
        let id = self.core.world.lock().put_customer(customer);
        Phone { core: Arc::clone(&self.core), id }
    }

    /// How it behaves.
    pub fn behaviour(&self) -> Behaviour {
        self.core.world.lock().behaviour.clone()
    }

    /// Changes how it behaves, from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.core.world.lock().behaviour);
        self.core.outbox.wake();
    }

    /// Adds a fault and gives its id.
    pub fn fault(&self, fault: Fault) -> u64 {
        self.core.world.lock().faults.add(fault)
    }

    /// Removes one fault, or all.
    pub fn heal(&self, fault: Option<u64>) {
        self.core.world.lock().faults.remove(fault);
    }

    /// Sends a notice (a fixture of that name) to the app of `number`, with `with` laid over its value.
    ///
    /// # Errors
    /// When there is no such number or fixture.
    pub fn notice(&self, number: &str, kind: &str, with: &Value) -> Result<(), PhoneError> {
        phone::notice(&self.core, number, kind, with)
    }

    /// Tells a status of a message by hand, in any order and as often as wanted; `code` for `failed`.
    /// Gives whether it was told: a phone that is off or a customer who hides reading keeps it back.
    ///
    /// # Errors
    /// When there is no such message.
    pub fn tell_status(&self, wamid: &str, status: &str, code: Option<u32>) -> Result<bool, PhoneError> {
        phone::status(&self.core, wamid, status, code)
    }

    /// Moves the simulator's clock.
    pub fn advance(&self, by: Duration) {
        self.core.world.lock().shift_ms += i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    }

    /// Waits until everything that happened has been told and answered with 200, or given up.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub async fn settled(&self, limit: Duration) -> anyhow::Result<()> {
        tokio::time::timeout(limit, self.core.settled()).await.context("webhooks are still on their way")
    }

    /// Graph calls so far.
    pub fn requests(&self) -> Vec<Request> {
        self.core.world.lock().record.requests.iter().cloned().collect()
    }

    /// Messages that came too fast.
    pub fn violations(&self) -> Vec<Violation> {
        self.core.world.lock().record.violations.iter().cloned().collect()
    }

    /// Tries of webhooks so far.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.core.world.lock().record.attempts.iter().cloned().collect()
    }

    /// The counters.
    pub fn totals(&self) -> Totals {
        self.core.world.lock().record.totals.clone()
    }

    /// Most messages of a number in any one second, in and out.
    pub fn peak(&self, number: &str) -> usize {
        self.core.world.lock().pacer.peak(number)
    }

    /// A message that a business sent.
    pub fn sent(&self, wamid: &str) -> Option<Sent> {
        self.core.world.lock().sent.get(wamid).cloned()
    }

    /// A message that a customer sent, with what the business did with it.
    pub fn said(&self, wamid: &str) -> Option<Said> {
        self.core.world.lock().said.get(wamid).cloned()
    }

    /// Ends when the simulator does; for the binary.
    pub async fn stopped(&self) {
        self.core.stop.cancelled().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.core.stop.cancel();
        self.core.tasks.close();
        crate::keep::save(&self.core);
    }
}

/// The phone of one customer. It stays valid when the customer changes the number.
#[derive(Clone)]
pub struct Phone {
    core: Arc<Core>,
    id: String,
}

impl Phone {
    /// The customer's BSUID.
    pub fn user_id(&self) -> &str {
        &self.id
    }

    /// Who this is, as of now.
    pub fn customer(&self) -> Option<Customer> {
        self.core.world.lock().customers.get(&self.id).cloned()
    }

    /// Changes who this is: name, username, hiding, blocking.
    pub fn change(&self, change: impl FnOnce(&mut Customer)) {
        self.core.world.lock().change_customer(&self.id, change);
    }

    /// Sends to a business number and gives the id of the message.
    ///
    /// # Errors
    /// When there is no such number or kind, or the file cannot be read.
    pub fn says(&self, number: &str, say: &Say) -> Result<String, PhoneError> {
        phone::say(&self.core, number, &self.id, say)
    }

    /// Messages of businesses to this customer, oldest first.
    pub fn received(&self) -> Vec<Sent> {
        let world = self.core.world.lock();
        let all = world.sent_order.iter().filter_map(|wamid| world.sent.get(wamid));
        all.filter(|sent| sent.customer == self.id).cloned().collect()
    }

    /// Opens the chat: what was delivered is read. Gives how many.
    ///
    /// # Errors
    /// When the customer is gone.
    pub fn reads(&self) -> Result<usize, PhoneError> {
        phone::read_all(&self.core, &self.id)
    }

    /// Switches the phone off or on; what waited is delivered then.
    ///
    /// # Errors
    /// When the customer is gone.
    pub fn switch(&self, on: bool) -> Result<(), PhoneError> {
        phone::switch(&self.core, &self.id, on)
    }

    /// Takes another phone number, and with it another BSUID; `number` is told by a system message.
    ///
    /// # Errors
    /// When there is no such number.
    pub fn changes_number(&mut self, number: &str, phone: &str) -> Result<String, PhoneError> {
        self.id = phone::change_number(&self.core, number, &self.id, phone)?;
        Ok(self.id.clone())
    }
}
