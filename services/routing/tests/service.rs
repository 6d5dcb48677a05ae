//! The service on a real broker, with a stand-in for attention-state.

mod rig;

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use hilo_proto::event::v1::EventType;
use hilo_proto::internal::v1::{AssignmentMode, OverflowMode};
use hilo_proto::routing::v1::{HeartbeatRequest, SetStatusRequest};
use hilo_routing::RoutingSection;
use hilo_test_support::eventually;
use rig::{Replica, Rig, SOON, Truth, campaign};
use tonic::Code;

fn truth(agents: &[(&str, i32)]) -> Truth {
    let members: Vec<&str> = agents.iter().map(|(key, _)| *key).collect();
    Truth::new(vec![campaign("soporte", &members)], agents)
}

async fn rings(rig: &Rig, id: &str, whom: &str) -> Result<()> {
    let what = format!("{id} rings at {whom}");
    eventually(&what, SOON, || async { rig.truth.rings_at(id).as_deref() == Some(whom) }).await
}

/// Like [`rings`], with a heartbeat of that agent at every look, as a present agent sends them.
async fn rings_while_beating(rig: &Rig, replica: &Replica, id: &str, whom: &str) -> Result<()> {
    eventually(&format!("{id} rings at {whom}"), SOON, || async {
        rig.arrives(replica.address, whom).await.is_ok() && rig.truth.rings_at(id).as_deref() == Some(whom)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_brings_offers_and_the_rotation_goes_on() -> Result<()> {
    let rig = Rig::start(truth(&[("ana", 2), ("beto", 2)])).await?;
    let replica = rig.replica(RoutingSection::default()).await?;
    rig.arrives(replica.address, "ana").await?;
    rig.arrives(replica.address, "beto").await?;
    let first = rig.truth.queue("soporte").await;
    rings(&rig, &first, "ana").await?;
    let second = rig.truth.queue("soporte").await;
    rings(&rig, &second, "beto").await?;
    let third = rig.truth.queue("soporte").await;
    rings(&rig, &third, "ana").await?;
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_is_rebuilt_from_snapshot_pages_oldest_first() -> Result<()> {
    let rig = Rig::start(truth(&[("ana", 1)])).await?;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(rig.truth.queue("soporte").await);
    }
    rig.truth.open(&waiting[0], "ana").await;
    let replica = rig.replica(RoutingSection::default()).await?;
    rig.arrives(replica.address, "ana").await?;
    // Ana is full with what she opened before this replica began; what she ends makes room for the oldest.
    for pair in waiting.windows(2) {
        assert_eq!(rig.truth.rings_at(&pair[1]), None);
        rig.truth.end(&pair[0]).await;
        rings(&rig, &pair[1], "ana").await?;
        rig.truth.open(&pair[1], "ana").await;
    }
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_events_have_overtaken_brings_no_ended_item_back() -> Result<()> {
    let rig = Rig::start(truth(&[("ana", 1)])).await?;
    let replica = rig.replica(RoutingSection::default()).await?;
    rig.arrives(replica.address, "ana").await?;
    rig.truth.answers_held.store(true, Ordering::Relaxed);
    let first = rig.truth.queue("soporte").await;
    eventually("the answer with the ringing item is on its way", SOON, || async {
        rig.truth.answers_waiting.load(Ordering::Relaxed) == 1
    })
    .await?;
    rig.truth.open(&first, "ana").await;
    rig.truth.end(&first).await;
    // Long enough for the events, which nothing holds back, to be there before the answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.truth.answers_held.store(false, Ordering::Relaxed);
    // And for the answer to be there before the next event, which would else be decided without it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = rig.truth.queue("soporte").await;
    rings_while_beating(&rig, &replica, &second, "ana").await?;
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_rows_are_tried_again_and_conflicts_correct_the_view() -> Result<()> {
    let rig = Rig::start(truth(&[("ana", 1), ("beto", 1)])).await?;
    let replica = rig.replica(RoutingSection::default()).await?;
    rig.arrives(replica.address, "ana").await?;
    rig.truth.state.lock().busy = 3;
    let first = rig.truth.queue("soporte").await;
    rings(&rig, &first, "ana").await?;
    assert_eq!(rig.truth.state.lock().busy, 0);
    // Beto opens the second by hand and the event is lost; ana's free place must not be held by it.
    rig.truth.publishing.store(false, Ordering::Relaxed);
    let second = rig.truth.queue("soporte").await;
    let queued = rig.truth.state.lock().live[&second].clone();
    rig.truth.open(&second, "beto").await;
    rig.truth.publishing.store(true, Ordering::Relaxed);
    rig.truth.open(&first, "ana").await;
    rig.truth.end(&first).await;
    rig.truth.publish(&queued, EventType::InteractionQueued).await;
    let third = rig.truth.queue("soporte").await;
    rings(&rig, &third, "ana").await?;
    assert_eq!(rig.truth.snapshot(&second).agent_key, "beto");
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_event_and_a_gap_make_the_attention_be_read_again() -> Result<()> {
    let rig = Rig::start(truth(&[("ana", 1)])).await?;
    let replica = rig.replica(RoutingSection::default()).await?;
    rig.arrives(replica.address, "ana").await?;
    let first = rig.truth.queue("soporte").await;
    rings(&rig, &first, "ana").await?;
    // Its end is published as rubbish: only the look-up tells that ana is free.
    rig.truth.publishing.store(false, Ordering::Relaxed);
    let attention = rig.truth.state.lock().live[&first].attention_id.clone();
    rig.truth.open(&first, "ana").await;
    rig.truth.end(&first).await;
    rig.truth.publishing.store(true, Ordering::Relaxed);
    rig.truth.publish_raw("soporte", "interaction_ended", &attention, b"{ this is no event".to_vec()).await;
    let second = rig.truth.queue("soporte").await;
    rings(&rig, &second, "ana").await?;
    assert!(rig.truth.state.lock().fetched.contains(&attention));
    let attention = rig.truth.state.lock().live[&second].attention_id.clone();
    eventually("the gap is looked up", SOON, || async {
        // An event of the second is lost and the next one shows the gap, unless the answer to the offer, which may still be
        // on its way, contains both.
        rig.truth.publishing.store(false, Ordering::Relaxed);
        rig.truth.change(&second, |_| {});
        rig.truth.publishing.store(true, Ordering::Relaxed);
        rig.truth.open(&second, "ana").await;
        rig.truth.state.lock().fetched.contains(&attention)
    })
    .await?;
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_come_again_change_nothing() -> Result<()> {
    let rig = Rig::start(truth(&[("ana", 1)])).await?;
    let replica = rig.replica(RoutingSection::default()).await?;
    rig.arrives(replica.address, "ana").await?;
    let first = rig.truth.queue("soporte").await;
    let queued = rig.truth.state.lock().live[&first].clone();
    rings(&rig, &first, "ana").await?;
    rig.truth.open(&first, "ana").await;
    let opened = rig.truth.state.lock().live[&first].clone();
    rig.truth.end(&first).await;
    let attempts = rig.truth.state.lock().attempts;
    for _ in 0..3 {
        rig.truth.publish(&opened, EventType::InteractionOpened).await;
        rig.truth.publish(&queued, EventType::InteractionQueued).await;
    }
    // Ana is neither held by a ghost nor offered one.
    let second = rig.truth.queue("soporte").await;
    rings(&rig, &second, "ana").await?;
    assert_eq!(rig.truth.state.lock().attempts, attempts + 1);
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_timeout_and_overflow_run_by_stored_instants() -> Result<()> {
    let truth = truth(&[("ana", 5), ("beto", 5)]);
    {
        let mut state = truth.state.lock();
        let campaign = &mut state.campaigns[0];
        campaign.accept_timeout_seconds = 1;
        campaign.overflow_seconds = 8;
        campaign.overflow_mode = OverflowMode::AssignToAll.into();
    }
    let rig = Rig::start(truth).await?;
    let replica = rig.replica(RoutingSection::default()).await?;
    rig.arrives(replica.address, "ana").await?;
    rig.arrives(replica.address, "beto").await?;
    let id = rig.truth.queue("soporte").await;
    rings(&rig, &id, "everyone").await?;
    assert!(rig.truth.snapshot(&id).overflowed);
    let whom: Vec<String> = rig.truth.offers().into_iter().map(|(_, whom)| whom).collect();
    assert_eq!(whom[..2], ["ana", "beto"]);
    assert_eq!(whom.last().map(String::as_str), Some(""));
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_takes_effect_on_every_replica_and_configuration_within_a_second() -> Result<()> {
    let rig = Rig::start(truth(&[("ana", 5), ("beto", 5)])).await?;
    let holder = rig.replica(RoutingSection::default()).await?;
    rig.arrives(holder.address, "ana").await?;
    rig.arrives(holder.address, "beto").await?;
    let first = rig.truth.queue("soporte").await;
    rings(&rig, &first, "ana").await?;
    // The other replica holds nothing; what is said to it reaches the holder.
    let other = rig.replica(RoutingSection::default()).await?;
    rig.arrives(other.address, "beto").await?;
    rig.pauses(other.address, "beto", true).await?;
    eventually("the holder knows of the pause", SOON, || async {
        rig.arrives(holder.address, "beto").await.is_ok_and(|answer| answer.paused)
    })
    .await?;
    for _ in 0..3 {
        let id = rig.truth.queue("soporte").await;
        rings(&rig, &id, "ana").await?;
    }
    // A new campaign, with an item that came before its configuration was known here.
    {
        let mut state = rig.truth.state.lock();
        let mut ventas = campaign("ventas", &["ana"]);
        ventas.mode = AssignmentMode::Everyone.into();
        state.campaigns.push(ventas);
        state.config_version = 2;
    }
    let early = rig.truth.queue("ventas").await;
    rings(&rig, &early, "everyone").await?;
    other.stop().await?;
    holder.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_session_is_reported_absent_and_its_offer_moves_on() -> Result<()> {
    let rig = Rig::start(truth(&[("ana", 1), ("beto", 1)])).await?;
    let section = RoutingSection { presence_lease_seconds: 6, ..RoutingSection::default() };
    let replica = rig.replica(section).await?;
    rig.arrives(replica.address, "ana").await?;
    let id = rig.truth.queue("soporte").await;
    rings_while_beating(&rig, &replica, &id, "ana").await?;
    // Beto keeps saying that he is there; ana does not.
    let mut beto = rig.client(replica.address, "beto")?;
    let said = tokio::spawn(async move {
        loop {
            let _ = beto.heartbeat(HeartbeatRequest { session_id: "b".to_owned(), leave: false }).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    rings(&rig, &id, "beto").await?;
    // Told beside the offers, in any order.
    let told = |present| rig.truth.state.lock().reports.contains(&("ana".to_owned(), present));
    eventually("ana's absence is told", SOON, || async { told(false) }).await?;
    assert!(!rig.truth.state.lock().reports.contains(&("beto".to_owned(), false)));
    rig.arrives(replica.address, "ana").await?;
    let second = rig.truth.queue("soporte").await;
    rings_while_beating(&rig, &replica, &second, "ana").await?;
    eventually("ana's return is told", SOON, || async { told(true) }).await?;
    said.abort();
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_broker_makes_nobody_absent_and_work_goes_on_after_it() -> Result<()> {
    let mut rig = Rig::start(truth(&[("ana", 5)])).await?;
    let section = RoutingSection { presence_lease_seconds: 8, ..RoutingSection::default() };
    let replica = rig.replica(section).await?;
    rig.arrives(replica.address, "ana").await?;
    let id = rig.truth.queue("soporte").await;
    rings_while_beating(&rig, &replica, &id, "ana").await?;
    rig.broker.wipe()?;
    // Longer than a lease: with contact this would be absence.
    tokio::time::sleep(Duration::from_secs(10)).await;
    // Its event is lost with the broker; the comparison with the snapshot finds it, while ana's heart beats on.
    rig.truth.publishing.store(false, Ordering::Relaxed);
    let lost = rig.truth.queue("soporte").await;
    rig.broker.restart().await?;
    rings_while_beating(&rig, &replica, &lost, "ana").await?;
    assert_eq!(rig.truth.state.lock().reports, Vec::new(), "nobody was absent");
    assert_eq!(rig.truth.rings_at(&id).as_deref(), Some("ana"));
    replica.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_checks_who_asks() -> Result<()> {
    let rig = Rig::start(truth(&[("ana", 1)])).await?;
    let replica = rig.replica(RoutingSection::default()).await?;
    rig.arrives(replica.address, "ana").await?;
    let beat = |session: &str| HeartbeatRequest { session_id: session.to_owned(), leave: false };
    let refused = rig.client(replica.address, "rita")?.heartbeat(beat("one")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = rig.client(replica.address, "nobody")?.heartbeat(beat("one")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused =
        rig.service_client(replica.address)?.set_status(SetStatusRequest { paused: true }).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = rig.client(replica.address, "ana")?.heartbeat(beat("")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    replica.stop().await
}
