//! The relay's tasks: a worker per partition that publishes while it holds the partition's lease, wake-ups between
//! replicas, upkeep, reconciler, lag.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::Notify;
use uuid::Uuid;

use super::worker::Worker;
use super::{PARTITIONS, RelayConfig, lag, partitions, reconcile};
use crate::db::Db;
use crate::lease::Keeper;
use crate::lifecycle::Shutdown;
use crate::nats::Nats;

/// The relay of one service.
#[derive(Debug)]
pub struct Relay;

impl Relay {
    /// Starts the relay's tasks: one per partition, wake-ups between replicas, the reconciler, the log's upkeep.
    pub fn spawn(db: Db, nats: Nats, config: RelayConfig, shutdown: &Shutdown) {
        let holder = format!("{}-{}", config.service, Uuid::new_v4());
        let config = Arc::new(config);
        let wakes = Wakes::default();
        for partition in 0..PARTITIONS {
            let name = format!("outbox/{partition}");
            let keeper = Keeper::spawn(db.clone(), name, holder.clone(), config.lease_term, shutdown);
            let worker = Worker::new(
                db.clone(),
                nats.clone(),
                config.clone(),
                partition,
                keeper,
                wakes.get(partition),
            );
            let stop = shutdown.clone();
            shutdown.spawn(format!("outbox relay {partition}"), async move { worker.run(&stop).await });
        }
        spawn_wakes(&db, &nats, &config, &wakes, shutdown);
        spawn_upkeep(db.clone(), shutdown);
        lag::spawn(db.clone(), config.service.clone(), shutdown);
        reconcile::spawn(db, nats, config, holder, shutdown);
    }
}

#[derive(Clone, Default)]
struct Wakes(Arc<[Arc<Notify>; PARTITIONS as usize]>);

impl Wakes {
    fn get(&self, partition: i16) -> Arc<Notify> {
        self.0.get(partition.unsigned_abs() as usize).cloned().unwrap_or_default()
    }

    fn all(&self) {
        for wake in self.0.iter() {
            wake.notify_one();
        }
    }
}

/// A commit here wakes the relays here and, by a ping, those of other replicas; theirs wake ours.
fn spawn_wakes(db: &Db, nats: &Nats, config: &RelayConfig, wakes: &Wakes, shutdown: &Shutdown) {
    let subject = nats.subjects().outbox_wake(&config.service);
    let (committed, nats, local, stop) = (db.outbox_wake(), nats.clone(), wakes.clone(), shutdown.clone());
    let (heard_nats, heard_subject, heard) = (nats.clone(), subject.clone(), wakes.clone());
    shutdown.spawn("outbox wake-up", async move {
        loop {
            tokio::select! {
                () = committed.notified() => {}
                () = stop.cancelled() => return,
            }
            local.all();
            if nats.is_connected() {
                nats.ping(subject.clone()).await;
            }
        }
    });
    let stop = shutdown.clone();
    shutdown.spawn("outbox wake-up of replicas", async move {
        while !stop.is_cancelled() {
            if let Ok(mut pings) = heard_nats.client().subscribe(heard_subject.clone()).await {
                loop {
                    tokio::select! {
                        ping = pings.next() => if ping.is_some() { heard.all() } else { break },
                        () = stop.cancelled() => return,
                    }
                }
            }
            stop.sleep(Duration::from_secs(1)).await;
        }
    });
}

fn spawn_upkeep(db: Db, shutdown: &Shutdown) {
    let stop = shutdown.clone();
    shutdown.spawn("outbox upkeep", async move {
        loop {
            if let Err(error) = partitions::maintain(&db).await {
                error.log("outbox upkeep");
            }
            let swept =
                db.transaction(|tx| Box::pin(async move { crate::idempotency::sweep(tx).await })).await;
            if let Err(error) = swept {
                error.log("sweeping request ids");
            }
            if !stop.sleep(Duration::from_secs(3600)).await {
                return;
            }
        }
    });
}
