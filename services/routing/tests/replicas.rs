//! Several replicas at once: each takes its share, and whatever comes and goes among them, nothing is lost or offered twice.

mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hilo_proto::internal::v1::RoutingCampaign;
use hilo_routing::RoutingSection;
use hilo_test_support::eventually;
use rig::cable::Cable;
use rig::service::PARTITIONS;
use rig::truth::PARTITION;
use rig::{Rig, SOON, Truth, campaign};

/// A lease so short that three of them are no long wait.
const SHORT_LEASE: [(&str, &str); 4] = [
    ("ROUTING__PARTITION_TERM_MILLIS", "1500"),
    ("ROUTING__PARTITION_RENEW_MILLIS", "300"),
    ("ROUTING__PARTITION_GIVE_UP_MILLIS", "900"),
    ("ROUTING__PRESENCE_LEASE_SECONDS", "3600"),
];

/// Nobody's session ends here, however slow the machine is.
fn named(replica: &str) -> RoutingSection {
    RoutingSection {
        replica_id: replica.to_owned(),
        presence_lease_seconds: 3_600,
        ..RoutingSection::default()
    }
}

/// One campaign in each partition, all of them Ana's.
fn everywhere() -> Truth {
    let in_partition =
        |partition: i32| RoutingCampaign { partition, ..campaign(&format!("c{partition}"), &["ana"]) };
    Truth::new((0..PARTITIONS).map(in_partition).collect(), &[("ana", 1_000_000)])
}

/// How many partitions each replica holds now.
fn shares(rig: &Rig) -> BTreeMap<String, usize> {
    let state = rig.truth.state.lock();
    let mut shares = BTreeMap::new();
    for (holder, _, until) in state.lease.values().filter(|(holder, ..)| !holder.is_empty()) {
        if *until > Instant::now() {
            *shares.entry(holder.clone()).or_default() += 1;
        }
    }
    shares
}

/// Waits until this many replicas hold everything in even shares.
async fn evenly_shared(rig: &Rig, replicas: usize) -> Result<()> {
    let most = (PARTITIONS as usize).div_ceil(replicas);
    eventually(&format!("{replicas} replicas share everything"), SOON, || async {
        let shares = shares(rig);
        shares.len() == replicas
            && shares.values().sum::<usize>() == PARTITIONS as usize
            && shares.values().all(|held| *held <= most)
    })
    .await
}

async fn ring(rig: &Rig, items: &[String]) -> Result<()> {
    eventually("all of them ring", SOON, || async { items.iter().all(|id| rig.truth.rings_at(id).is_some()) })
        .await
}

/// No item was offered twice, and no epoch of a partition wrote after a newer one. Answers who offered something.
fn offered_once_and_in_order(rig: &Rig) -> BTreeSet<String> {
    let state = rig.truth.state.lock();
    let items: BTreeSet<&str> = state.offered.iter().map(|one| one.interaction.as_str()).collect();
    assert_eq!(items.len(), state.offered.len(), "an item was offered twice");
    for partition in 0..PARTITIONS {
        let of_partition = state.offered.iter().filter(|one| one.partition == partition);
        let epochs: Vec<i64> = of_partition.map(|one| one.epoch).collect();
        assert!(epochs.is_sorted(), "an older epoch wrote after a newer one: {epochs:?}");
    }
    state.offered.iter().map(|one| state.grants[&(one.partition, one.epoch)].clone()).collect()
}

