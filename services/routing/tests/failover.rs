//! Replicas as processes of their own: killed, stopped, frozen.

mod rig;

use std::time::{Duration, Instant};

use anyhow::Result;
use hilo_routing::RoutingSection;
use hilo_test_support::eventually;
use rig::truth::PARTITION;
use rig::{Rig, SOON, Truth, campaign};

async fn rings(rig: &Rig, id: &str) -> Result<()> {
    eventually("it rings", SOON, || async { rig.truth.rings_at(id).is_some() }).await
}

fn no_double(rig: &Rig) {
    let mut offered: Vec<String> = rig.truth.offers().into_iter().map(|(item, _)| item).collect();
    let all = offered.len();
    offered.sort();
    offered.dedup();
    assert_eq!(offered.len(), all, "an item was offered twice");
}

async fn start() -> Result<Rig> {
    Rig::start(Truth::new(vec![campaign("soporte", &["ana"])], &[("ana", 1_000)])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_another_replica_offers_when_the_lease_has_run_out() -> Result<()> {
    let rig = start().await?;
    let (mut first, address) = rig.process("first")?;
    rig.arrives(address, "ana").await?;
    rings(&rig, &rig.truth.queue("soporte").await).await?;
    let (_second, standby) = rig.process("second")?;
    rig.arrives(standby, "ana").await?;
    first.kill_9()?;
    let killed = Instant::now();
    let (_, epoch, until) = rig.truth.state.lock().lease[&PARTITION].clone();
    assert!(until.saturating_duration_since(killed) <= Duration::from_secs(5), "a short lease");
    let waiting = rig.truth.queue("soporte").await;
    rings(&rig, &waiting).await?;
    println!("offering again {:.1} s after kill -9", killed.elapsed().as_secs_f64());
    assert_eq!(rig.truth.state.lock().offered.last().map(|last| last.epoch), Some(epoch + 1));
    no_double(&rig);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_sigterm_another_replica_offers_at_once() -> Result<()> {
    let rig = start().await?;
    let (mut first, address) = rig.process("first")?;
    rig.arrives(address, "ana").await?;
    rings(&rig, &rig.truth.queue("soporte").await).await?;
    let (_second, standby) = rig.process("second")?;
    rig.arrives(standby, "ana").await?;
    first.signal("TERM")?;
    let told = Instant::now();
    let waiting = rig.truth.queue("soporte").await;
    rings(&rig, &waiting).await?;
    println!("offering again {:.1} s after SIGTERM", told.elapsed().as_secs_f64());
    assert!(first.wait(SOON).await?.success());
    assert_eq!(
        rig.truth.state.lock().released,
        ["first"],
        "the other need not wait for the lease to run out"
    );
    no_double(&rig);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_holder_wakes_up_and_is_refused() -> Result<()> {
    let rig = start().await?;
    let (first, address) = rig.process("first")?;
    rig.arrives(address, "ana").await?;
    rings(&rig, &rig.truth.queue("soporte").await).await?;
    let (_second, standby) = rig.process("second")?;
    rig.arrives(standby, "ana").await?;
    first.signal("STOP")?;
    let during = rig.truth.queue("soporte").await;
    rings(&rig, &during).await?;
    // A dozen items arrive in the very moment in which it wakes up and still believes that it holds the partition.
    first.signal("CONT")?;
    let mut items = Vec::new();
    for _ in 0..12 {
        items.push(rig.truth.queue("soporte").await);
    }
    for item in &items {
        rings(&rig, item).await?;
    }
    no_double(&rig);
    let epochs: Vec<i64> = rig.truth.state.lock().offered.iter().map(|offered| offered.epoch).collect();
    assert!(epochs.is_sorted(), "an older epoch wrote after a newer one: {epochs:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rotation_goes_on_where_the_holder_before_stopped() -> Result<()> {
    let agents = [("ana", 9), ("beto", 9), ("caro", 9)];
    let rig = Rig::start(Truth::new(vec![campaign("soporte", &["ana", "beto", "caro"])], &agents)).await?;
    let holder = rig.replica(RoutingSection::default()).await?;
    // The next one runs for as long as the first, so all it knows of the rotation was read before it moved.
    let next = rig.replica(RoutingSection::default()).await?;
    for agent in ["ana", "beto", "caro"] {
        rig.arrives(holder.address, agent).await?;
        rig.arrives(next.address, agent).await?;
    }
    let mut offered = Vec::new();
    for _ in 0..2 {
        let id = rig.truth.queue("soporte").await;
        rings(&rig, &id).await?;
        offered.push(rig.truth.rings_at(&id));
    }
    assert_eq!(offered, [Some("ana".to_owned()), Some("beto".to_owned())]);
    holder.stop().await?;
    let id = rig.truth.queue("soporte").await;
    rings(&rig, &id).await?;
    assert_eq!(rig.truth.rings_at(&id).as_deref(), Some("caro"));
    next.stop().await
}
