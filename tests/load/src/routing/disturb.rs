//! What happens in the middle of a run.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hilo_end_to_end::installation::{Part, Replica};
use hilo_end_to_end::{Installation, Service};
use hilo_proto::internal::v1::assignment_service_client::AssignmentServiceClient;
use hilo_proto::internal::v1::{DecisionRecord, GetRoutingConfigRequest};
use prost::Message as _;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use super::World;

/// Three leases of a partition: so long a paused owner is away.
const PAUSE: Duration = Duration::from_secs(12);
/// So long there are more replicas.
const MORE: Duration = Duration::from_secs(10);
/// A process that is told to end has ended by then.
const ENDED: Duration = Duration::from_secs(30);

/// A disturbance. A process that ends is started again at once, as a supervisor does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// The routing process, owner of every partition, is killed with signal 9.
    KillRouting,
    /// The routing process is told to end (SIGTERM).
    EndRouting,
    /// One of two routing processes, which own half of the partitions each, is stopped for three leases (SIGSTOP) and goes on then.
    PauseRouting,
    /// Two more routing processes come, and go again.
    ScaleRouting,
    /// attention-state, owner of the outbox, is killed with signal 9.
    KillOutbox,
    /// The broker is killed with signal 9.
    KillNats,
    /// The database server is killed with signal 9.
    KillPostgres,
    /// A new configuration: another mode in every campaign.
    Reconfigure,
}

/// A disturbance that happened.
pub struct Happened {
    /// When it began.
    pub at: Instant,
    /// When the new configuration was asked for and answered.
    applied: Option<(OffsetDateTime, OffsetDateTime)>,
    _replicas: Vec<Replica>,
}

/// What a new configuration did, by the stored decisions: each names the configuration it was made with, and when it was committed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effect {
    /// Decisions with the new one.
    pub after: usize,
    /// Decisions with the old one that were committed after the change was answered. Must be none.
    pub stale: usize,
    /// From the beginning of the call to the first decision with the new configuration.
    pub first: Duration,
    /// From the beginning of the call to the last decision with the old one.
    pub last: Duration,
    /// How long the change took to be answered.
    pub applied_in: Duration,
}

impl Disturbance {
    /// Lets it happen after a while.
    ///
    /// # Errors
    /// When a part cannot be ended or started, or the configuration is refused.
    pub async fn happen(
        self,
        installation: &Installation,
        world: &World,
        after: Duration,
    ) -> Result<Happened> {
        let due = Instant::now() + after;
        let mut replicas = Vec::new();
        if self == Self::PauseRouting {
            replicas.push(installation.replica(Service::Routing).await?);
        }
        tokio::time::sleep_until(due.into()).await;
        let (at, mut applied) = (Instant::now(), None);
        match self {
            Self::KillRouting => again(installation, Part::Service(Service::Routing)).await?,
            Self::KillOutbox => again(installation, Part::Service(Service::AttentionState)).await?,
            Self::KillNats => again(installation, Part::Nats).await?,
            Self::KillPostgres => again(installation, Part::Postgres).await?,
            Self::EndRouting => {
                installation.terminate(Service::Routing, ENDED).await?;
                installation.start_part(Part::Service(Service::Routing)).await?;
            }
            Self::PauseRouting => {
                installation.freeze(Service::Routing, true)?;
                tokio::time::sleep(PAUSE).await;
                installation.freeze(Service::Routing, false)?;
            }
            Self::ScaleRouting => {
                let more = [
                    installation.replica(Service::Routing).await?,
                    installation.replica(Service::Routing).await?,
                ];
                tokio::time::sleep(MORE).await;
                for replica in more {
                    replica.terminate(ENDED).await?;
                }
            }
            Self::Reconfigure => {
                let asked = OffsetDateTime::now_utc();
                World { mode: "least_busy", ..*world }.change(installation).await?;
                // The database's clock is this machine's.
                applied = Some((asked, OffsetDateTime::now_utc()));
            }
        }
        Ok(Happened { at, applied, _replicas: replicas })
    }
}

async fn again(installation: &Installation, part: Part) -> Result<()> {
    installation.kill(part).await?;
    installation.start_part(part).await
}

impl Happened {
    /// What a new configuration did; nothing where there was none.
    ///
    /// # Errors
    /// When the decisions cannot be read.
    pub async fn effect(&self, installation: &Installation) -> Result<Option<Effect>> {
        let Some((asked, answered)) = self.applied else { return Ok(None) };
        let mut client = AssignmentServiceClient::new(installation.internal()?);
        let config =
            client.get_routing_config(GetRoutingConfigRequest { known_version: 0 }).await?.into_inner();
        let mut session = PgConnection::connect(&installation.database("hilo_attention")).await?;
        let decisions: Vec<(OffsetDateTime, Vec<u8>)> =
            sqlx::query_as("SELECT decided_at, record FROM assignment.decision WHERE decided_at >= $1")
                .bind(asked)
                .fetch_all(&mut session)
                .await?;
        let mut effect = Effect {
            first: Duration::MAX,
            applied_in: Duration::try_from(answered - asked).unwrap_or_default(),
            ..Effect::default()
        };
        for (at, record) in decisions {
            let decided = DecisionRecord::decode(record.as_slice()).context("a decision")?;
            let later = Duration::try_from(at - asked).unwrap_or_default();
            if decided.config_version >= config.config_version {
                effect.after += 1;
                effect.first = effect.first.min(later);
            } else {
                effect.stale += usize::from(at > answered);
                effect.last = effect.last.max(later);
            }
        }
        Ok(Some(effect))
    }
}
