//! The stand-in's gRPC side: AssignmentService and the directory feed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hilo_kit::auth::{self, Verifier};
use hilo_kit::config::AuthConfig;
use hilo_kit::error::Error;
use hilo_kit::grpc::Server;
use hilo_kit::health::Readiness;
use hilo_kit::lifecycle::Shutdown;
use hilo_proto::directory::v1::{Campaign, Directory, Role, User};
use hilo_proto::internal::v1::assignment_service_server::{AssignmentService, AssignmentServiceServer};
use hilo_proto::internal::v1::directory_feed_service_server::{
    DirectoryFeedService, DirectoryFeedServiceServer,
};
use hilo_proto::internal::v1::queue_service_server::{QueueService, QueueServiceServer};
use hilo_proto::internal::v1::*;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::truth::Truth;

/// Partitions in all.
pub const PARTITIONS: i32 = 16;

/// The live panel's reading: what waits, rings and is open, by campaign.
#[tonic::async_trait]
impl QueueService for Stand {
    async fn read_queues(
        &self,
        request: Request<ReadQueuesRequest>,
    ) -> Result<Response<ReadQueuesResponse>, Status> {
        auth::require_service(&request)?;
        Ok(Response::new(self.0.reading()))
    }
}

#[derive(Clone)]
struct Stand(Arc<Truth>);

/// Serves until the shutdown.
pub fn serve(
    truth: Arc<Truth>,
    listener: TcpListener,
    config: &AuthConfig,
    stop: Shutdown,
) -> Result<(), Error> {
    let stand = Stand(truth);
    let mut routes = Routes::builder();
    routes.add_service(AssignmentServiceServer::new(stand.clone()));
    routes.add_service(QueueServiceServer::new(stand.clone()));
    routes.add_service(DirectoryFeedServiceServer::new(stand));
    let server = Server::new(listener, Readiness::new())
        .add_routes(routes.routes())
        .authenticate(Verifier::new(config)?);
    tokio::spawn(server.serve(stop));
    Ok(())
}

#[tonic::async_trait]
impl AssignmentService for Stand {
    async fn hold_partitions(
        &self,
        request: Request<HoldPartitionsRequest>,
    ) -> Result<Response<HoldPartitionsResponse>, Status> {
        auth::require_service(&request)?;
        let request = request.into_inner();
        let mut state = self.0.state.lock();
        let now = Instant::now();
        if request.release {
            state.released.push(request.replica_id.clone());
            state.replicas.remove(&request.replica_id);
            for (holder, _, until) in state.lease.values_mut() {
                if *holder == request.replica_id {
                    holder.clear();
                    *until = now;
                }
            }
            return Ok(Response::new(HoldPartitionsResponse::default()));
        }
        let term = Duration::from_millis(request.term_millis as u64);
        state.share_out(&request.replica_id, now, term);
        let held = state.lease.iter().filter(|(_, (holder, ..))| *holder == request.replica_id);
        let partitions = held
            .map(|(partition, (_, epoch, _))| HeldPartition { partition: *partition, epoch: *epoch })
            .collect();
        Ok(Response::new(HoldPartitionsResponse {
            partitions,
            partition_count: PARTITIONS,
            term_millis: request.term_millis,
        }))
    }

    async fn get_routing_config(
        &self,
        request: Request<GetRoutingConfigRequest>,
    ) -> Result<Response<GetRoutingConfigResponse>, Status> {
        auth::require_service(&request)?;
        let state = self.0.state.lock();
        let changed = request.into_inner().known_version != state.config_version;
        Ok(Response::new(GetRoutingConfigResponse {
            config_version: state.config_version,
            changed,
            campaigns: if changed { state.campaigns.clone() } else { Vec::new() },
            agents: if changed { state.agents.values().cloned().collect() } else { Vec::new() },
            now: Some(hilo_kit::clock::to_proto(OffsetDateTime::now_utc())),
        }))
    }

