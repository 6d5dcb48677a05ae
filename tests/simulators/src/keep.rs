//! What outlives a restart, where the configuration names a file for it: customers, chats and with them the 24-hour windows. Who plays
//! a customer by hand finds the chat again the next day, and a business may go on answering it.
//!
//! Not kept: files, faults, behaviour, the record, and what was still to be told when it stopped.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::customer::Customer;
use crate::world::{Core, Said, Sent, World};

/// How often it is looked whether something is to be written.
const EVERY: Duration = Duration::from_secs(1);
/// Messages of each side that are kept: a chat to play with, no load test.
const MESSAGES: usize = 2_000;

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    customers: Vec<Customer>,
    said: Vec<Said>,
    sent: Vec<Sent>,
    /// Number, customer, when he wrote last.
    windows: Vec<(String, String, i64)>,
}

/// Fills a world from the file; a missing one is empty.
///
/// # Errors
/// When the file cannot be read or is none of ours: it is not written over.
pub(crate) fn restore(world: &mut World, file: &Path) -> anyhow::Result<()> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    let kept: Kept = serde_json::from_str(&text)
        .with_context(|| format!("{} is damaged; without it all chats begin anew", file.display()))?;
    for customer in kept.customers {
        world.put_customer(customer);
    }
    kept.said.into_iter().for_each(|said| world.keep_said(said));
    kept.sent.into_iter().for_each(|sent| world.keep_sent(sent));
    world.last_said.extend(kept.windows.into_iter().map(|(number, who, at)| ((number, who), at)));
    Ok(())
}

/// Writes what changed, until the simulator stops.
pub(crate) async fn run(core: Arc<Core>) {
    if core.keep.is_none() {
        return;
    }
    let written = AtomicU64::new(core.world.lock().changes);
    loop {
        tokio::time::sleep(EVERY).await;
        let now = core.world.lock().changes;
        if written.swap(now, Ordering::Relaxed) != now {
            let core = Arc::clone(&core);
            // A write that fails is made up for by the next one.
            let _ = tokio::task::spawn_blocking(move || save(&core)).await;
        }
    }
}

/// Writes everything now: beside, then renamed, so that who reads it never sees half of it.
pub(crate) fn save(core: &Core) {
    let Some(file) = &core.keep else { return };
    let kept = {
        let world = core.world.lock();
        let last = |order: &std::collections::VecDeque<String>| order.len().saturating_sub(MESSAGES);
        let said = world.said_order.iter().skip(last(&world.said_order));
        let sent = world.sent_order.iter().skip(last(&world.sent_order));
        Kept {
            customers: world.customers.values().cloned().collect(),
            said: said.filter_map(|wamid| world.said.get(wamid).cloned()).collect(),
            sent: sent.filter_map(|wamid| world.sent.get(wamid).cloned()).collect(),
            windows: world.last_said.iter().map(|((n, who), at)| (n.clone(), who.clone(), *at)).collect(),
        }
    };
    let written = || -> std::io::Result<()> {
        let beside = file.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(&kept)?)?;
        std::fs::rename(&beside, file)
    };
    if let Err(error) = written() {
        eprintln!("simulator: {} is not kept: {error}", file.display());
    }
}
