//! The live panel and explanations, asked of a replica that decides and of one that holds nothing.

mod rig;

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use hilo_kit::auth::Issuer;
use hilo_kit::error::reason_of;
use hilo_kit::grpc::{Bearer, channel};
use hilo_proto::event::v1::EventType;
use hilo_proto::routing::v1::routing_service_client::RoutingServiceClient;
use hilo_proto::routing::v1::{
    AgentPresence, ExplainInteractionRequest, GetQueuesRequest, GetQueuesResponse, Queue, QueuedExplanation,
    WatchQueuesRequest, WatchQueuesResponse,
};
use hilo_routing::RoutingSection;
use hilo_test_support::eventually;
use rig::{Client, Replica, Rig, SOON, Truth, campaign};
use time::OffsetDateTime;
use tonic::{Code, Status, Streaming};

/// Two campaigns; ana (one place) and beto serve `soporte`, caro serves `ventas`. The second replica holds nothing.
async fn two_replicas() -> Result<(Rig, Replica, Replica)> {
    let campaigns = vec![campaign("soporte", &["ana", "beto"]), campaign("ventas", &["caro"])];
    let rig = Rig::start(Truth::new(campaigns, &[("ana", 1), ("beto", 1), ("caro", 1)])).await?;
    let holder = rig.replica(RoutingSection::default()).await?;
    rig.arrives(holder.address, "ana").await?;
    let other = rig.replica(RoutingSection::default()).await?;
    rig.arrives(other.address, "ana").await?;
    Ok((rig, holder, other))
}

async fn queues(client: &mut Client, keys: &[&str]) -> Result<GetQueuesResponse, Status> {
    let campaign_keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Ok(client.get_queues(GetQueuesRequest { campaign_keys }).await?.into_inner())
}

