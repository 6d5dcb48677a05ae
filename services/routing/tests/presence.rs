//! Lost contact and a new bucket: nobody is gone before a full lease of contact has passed.

mod rig;

use std::time::{Duration, Instant};

use anyhow::Result;
use hilo_kit::nats::Bucket;
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
