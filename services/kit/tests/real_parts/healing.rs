//! Events survive the loss of the stream: wiped, rolled back, re-created by somebody else.

use std::time::Duration;

use hilo_kit::nats::StreamKind;
use hilo_kit::outbox::{Relay, RelayConfig};
use hilo_test_support::eventually;
use uuid::Uuid;

use crate::parts::{DEADLINE, append, event, follow, parts, published};
use crate::publishing::all_published;

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_broker_gets_every_event_again_in_order() {
    let mut parts = parts().await;
    let config = RelayConfig {
        verify_every: Duration::from_millis(100),
        ..RelayConfig::new("test", [StreamKind::Events])
    };
    Relay::spawn(parts.db.clone(), parts.nats.clone(), config, &parts.shutdown);
    let keys: Vec<Uuid> = (0..20).map(|_| Uuid::now_v7()).collect();
    for sequence in 1..=10 {
        append(&parts.db, keys.iter().map(|key| event(*key, sequence)).collect()).await;
    }
    all_published(&parts.db).await;
    parts.server.wipe().unwrap();
    append(&parts.db, keys.iter().map(|key| event(*key, 11)).collect()).await;
    parts.server.restart().await.unwrap();
    append(&parts.db, keys.iter().map(|key| event(*key, 12)).collect()).await;
    eventually("every event is in the new stream", DEADLINE, || async {
        let all = published(&parts.nats, StreamKind::Events).await;
        let followed = follow(&all);
        followed.len() == keys.len() && followed.values().all(|last| *last == 12)
    })
    .await
    .unwrap();
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_lost_its_end_or_was_re_created_under_the_relay_is_healed() {
    let mut parts = parts().await;
    let config = RelayConfig {
        verify_every: Duration::from_secs(2),
        ..RelayConfig::new("test", [StreamKind::Events])
    };
    Relay::spawn(parts.db.clone(), parts.nats.clone(), config, &parts.shutdown);
    let keys: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
    for sequence in 1..=4 {
        append(&parts.db, keys.iter().map(|key| event(*key, sequence)).collect()).await;
    }
    all_published(&parts.db).await;
    parts.server.back_up().await.unwrap();
    for sequence in 5..=6 {
        append(&parts.db, keys.iter().map(|key| event(*key, sequence)).collect()).await;
    }
    all_published(&parts.db).await;

    // The last messages are gone, the stream is the same.
    parts.server.roll_back().await.unwrap();
    let complete = |want: i64| {
        let (nats, keys) = (parts.nats.clone(), keys.clone());
        move || {
            let (nats, keys) = (nats.clone(), keys.clone());
            async move {
                let all = published(&nats, StreamKind::Events).await;
                let last = |key: &Uuid| {
                    let sequences: Vec<i64> =
                        all.iter().filter(|(one, ..)| one == key).map(|(_, n, _)| *n).collect();
                    (1..=want).all(|n| sequences.contains(&n))
                };
                keys.iter().all(last)
            }
        }
    };
    eventually("the end is published again", DEADLINE, complete(6)).await.unwrap();
    all_published(&parts.db).await;
    follow(&published(&parts.nats, StreamKind::Events).await);

    // Somebody deletes the stream and another service makes it anew before the relay looks.
    parts.nats.jetstream().delete_stream("HILO_EVENTS").await.unwrap();
    let made = parts.nats.ensure_streams(&[StreamKind::Events]).await;
    append(&parts.db, keys.iter().map(|key| event(*key, 7)).collect()).await;
    let healed = eventually("everything is in the new stream", DEADLINE / 3, complete(7)).await;
    if made.is_err() || healed.is_err() {
        // A stream that is made while its deletion is under way loses its folder under nats-server, which answers "no such
        // file" (10069) until it is started again. Nothing may be lost by that either.
        parts.server.restart().await.unwrap();
        eventually("everything is in the new stream", DEADLINE, complete(7)).await.unwrap();
    }
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_event_that_went_missing_is_found_by_the_sweep() {
    let parts = parts().await;
    let config = RelayConfig {
        verify_every: Duration::from_millis(100),
        sweep_every: Duration::from_millis(300),
        ..RelayConfig::new("test", [StreamKind::Events])
    };
    Relay::spawn(parts.db.clone(), parts.nats.clone(), config, &parts.shutdown);
    let key = Uuid::now_v7();
    append(&parts.db, (1..=5).map(|sequence| event(key, sequence)).collect()).await;
    all_published(&parts.db).await;
    parts.nats.jetstream().get_stream("HILO_EVENTS").await.unwrap().delete_message(2).await.unwrap();
    eventually("the second and what follows come again", DEADLINE, || async {
        let all = published(&parts.nats, StreamKind::Events).await;
        let order: Vec<i64> = all.iter().map(|(_, sequence, _)| *sequence).collect();
        order == [1, 3, 4, 5, 2, 3, 4, 5]
    })
    .await
    .unwrap();
    parts.stop().await;
}