    /// Small pages, so that there is more than one.
    async fn list_live_interactions(
        &self,
        request: Request<ListLiveInteractionsRequest>,
    ) -> Result<Response<ListLiveInteractionsResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.0.state.lock();
        let homes: HashMap<&str, i32> =
            state.campaigns.iter().map(|one| (one.campaign_key.as_str(), one.partition)).collect();
        let here = |live: &LiveInteraction| {
            let campaign = live.interaction.as_ref().map(|one| one.campaign_key.as_str());
            campaign.and_then(|key| homes.get(key)) == Some(&request.partition)
        };
        let wanted = |live: &&LiveInteraction| match request.attention_ids.is_empty() {
            true => here(live),
            false => request.attention_ids.contains(&live.attention_id),
        };
        let is_home = homes.values().any(|home| *home == request.partition);
        let after =
            state.live.range(request.page_token.clone()..).filter(|(id, _)| **id != request.page_token);
        let interactions: Vec<LiveInteraction> =
            after.map(|(_, live)| live).filter(wanted).take(state.page).cloned().collect();
        let full = interactions.len() == state.page;
        let last = interactions.last().and_then(|live| live.interaction.as_ref());
        let next_page_token =
            last.filter(|_| full).map(|last| last.interaction_id.clone()).unwrap_or_default();
        if is_home && request.attention_ids.is_empty() && request.page_token.is_empty() {
            state.snapshots += 1;
        }
        state.fetched.extend(request.attention_ids.iter().cloned());
        Ok(Response::new(ListLiveInteractionsResponse { interactions, next_page_token }))
    }

    async fn apply_offers(
        &self,
        request: Request<ApplyOffersRequest>,
    ) -> Result<Response<ApplyOffersResponse>, Status> {
        auth::require_service(&request)?;
        let request = request.into_inner();
        {
            let mut state = self.0.state.lock();
            if state.lease.get(&request.partition).is_none_or(|(_, epoch, _)| *epoch != request.epoch) {
                state.refused_epochs += 1;
                state.refused.push((request.partition, request.epoch));
                return Err(Error::rejected("STALE_EPOCH", "another replica holds the partition").into());
            }
            if request.config_version < state.config_version {
                state.refused_configs += 1;
                return Err(Error::rejected("STALE_CONFIG", "the configuration has changed").into());
            }
        }
        let mut results = Vec::new();
        for change in &request.changes {
            let (outcome, event) = self.0.apply(change, (request.partition, request.epoch));
            if let Some((live, kind)) = event {
                self.0.publish(&live, kind).await;
            }
            let quiet = matches!(outcome, AssignmentOutcome::Busy | AssignmentOutcome::Gone);
            let current =
                if quiet { None } else { self.0.state.lock().live.get(&change.interaction_id).cloned() };
            let interaction_id = change.interaction_id.clone();
            results.push(AssignmentResult { interaction_id, outcome: outcome.into(), current });
        }
        self.0.answers_waiting.fetch_add(1, Ordering::Relaxed);
        while self.0.answers_held.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.0.answers_waiting.fetch_sub(1, Ordering::Relaxed);
        Ok(Response::new(ApplyOffersResponse { results }))
    }

    async fn report_presence(
        &self,
        request: Request<ReportPresenceRequest>,
    ) -> Result<Response<ReportPresenceResponse>, Status> {
        auth::require_service(&request)?;
        let mut state = self.0.state.lock();
        let mut agents = Vec::new();
        for report in request.into_inner().reports {
            state.reports.push((report.agent_key.clone(), report.present));
            let Some(agent) = state.agents.get_mut(&report.agent_key) else { continue };
            agent.version += 1;
            agent.absent_since = if report.present { None } else { report.last_seen_at };
            agents.push(agent.clone());
        }
        Ok(Response::new(ReportPresenceResponse { agents }))
    }

    async fn set_agent_status(
        &self,
        request: Request<SetAgentStatusRequest>,
    ) -> Result<Response<SetAgentStatusResponse>, Status> {
        auth::require_service(&request)?;
        let request = request.into_inner();
        let mut state = self.0.state.lock();
        let agent = state
            .agents
            .get_mut(&request.agent_key)
            .ok_or(Error::missing("UNKNOWN_AGENT", "no such agent"))?;
        agent.paused = request.paused;
        agent.version += 1;
        Ok(Response::new(SetAgentStatusResponse { agent: Some(agent.clone()) }))
    }

    async fn list_decisions(
        &self,
        request: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        auth::require_service(&request)?;
        let ListDecisionsRequest { interaction_id: id, with_members } = request.into_inner();
        let unknown = Error::missing("INTERACTION_NOT_FOUND", "there is no such interaction");
        Ok(Response::new(self.0.standing(&id, with_members).ok_or(unknown)?))
    }
}

#[tonic::async_trait]
impl DirectoryFeedService for Stand {
    async fn get_directory(
        &self,
        request: Request<GetDirectoryRequest>,
    ) -> Result<Response<GetDirectoryResponse>, Status> {
        auth::require_service(&request)?;
        let state = self.0.state.lock();
        let user = |key: &str, role: Role| User {
            key: key.to_owned(),
            roles: vec![role.into()],
            active: true,
            ..User::default()
        };
        let mut users: Vec<User> = state.agents.keys().map(|key| user(key, Role::Agent)).collect();
        users.push(user("rita", Role::Reporter));
        users.push(user("coco", Role::Coordinator));
        let campaign_keys = vec!["soporte".to_owned()];
        users.push(User { campaign_keys, ..user("sonia", Role::Supervisor) });
        users.retain(|user| !state.dismissed.contains(&user.key));
        let campaigns = state.campaigns.iter().map(|campaign| Campaign {
            key: campaign.campaign_key.clone(),
            channel: campaign.channel.clone(),
            member_keys: campaign.member_keys.clone(),
            ..Campaign::default()
        });
        let directory = Directory { users, campaigns: campaigns.collect(), ..Directory::default() };
        Ok(Response::new(GetDirectoryResponse {
            version: state.config_version,
            changed: true,
            directory: Some(directory),
            revoked_token_ids: Vec::new(),
        }))
    }
}
