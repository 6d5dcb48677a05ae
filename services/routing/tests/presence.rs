//! Lost contact and a new bucket: nobody is gone before a full lease of contact has passed.

mod rig;

use std::time::{Duration, Instant};

use anyhow::Result;
use hilo_kit::nats::Bucket;
use hilo_proto::internal::v1::RoutingCampaign;
use hilo_routing::RoutingSection;
use hilo_test_support::eventually;
use rig::{Rig, SOON, Truth, campaign};

#[tokio::test(flavor = "multi_thread")]
async fn after_the_bucket_was_created_anew_a_full_lease_passes_before_anybody_is_gone() -> Result<()> {
    let lease = Duration::from_secs(8);
    let rig = Rig::start(Truth::new(vec![campaign("soporte", &["ana"])], &[("ana", 5)])).await?;
    let section = RoutingSection { presence_lease_seconds: lease.as_secs(), ..RoutingSection::default() };
    let replica = rig.replica(section).await?;
    rig.arrives(replica.address, "ana").await?;
    let id = rig.truth.queue("soporte").await;
    eventually("it rings at ana", SOON, || async {
        rig.arrives(replica.address, "ana").await.is_ok() && rig.truth.rings_at(&id).as_deref() == Some("ana")
    })
    .await?;
    let name = rig.nats.ensure_bucket(Bucket::Presence, lease * 2).await?.stream_name;
    let lost = loop {
        rig.arrives(replica.address, "ana").await?;
        let beaten = Instant::now();
        // Half of her lease is over when the bucket goes, and with it her sign of life.
        tokio::time::sleep(lease / 2).await;
        rig.truth.state.lock().reports.clear();
        let lost = Instant::now();
        rig.nats.jetstream().delete_stream(&name).await?;
        if beaten.elapsed() < lease / 4 * 3 {
            break lost;
        }
        // So slow that her own lease may have run out before.
        rig.nats.ensure_bucket(Bucket::Presence, lease * 2).await?;
    };
    eventually("she is told to be absent in the end", 2 * SOON, || async {
        rig.truth.state.lock().reports.contains(&("ana".to_owned(), false))
    })
    .await?;
    assert!(lost.elapsed() >= lease, "she was gone {:?} after the bucket was lost", lost.elapsed());
    assert!(!rig.truth.offers().is_empty());
    // She comes back, which ends her absence, and work goes on.
    rig.arrives(replica.address, "ana").await?;
    eventually("her return is told", SOON, || async {
        rig.truth.state.lock().agents["ana"].absent_since.is_none()
    })
    .await?;
    replica.stop().await
}

/// Whoever goes on saying that he lives is not missed by anybody, whichever replica he says it to.
#[tokio::test(flavor = "multi_thread")]
async fn who_beats_on_while_the_bucket_is_lost_is_there_for_every_replica_again_and_never_gone() -> Result<()>
{
    let lease = Duration::from_secs(10);
    let in_partition = |key: &str, partition| RoutingCampaign { partition, ..campaign(key, &["ana"]) };
    let campaigns = vec![in_partition("alfa", 3), in_partition("beta", 9)];
    let rig = Rig::start(Truth::new(campaigns, &[("ana", 1_000)])).await?;
    let section = |name: &str| RoutingSection {
        replica_id: name.to_owned(),
        presence_lease_seconds: lease.as_secs(),
        ..RoutingSection::default()
    };
    let (first, second) = (rig.replica(section("first")).await?, rig.replica(section("second")).await?);
    eventually("each has one of them", SOON, || async {
        let state = rig.truth.state.lock();
        let holder = |partition: i32| state.lease.get(&partition).map(|(holder, ..)| holder.clone());
        let (alfa, beta) = (holder(3), holder(9));
        alfa.is_some() && beta.is_some() && alfa != beta
    })
    .await?;
    let name = rig.nats.ensure_bucket(Bucket::Presence, lease * 2).await?.stream_name;
    // Only the first hears her, beat after beat, for more than two leases; a slow machine may have to try again.
    for _ in 0..5 {
        rig.arrives(first.address, "ana").await?;
        let both = [rig.truth.queue("alfa").await, rig.truth.queue("beta").await];
        let (began, mut beaten, mut widest) = (Instant::now(), Instant::now(), Duration::ZERO);
        let mut lost = false;
        rig.truth.state.lock().reports.clear();
        while began.elapsed() < lease * 5 / 2 {
            rig.arrives(first.address, "ana").await?;
            widest = widest.max(beaten.elapsed());
            beaten = Instant::now();
            if !lost && began.elapsed() > lease / 4 {
                rig.nats.jetstream().delete_stream(&name).await?;
                lost = true;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if widest > lease / 3 {
            continue;
        }
        assert!(
            !rig.truth.state.lock().reports.contains(&("ana".to_owned(), false)),
            "she was called absent"
        );
        let late = [rig.truth.queue("alfa").await, rig.truth.queue("beta").await];
        for id in both.iter().chain(&late) {
            eventually("it rings at her", SOON, || async {
                rig.arrives(first.address, "ana").await.is_ok() && rig.truth.rings_at(id).is_some()
            })
            .await?;
        }
        second.stop().await?;
        return first.stop().await;
    }
    anyhow::bail!("this machine let the beats be so far apart five times that nothing was shown")
}
