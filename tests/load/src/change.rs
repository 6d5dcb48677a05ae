//! A change of configuration while offers run: half of the agents leave the campaign in the middle of a steady inflow.
//!
//! What is judged comes from the stored decision records: each names the configuration it was decided with and the instant
//! it was committed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use hilo_end_to_end::Installation;
use hilo_end_to_end::customer::{self, Mail};
use hilo_kit::grpc::InternalChannel;
use hilo_proto::internal::v1::assignment_service_client::AssignmentServiceClient;
use hilo_proto::internal::v1::{
    GetRoutingConfigRequest, ListDecisionsRequest, ListLiveInteractionsRequest, LiveInteraction,
};
use time::OffsetDateTime;

/// Campaign of the test directory that receives by SMTP.
const CAMPAIGN: &str = "soporte";
/// Look-ups at once.
const AT_ONCE: usize = 32;

/// Size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Mails per second.
    pub rate: f64,
    /// Mails in all; the change comes after half of them.
    pub mails: usize,
    /// Longest wait for the last offer after the last mail.
    pub settle: Duration,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct ChangeReport {
    /// Offers decided with the configuration before.
    pub before: usize,
    /// Offers decided with the configuration after it.
    pub after: usize,
    /// Offers decided with the old one and committed after the change was answered. Must be none.
    pub stale: usize,
    /// Offers to those who had left, committed after the change was answered. Must be none.
    pub to_former: usize,
    /// Items that ring at nobody who is still in the campaign. Must be none.
    pub lost: usize,
    /// From the beginning of the call to the first offer decided with the new configuration.
    pub effective: Duration,
    /// How long the change took to be answered.
    pub applied_in: Duration,
    /// From the first mail to the change.
    pub running: Duration,
    /// Offers per second from the first mail to the change; what it makes ring anew is not counted.
    pub rate: f64,
}

/// One stored decision.
struct Decided {
    at: OffsetDateTime,
    version: i64,
    winner: String,
}

/// Runs the scenario. The campaign's mode must offer to one agent at a time, with room for every mail in half of the agents.
///
/// # Errors
/// When the installation cannot be used at all.
pub async fn change(installation: &Installation, size: Change) -> Result<ChangeReport> {
    let agents = installation.agent_keys();
    let (former, staying) = agents.split_at(agents.len() / 2);
    let mut present = Vec::new();
    for user in &agents {
        present.push(installation.login(user).await?.be_present().await?);
    }
    let mut client = AssignmentServiceClient::new(installation.internal()?);
    let begun = Instant::now() + Duration::from_millis(500);
    let due = |index: usize| begun + Duration::from_secs_f64(index as f64 / size.rate);
    let mails = futures::stream::iter(0..size.mails).map(|index| {
        let customer = format!("cambio-{index}@cliente.example");
        let mail = Mail::new(&customer, installation.support_address(), "Consulta", "Buenos días.");
        async move {
            tokio::time::sleep_until(due(index).into()).await;
            customer::send(installation.smtp(), &mail).await
        }
    });
    let changing = async {
        tokio::time::sleep_until(due(size.mails / 2).into()).await;
        let (asked, began) = (OffsetDateTime::now_utc(), Instant::now());
        let (all, half) = (agents.join(", "), staying.join(", "));
        let edit = |yaml: &str| yaml.replacen(&format!("members: [{all}]"), &format!("members: [{half}]"), 1);
        installation.change_directory(edit).await?;
        // The database's clock is this machine's.
        anyhow::Ok((asked, OffsetDateTime::now_utc(), began.elapsed()))
    };
    let (sent, changed) = tokio::join!(mails.buffer_unordered(256).collect::<Vec<Result<()>>>(), changing);
    sent.into_iter().collect::<Result<()>>()?;
    let (asked, answered, applied_in) = changed?;
    let running = due(size.mails / 2) - begun;
    let config = client.get_routing_config(GetRoutingConfigRequest { known_version: 0 }).await?.into_inner();
    let campaign =
        config.campaigns.iter().find(|one| one.campaign_key == CAMPAIGN).context("the campaign")?;
    let staying: BTreeSet<&str> = staying.iter().map(String::as_str).collect();
    let (live, lost) = settled(&mut client, campaign.partition, &staying, size).await?;
    let decided = decisions(&client, &live).await?;
    drop(present);
    Ok(judge(
        &decided,
        config.config_version,
        former,
        (asked, answered),
        ChangeReport { lost, applied_in, running, ..ChangeReport::default() },
    ))
}