async fn shared_by(replicas: usize) -> Result<()> {
    let rig = Rig::start(everywhere()).await?;
    let mut running = Vec::new();
    for number in 0..replicas {
        running.push(rig.replica(named(&format!("r{number}"))).await?);
    }
    rig.arrives(running.first().context("a replica")?.address, "ana").await?;
    evenly_shared(&rig, replicas).await?;
    let mut items = Vec::new();
    for number in 0..PARTITIONS {
        items.push(rig.truth.queue(&format!("c{number}")).await);
    }
    ring(&rig, &items).await?;
    assert_eq!(offered_once_and_in_order(&rig).len(), replicas, "each of them offers what is its own");
    for replica in running {
        replica.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_offers_everything() -> Result<()> {
    shared_by(1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_offer_a_share_each() -> Result<()> {
    shared_by(3).await
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_replicas_offer_a_share_each() -> Result<()> {
    shared_by(8).await
}

#[tokio::test(flavor = "multi_thread")]
async fn from_three_to_one_and_back_under_traffic_nothing_is_lost_or_offered_twice() -> Result<()> {
    let rig = Rig::start(everywhere()).await?;
    let (mut first, address) = rig.process_with("first", &SHORT_LEASE)?;
    let (mut second, _) = rig.process_with("second", &SHORT_LEASE)?;
    let (_third, third) = rig.process_with("third", &SHORT_LEASE)?;
    rig.arrives(address, "ana").await?;
    evenly_shared(&rig, 3).await?;
    let flowing = Arc::new(AtomicBool::new(true));
    let traffic = {
        let (truth, flowing) = (rig.truth.clone(), flowing.clone());
        tokio::spawn(async move {
            let mut items = Vec::new();
            while flowing.load(Ordering::Relaxed) {
                items.push(truth.queue(&format!("c{}", items.len() % PARTITIONS as usize)).await);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            items
        })
    };
    let makes_offers = |names: &'static [&'static str]| {
        eventually("each of them offers", SOON, || async {
            let state = rig.truth.state.lock();
            let by: BTreeSet<&str> =
                state.offered.iter().map(|one| state.grants[&(one.partition, one.epoch)].as_str()).collect();
            names.iter().all(|name| by.contains(name))
        })
    };
    makes_offers(&["first", "second", "third"]).await?;
    // Two go in the midst of it, one of them without a word, while they hold what is offered.
    let held = shares(&rig);
    assert!(held["first"] > 0 && held["second"] > 0, "{held:?}");
    assert_eq!(first.kill_9()?.signal(), Some(9));
    second.signal("TERM")?;
    assert!(second.wait(SOON).await?.success());
    evenly_shared(&rig, 1).await?;
    rig.arrives(third, "ana").await?;
    let (_fourth, _) = rig.process_with("fourth", &SHORT_LEASE)?;
    let (_fifth, fifth) = rig.process_with("fifth", &SHORT_LEASE)?;
    evenly_shared(&rig, 3).await?;
    makes_offers(&["fourth", "fifth"]).await?;
    rig.arrives(fifth, "ana").await?;
    flowing.store(false, Ordering::Relaxed);
    let items = traffic.await?;
    ring(&rig, &items).await?;
    let by = offered_once_and_in_order(&rig);
    assert_eq!(rig.truth.offers().len(), items.len(), "nothing is lost");
    println!("{} items, offered by {by:?}", items.len());
    assert_eq!(by.len(), 5);
    Ok(())
}

/// The state of a process as its kernel has it; `T` is stopped by a signal.
fn is_stopped(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
}

/// Of the fence: a decision made before the pause is sent after it, and refused for its epoch.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_paused_for_three_leases_writes_late_and_is_refused() -> Result<()> {
    let rig = Rig::start(Truth::new(vec![campaign("soporte", &["ana"])], &[("ana", 1_000)])).await?;
    let faults = tempfile::tempdir()?;
    let folder = faults.path().to_str().context("a path")?.to_owned();
    let mut settings = SHORT_LEASE.to_vec();
    settings.push(("FAULT_DIR", &folder));
    let (first, address) = rig.process_with("first", &settings)?;
    rig.arrives(address, "ana").await?;
    ring(&rig, &[rig.truth.queue("soporte").await]).await?;
    let (_second, standby) = rig.process_with("second", &SHORT_LEASE)?;
    rig.arrives(standby, "ana").await?;
    // It has decided, and is about to say so, when it is paused.
    let file = |what: &str| faults.path().join(format!("routing.offers.before_apply.{what}"));
    std::fs::write(file("armed"), "")?;
    let decided = rig.truth.queue("soporte").await;
    eventually("it has decided", SOON, || async { file("reached").exists() }).await?;
    assert_eq!(std::fs::read_to_string(file("reached"))?, first.id().to_string());
    let epoch = rig.truth.state.lock().lease[&PARTITION].1;
    first.signal("STOP")?;
    eventually("it is paused", SOON, || async { is_stopped(first.id()) }).await?;
    let paused = Instant::now();
    ring(&rig, std::slice::from_ref(&decided)).await?;
    let during = rig.truth.queue("soporte").await;
    ring(&rig, &[during]).await?;
    tokio::time::sleep(Duration::from_millis(3 * 1_500).saturating_sub(paused.elapsed())).await;
    let held = (PARTITION, epoch);
    assert!(!rig.truth.state.lock().refused.contains(&held), "nothing was late so far");
    std::fs::write(file("released"), "")?;
    first.signal("CONT")?;
    eventually("its late write is refused", SOON, || async {
        rig.truth.state.lock().refused.contains(&held)
    })
    .await?;
    let after = rig.truth.queue("soporte").await;
    ring(&rig, &[after]).await?;
    assert_eq!(offered_once_and_in_order(&rig), ["first".to_owned(), "second".to_owned()].into());
    Ok(())
}

/// A holder that does not reach attention-state gives up by itself; what it sent meanwhile arrives late and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_cut_off_is_replaced_and_comes_back_without_a_word_too_many() -> Result<()> {
    let rig = Rig::start(everywhere()).await?;
    let cable = Cable::to(&rig.attention).await?;
    let mut settings = SHORT_LEASE.to_vec();
    settings.push(("ENDPOINTS__ATTENTION_STATE", &cable.url));
    let (_first, address) = rig.process_with("first", &settings)?;
    rig.arrives(address, "ana").await?;
    evenly_shared(&rig, 1).await?;
    let mut items = vec![rig.truth.queue("c0").await];
    ring(&rig, &items).await?;
    let (_second, standby) = rig.process_with("second", &SHORT_LEASE)?;
    rig.arrives(standby, "ana").await?;
    evenly_shared(&rig, 2).await?;
    cable.cut(true);
    // Events still reach it, so it decides on them for as long as it believes in its lease.
    for number in 0..2 * PARTITIONS {
        items.push(rig.truth.queue(&format!("c{}", number % PARTITIONS)).await);
    }
    evenly_shared(&rig, 1).await?;
    ring(&rig, &items).await?;
    assert!(shares(&rig).contains_key("second"));
    cable.cut(false);
    evenly_shared(&rig, 2).await?;
    for number in 0..PARTITIONS {
        items.push(rig.truth.queue(&format!("c{number}")).await);
    }
    ring(&rig, &items).await?;
    assert_eq!(offered_once_and_in_order(&rig), ["first".to_owned(), "second".to_owned()].into());
    assert_eq!(rig.truth.offers().len(), items.len(), "nothing is lost");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_changes_while_running_is_handed_over_as_one() -> Result<()> {
    let in_partition = |key: &str, partition| RoutingCampaign { partition, ..campaign(key, &["ana"]) };
    let campaigns = vec![in_partition("alfa", 3), in_partition("beta", 9)];
    let rig = Rig::start(Truth::new(campaigns, &[("ana", 1_000)])).await?;
    let first = rig.replica(named("first")).await?;
    rig.arrives(first.address, "ana").await?;
    let second = rig.replica(named("second")).await?;
    rig.arrives(second.address, "ana").await?;
    evenly_shared(&rig, 2).await?;
    let opened = [rig.truth.queue("alfa").await, rig.truth.queue("beta").await];
    ring(&rig, &opened).await?;
    for item in &opened {
        rig.truth.open(item, "ana").await;
    }
    let holders = |partition: i32| rig.truth.state.lock().lease[&partition].0.clone();
    assert_ne!(holders(3), holders(9), "two replicas have them");
    // Both wait for her now, in turns.
    rig.pauses(first.address, "ana", true).await?;
    let mut waited = Vec::new();
    for number in 0..20 {
        waited.push(rig.truth.queue(if number % 3 == 0 { "alfa" } else { "beta" }).await);
    }
    // The directory makes one group of them, which belongs to a partition that had neither.
    rig.truth.state.lock().campaigns.iter_mut().for_each(|campaign| campaign.partition = 12);
    rig.directory_changed().await?;
    rig.pauses(second.address, "ana", false).await?;
    ring(&rig, &waited).await?;
    let later = [rig.truth.queue("beta").await, rig.truth.queue("alfa").await];
    ring(&rig, &later).await?;
    offered_once_and_in_order(&rig);
    let of_group: Vec<String> = {
        let state = rig.truth.state.lock();
        state.offered.iter().filter(|one| one.partition == 12).map(|one| one.interaction.clone()).collect()
    };
    assert_eq!(of_group.len(), waited.len() + later.len(), "all that waited went with the group");
    assert_eq!(of_group[..waited.len()], waited, "one engine serves both, oldest first among them");
    second.stop().await?;
    first.stop().await
}
