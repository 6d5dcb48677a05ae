//! What a waiting item and a present agent cost the service in memory, by what the kernel says of whole processes, and how long
//! a view of 100,000 waiting items takes to be read: `cargo bench -p hilo-routing --bench memory`, figures as JSON.
//!
//! Attention-state is the stand-in of the tests, so the reading is the service's own part of a rebuild; what the database
//! takes for its pages comes on top. Items are as they come from an email: with a trace, an overflow, and somebody who let them pass.

#[path = "../tests/rig/mod.rs"]
mod rig;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use hilo_kit::clock::to_proto;
use hilo_kit::nats::Bucket;
use hilo_proto::event::v1::{InteractionSnapshot, InteractionState};
use hilo_proto::internal::v1::{LiveInteraction, OverflowMode};
use hilo_proto::routing::v1::GetQueuesRequest;
use hilo_test_support::{Process, eventually};
use rig::{Rig, SOON, Truth, campaign};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

const ITEMS: usize = 500_000;
const REBUILT: usize = 100_000;
const AGENTS: usize = 10_000;
const SETTINGS: [(&str, &str); 1] = [("ROUTING__PRESENCE_LEASE_SECONDS", "3600")];
/// Of a snapshot, as the service asks for it.
const PAGE: usize = 1_000;

/// Bytes of the process that are in memory (VmRSS).
fn resident(process: &Process) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1_024.0)
}

/// The line by which a replica says that it knows its partition.
fn said(rig: &Rig, name: &str) -> Option<Value> {
    let log = rig.log(name);
    let line = log.lines().find(|line| line.contains("partition built"))?;
    serde_json::from_str(line).ok()
}

/// Starts a replica and waits until it has built its view of this many items; how many seconds that took from the lease on.
async fn built(rig: &Rig, name: &str, items: usize) -> Result<(Process, SocketAddr, f64)> {
    rig.truth.state.lock().lease.clear();
    let (process, address) = rig.process_with(name, &SETTINGS)?;
    eventually("the partition is built", 5 * SOON, || async { said(rig, name).is_some() }).await?;
    let line = said(rig, name).context("it was built")?;
    let field = |name: &str| line.get(name).and_then(Value::as_f64);
    anyhow::ensure!(field("items") == Some(items as f64), "{line}");
    Ok((process, address, field("seconds").context("seconds")?))
}

fn waiting() -> LiveInteraction {
    let now = Some(to_proto(OffsetDateTime::now_utc()));
    let snapshot = InteractionSnapshot {
        interaction_id: Uuid::now_v7().to_string(),
        version: 1,
        state: InteractionState::Queued.into(),
        ordinal: 1,
        campaign_key: "soporte".to_owned(),
        waiting_since: now,
        queued_at: now,
        passed_by: vec!["ana".to_owned()],
        vip: true,
        ..InteractionSnapshot::default()
    };
    LiveInteraction {
        attention_id: Uuid::now_v7().to_string(),
        sequence: 1,
        channel: "email".to_owned(),
        interaction: Some(snapshot),
        traceparent: format!("00-{}-{:016x}-01", Uuid::now_v7().simple(), 7),
    }
}

async fn items() -> Result<Value> {
    let mut soporte = campaign("soporte", &["ana"]);
    soporte.overflow_seconds = 86_400;
    soporte.overflow_mode = OverflowMode::AssignToAll.into();
    let rig = Rig::start(Truth::new(vec![soporte], &[("ana", 5)])).await?;
    rig.truth.state.lock().page = PAGE;
    let mut sizes = Vec::new();
    let mut seconds = Vec::new();
    for count in [0, REBUILT, ITEMS] {
        while rig.truth.state.lock().live.len() < count {
            let live = waiting();
            let id = live.interaction.as_ref().map(|one| one.interaction_id.clone()).unwrap_or_default();
            rig.truth.state.lock().live.insert(id, live);
        }
        let (mut process, _, took) = built(&rig, &format!("with-{count}"), count).await?;
        sizes.push(resident(&process)?);
        seconds.push(took);
        process.kill_9()?;
    }
    let each = |index: usize, count: usize| ((sizes[index] - sizes[0]) / count as f64).round();
    Ok(json!({
        "resident_empty": sizes[0],
        "bytes_per_item": { REBUILT.to_string(): each(1, REBUILT), ITEMS.to_string(): each(2, ITEMS) },
        "rebuilt_seconds": { REBUILT.to_string(): seconds[1], ITEMS.to_string(): seconds[2] },
    }))
}

/// How many agents the campaign has present, as the replica sees them.
async fn present(rig: &Rig, address: SocketAddr) -> Result<i32> {
    let mut client = rig.client(address, "coco")?;
    let answer = client.get_queues(GetQueuesRequest { campaign_keys: Vec::new() }).await?.into_inner();
    let counted = answer.queues.first().and_then(|queue| queue.agents);
    Ok(counted.map_or(0, |agents| agents.present))
}

/// Memory of a replica of a house with this many agents, all of them present.
async fn with_agents(agents: usize) -> Result<f64> {
    let keys: Vec<String> = (0..agents).map(|number| format!("agente-{number}")).collect();
    let members: Vec<&str> = keys.iter().map(String::as_str).collect();
    let capacities: Vec<(&str, i32)> = members.iter().map(|key| (*key, 5)).collect();
    let rig = Rig::start(Truth::new(vec![campaign("soporte", &members)], &capacities)).await?;
    let (process, address, _) = built(&rig, "house", 0).await?;
    rig.arrives(address, "agente-0").await?;
    // The others' sessions, as other replicas write them.
    let bucket = rig.nats.ensure_bucket(Bucket::Presence, std::time::Duration::from_secs(7_200)).await?;
    for key in keys.iter().skip(1) {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000;
        bucket.put(format!("{key}.{}", Uuid::now_v7().simple()), now.to_string().into()).await?;
    }
    eventually("all of them are present", 5 * SOON, || async {
        present(&rig, address).await.is_ok_and(|present| usize::try_from(present) == Ok(agents))
    })
    .await?;
    resident(&process)
}

#[tokio::main]
async fn main() -> Result<()> {
    let items = items().await?;
    let agents = ((with_agents(AGENTS + 1).await? - with_agents(1).await?) / AGENTS as f64).round();
    let figures = json!({ "items": items, "agents": AGENTS, "bytes_per_present_agent": agents });
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(())
}