/// Waits until every mail's item rings at somebody who is still there; answers the items, and how many do not.
async fn settled(
    client: &mut AssignmentServiceClient<InternalChannel>,
    partition: i32,
    staying: &BTreeSet<&str>,
    size: Change,
) -> Result<(Vec<LiveInteraction>, usize)> {
    let deadline = Instant::now() + size.settle;
    loop {
        let live = live(client, partition).await?;
        let rings = |one: &&LiveInteraction| {
            let interaction = one.interaction.as_ref();
            let offer = interaction
                .filter(|interaction| interaction.campaign_key == CAMPAIGN)
                .and_then(|interaction| interaction.offer.as_ref());
            offer.is_some_and(|offer| staying.contains(offer.agent_key.as_str()))
        };
        let ringing = live.iter().filter(rings).count();
        if ringing >= size.mails || Instant::now() >= deadline {
            return Ok((live, size.mails.saturating_sub(ringing)));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn live(
    client: &mut AssignmentServiceClient<InternalChannel>,
    partition: i32,
) -> Result<Vec<LiveInteraction>> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListLiveInteractionsRequest {
            partition,
            page_size: 1_000,
            page_token,
            attention_ids: Vec::new(),
        };
        let page = client.list_live_interactions(request).await?.into_inner();
        all.extend(page.interactions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

async fn decisions(
    client: &AssignmentServiceClient<InternalChannel>,
    live: &[LiveInteraction],
) -> Result<Vec<Decided>> {
    let ids: Vec<String> =
        live.iter().filter_map(|one| Some(one.interaction.as_ref()?.interaction_id.clone())).collect();
    let answers = futures::stream::iter(ids).map(|interaction_id| {
        let mut client = client.clone();
        async move {
            let request = ListDecisionsRequest { interaction_id, ..Default::default() };
            anyhow::Ok(client.list_decisions(request).await?.into_inner().decisions)
        }
    });
    let answers: Vec<Result<_>> = answers.buffer_unordered(AT_ONCE).collect().await;
    let mut all = Vec::new();
    for stored in answers.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        let at = stored.decided_at.as_ref().and_then(hilo_kit::clock::from_proto).context("an instant")?;
        let record = stored.decision.context("a record")?;
        all.push(Decided { at, version: record.config_version, winner: record.winner });
    }
    Ok(all)
}

fn judge(
    decided: &[Decided],
    version: i64,
    former: &[String],
    (asked, answered): (OffsetDateTime, OffsetDateTime),
    found: ChangeReport,
) -> ChangeReport {
    let late = || decided.iter().filter(|one| one.at > answered);
    let first_new = decided.iter().filter(|one| one.version >= version).map(|one| one.at).min();
    let until_asked = decided.iter().filter(|one| one.at < asked).count();
    ChangeReport {
        before: decided.iter().filter(|one| one.version < version).count(),
        after: decided.iter().filter(|one| one.version >= version).count(),
        stale: late().filter(|one| one.version < version).count(),
        to_former: late().filter(|one| former.contains(&one.winner)).count(),
        // Without any offer after the change nothing was effective at all.
        effective: first_new
            .map_or(Duration::MAX, |at| Duration::try_from(at - asked).unwrap_or(Duration::ZERO)),
        rate: until_asked as f64 / found.running.as_secs_f64().max(0.001),
        ..found
    }
}

impl ChangeReport {
    /// True when nothing was lost and nothing was offered under the old configuration.
    pub fn is_exact(&self) -> bool {
        self.stale == 0 && self.to_former == 0 && self.lost == 0 && self.before > 0 && self.after > 0
    }
}