fn refusal<T>(answer: Result<T, Status>) -> (Code, String) {
    match answer {
        Ok(_) => (Code::Ok, String::new()),
        Err(status) => (status.code(), reason_of(&status).unwrap_or_default()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_shows_the_same_queues_within_the_rights_of_who_asks() -> Result<()> {
    let (rig, holder, other) = two_replicas().await?;
    let rings = rig.truth.queue("soporte").await;
    eventually("it rings at ana", SOON, || async { rig.truth.rings_at(&rings).as_deref() == Some("ana") })
        .await?;
    rig.truth.queue("soporte").await;
    rig.truth.queue("ventas").await;
    for replica in [&holder, &other] {
        let mut coco = rig.client(replica.address, "coco")?;
        let mut all = GetQueuesResponse::default();
        eventually("the replica has settled", SOON, || {
            let mut client = coco.clone();
            async move {
                queues(&mut client, &[])
                    .await
                    .is_ok_and(|all| all.agents.iter().any(|one| one.presence() == AgentPresence::Present))
            }
        })
        .await?;
        all.clone_from(&queues(&mut coco, &[]).await?);
        let lines: Vec<_> = all
            .queues
            .iter()
            .map(|one| {
                (one.campaign_key.as_str(), one.waiting, one.offered, one.oldest_waiting_since.is_some())
            })
            .collect();
        assert_eq!(lines, [("soporte", 2, 1, true), ("ventas", 1, 0, true)]);
        let agents = all.queues[0].agents.context("counted")?;
        assert_eq!((agents.present, agents.load, agents.capacity), (1, 1, 1));
        assert_eq!(agents.present + agents.absent + agents.unknown, 2);
        let ana = &all.agents[0];
        assert_eq!((ana.agent_key.as_str(), ana.presence()), ("ana", AgentPresence::Present));
        assert_eq!((ana.loads[0].load, ana.loads[0].capacity), (1, 1));
        // A supervisor sees what was given to her, and nothing that would tell of the rest.
        let mut sonia = rig.client(replica.address, "sonia")?;
        let hers = queues(&mut sonia, &[]).await?;
        assert_eq!(hers.queues.iter().map(|one| one.campaign_key.as_str()).collect::<Vec<_>>(), ["soporte"]);
        let seen: Vec<&str> = hers.agents.iter().map(|one| one.agent_key.as_str()).collect();
        assert_eq!(seen, ["ana", "beto"]);
        let (foreign, unknown) = (queues(&mut sonia, &["ventas"]).await, queues(&mut sonia, &["nada"]).await);
        assert_eq!(refusal(foreign), (Code::NotFound, "CAMPAIGN_NOT_FOUND".to_owned()));
        assert_eq!(refusal(unknown), (Code::NotFound, "CAMPAIGN_NOT_FOUND".to_owned()));
        for user in ["ana", "rita"] {
            let mut client = rig.client(replica.address, user)?;
            let denied = (Code::PermissionDenied, "ROLE_REQUIRED".to_owned());
            assert_eq!(refusal(queues(&mut client, &[]).await), denied);
            assert_eq!(refusal(client.watch_queues(WatchQueuesRequest::default()).await), denied);
        }
    }
    other.stop().await?;
    holder.stop().await
}

async fn next(stream: &mut Streaming<WatchQueuesResponse>) -> Result<WatchQueuesResponse> {
    tokio::time::timeout(2 * SOON, stream.message()).await??.context("the stream goes on")
}

async fn until(
    stream: &mut Streaming<WatchQueuesResponse>,
    wanted: impl Fn(&WatchQueuesResponse) -> bool,
) -> Result<WatchQueuesResponse> {
    for _ in 0..200 {
        let answer = next(stream).await?;
        if wanted(&answer) {
            return Ok(answer);
        }
    }
    anyhow::bail!("it never came")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_with_everything_then_tells_changes_and_ends_with_the_rights() -> Result<()> {
    let (rig, holder, other) = two_replicas().await?;
    let mut sonia = rig.client(other.address, "sonia")?;
    let mut stream = sonia.watch_queues(WatchQueuesRequest::default()).await?.into_inner();
    let first = next(&mut stream).await?;
    assert!(first.snapshot && first.now.is_some());
    assert_eq!((first.queues.len(), first.queues[0].waiting), (1, 0));
    let id = rig.truth.queue("soporte").await;
    let rings = |queue: &Queue| (queue.waiting, queue.offered) == (1, 1);
    let changed = until(&mut stream, |one| one.queues.iter().any(rings)).await?;
    assert!(!changed.snapshot);
    // Nothing of another campaign is told: the next change is the end of this one.
    let foreign = rig.truth.queue("ventas").await;
    rig.truth.open(&id, "ana").await;
    let opened = until(&mut stream, |one| one.queues.iter().any(|queue| queue.open == 1)).await?;
    assert!(opened.queues.iter().all(|queue| queue.campaign_key == "soporte"), "{foreign}");
    // Who was cut off begins again with everything.
    drop(stream);
    let mut stream = sonia.watch_queues(WatchQueuesRequest::default()).await?.into_inner();
    let again = next(&mut stream).await?;
    assert!(again.snapshot);
    assert_eq!((again.queues[0].waiting, again.queues[0].open), (0, 1));
    // Her rights end, and with them the stream.
    rig.truth.state.lock().dismissed.push("sonia".to_owned());
    rig.directory_changed().await?;
    let end = loop {
        match tokio::time::timeout(4 * SOON, stream.message()).await? {
            Ok(answer) => assert!(answer.is_some(), "the stream ends with a reason"),
            Err(status) => break status,
        }
    };
    assert!([Code::Unauthenticated, Code::PermissionDenied].contains(&end.code()), "{end:?}");
    other.stop().await?;
    holder.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_the_token() -> Result<()> {
    let (rig, holder, other) = two_replicas().await?;
    let issuer = Issuer::new(rig.keys.signing_key.expose(), "hilo")?;
    let mut begun = None;
    // Ends soon, but not before the first answer.
    for seconds in [4, 16, 64] {
        let token = issuer.issue("coco", OffsetDateTime::now_utc(), Duration::from_secs(seconds))?.token;
        let channel = channel(&format!("http://{}", holder.address))?;
        let mut coco = RoutingServiceClient::with_interceptor(channel, Bearer(token));
        let Ok(answer) = coco.watch_queues(WatchQueuesRequest::default()).await else { continue };
        let mut stream = answer.into_inner();
        if let Ok(first) = next(&mut stream).await {
            assert_eq!(first.queues.len(), 2);
            begun = Some(stream);
            break;
        }
    }
    let mut stream = begun.context("no token lasted until the first answer")?;
    let end = loop {
        match tokio::time::timeout(2 * SOON, stream.message()).await? {
            Ok(answer) => assert!(answer.is_some(), "the stream ends with a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unauthenticated);
    other.stop().await?;
    holder.stop().await
}

async fn explain(rig: &Rig, replica: &Replica, user: &str, id: &str) -> Result<QueuedExplanation, Status> {
    let mut client =
        rig.client(replica.address, user).map_err(|error| Status::internal(error.to_string()))?;
    let request = ExplainInteractionRequest { interaction_id: id.to_owned(), ..Default::default() };
    Ok(client.explain_interaction(request).await?.into_inner().queued.unwrap_or_default())
}

fn rules(queued: &QueuedExplanation) -> Vec<(&str, i32, String)> {
    let line = |one: &hilo_proto::routing::v1::RuleRemoved| one.agent_keys.join(" ");
    queued.removed.iter().map(|one| (one.rule.as_str(), one.count, line(one))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_item_is_explained_by_any_replica_and_names_are_for_those_who_watch() -> Result<()> {
    let (rig, holder, other) = two_replicas().await?;
    rig.truth.state.lock().campaigns[0].overflow_seconds = 90;
    rig.truth.state.lock().campaigns[0].overflow_mode =
        hilo_proto::internal::v1::OverflowMode::AssignToAll.into();
    let first = rig.truth.queue("soporte").await;
    eventually("it rings at ana", SOON, || async { rig.truth.rings_at(&first).as_deref() == Some("ana") })
        .await?;
    rig.arrives(holder.address, "beto").await?;
    rig.pauses(holder.address, "beto", true).await?;
    let second = rig.truth.queue("soporte").await;
    let third = rig.truth.queue("soporte").await;
    for replica in [&holder, &other] {
        eventually("the replica sees beto", SOON, || async {
            explain(&rig, replica, "coco", &second)
                .await
                .is_ok_and(|why| why.removed.len() == 2 && why.removed[0].rule == "paused")
        })
        .await?;
        let why = explain(&rig, replica, "coco", &second).await?;
        assert_eq!(
            (why.reason.as_str(), why.candidates, why.eligible, why.ahead),
            ("nobody_eligible", 2, 0, 0)
        );
        assert_eq!(rules(&why), [("paused", 1, "beto".to_owned()), ("full", 1, "ana".to_owned())]);
        let overflow = why.overflow_at.context("an overflow is to come")?.seconds;
        assert_eq!(overflow - why.queued_at.context("queued")?.seconds, 90);
        assert_eq!(explain(&rig, replica, "coco", &third).await?.ahead, 1);
        let ringing = explain(&rig, replica, "sonia", &first).await?;
        assert_eq!((ringing.reason.as_str(), ringing.rings_at.as_str()), ("rings", "ana"));
        // An agent of the campaign reads numbers, and his own name only.
        let numbers = explain(&rig, replica, "beto", &second).await?;
        assert_eq!(rules(&numbers), [("paused", 1, String::new()), ("full", 1, String::new())]);
        assert_eq!(explain(&rig, replica, "beto", &first).await?.rings_at, "");
        assert_eq!(explain(&rig, replica, "ana", &first).await?.rings_at, "ana");
        let unknown = uuid::Uuid::now_v7().to_string();
        let answers = [
            explain(&rig, replica, "caro", &first).await.unwrap_err(),
            explain(&rig, replica, "caro", &unknown).await.unwrap_err(),
            explain(&rig, replica, "rita", &first).await.unwrap_err(),
        ];
        for answer in answers {
            assert_eq!(answer.code(), Code::NotFound);
            assert_eq!(answer.message(), "there is no such interaction");
            assert_eq!(reason_of(&answer).as_deref(), Some("INTERACTION_NOT_FOUND"));
        }
    }
    // Once somebody has it, there is nothing to explain but the decisions.
    rig.truth.open(&first, "ana").await;
    let snapshot = rig.truth.state.lock().live[&first].clone();
    rig.truth.publish(&snapshot, EventType::InteractionOpened).await;
    assert!(rig.truth.publishing.load(Ordering::Relaxed));
    assert_eq!(explain(&rig, &other, "coco", &first).await?, QueuedExplanation::default());
    // But why not somebody else is answered as of now.
    let request = ExplainInteractionRequest { interaction_id: first.clone(), agent_key: "beto".to_owned() };
    let answer = rig.client(other.address, "coco")?.explain_interaction(request).await?.into_inner();
    assert_eq!(answer.agent.context("beto is explained")?.rule, "paused");
    other.stop().await?;
    holder.stop().await
}
