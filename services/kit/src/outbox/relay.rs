//! The relay's tasks: a worker per partition that publishes while it holds the partition's lease, wake-ups between
//! replicas, upkeep, reconciler, lag.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use uuid::Uuid;

use super::worker::Worker;
use super::{PARTITIONS, Partitions, RelayConfig, lag, partitions, reconcile};
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
        let mut keepers = Vec::new();
        for partition in 0..PARTITIONS {
            let name = format!("outbox/{partition}");
            let keeper = Keeper::spawn(db.clone(), name, holder.clone(), config.lease_term, shutdown);
            keepers.push((partition, keeper.clone()));
            let worker = Worker::new(db.clone(), nats.clone(), config.clone(), partition, keeper);
            let stop = shutdown.clone();
            shutdown.spawn(format!("outbox relay {partition}"), async move { worker.run(&stop).await });
        }
        spawn_wakes(&db, &nats, &config, keepers, shutdown);
        spawn_upkeep(db.clone(), shutdown);
        lag::spawn(db.clone(), config.service.clone(), shutdown);
        reconcile::spawn(db, nats, config, holder, shutdown);
    }
}

/// A commit here wakes the relays here and, by a ping, those of other replicas, for the partitions that they own; theirs wake
/// ours.
fn spawn_wakes(db: &Db, nats: &Nats, config: &RelayConfig, keepers: Vec<(i16, Keeper)>, shutdown: &Shutdown) {
    let subject = nats.subjects().outbox_wake(&config.service);
    let (wakes, told, stop) = (db.outbox_wakes(), nats.clone(), shutdown.clone());
    let (heard_nats, heard_subject, heard) = (nats.clone(), subject.clone(), wakes.clone());
    shutdown.spawn("outbox wake-up", async move {
        loop {
            let untold = tokio::select! {
                untold = wakes.untold() => untold,
                () = stop.cancelled() => return,
            };
            let owned = keepers.iter().filter(|(_, keeper)| keeper.current().is_some());
            let elsewhere = owned.fold(untold, |left, (partition, _)| left.without(*partition));
            if !elsewhere.is_empty() && told.is_connected() {
                told.ping(subject.clone(), Bytes::copy_from_slice(&elsewhere.to_bytes())).await;
            }
        }
    });
    let stop = shutdown.clone();
    shutdown.spawn("outbox wake-up of replicas", async move {
        while !stop.is_cancelled() {
            if let Ok(mut pings) = heard_nats.client().subscribe(heard_subject.clone()).await {
                loop {
                    tokio::select! {
                        ping = pings.next() => match ping {
                            Some(ping) => heard.ring(Partitions::from_bytes(&ping.payload)),
                            None => break,
                        },
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
