//! attention-state as this service sees it: the calls of `hilo.internal.v1.AssignmentService`, each with a deadline.

use std::time::Duration;

use hilo_kit::error::Error;
use hilo_kit::grpc::{InternalChannel, with_deadline};
use hilo_proto::internal::v1::assignment_service_client::AssignmentServiceClient;
use hilo_proto::internal::v1::queue_service_client::QueueServiceClient;
use hilo_proto::internal::v1::{
    ApplyOffersRequest, ApplyOffersResponse, GetRoutingConfigRequest, GetRoutingConfigResponse,
    HoldPartitionsRequest, HoldPartitionsResponse, ListDecisionsRequest, ListDecisionsResponse,
    ListLiveInteractionsRequest, ListLiveInteractionsResponse, PresenceReport, ReadQueuesRequest,
    ReadQueuesResponse, ReportPresenceRequest, RoutingAgent, SetAgentStatusRequest,
};
use tokio::time::Instant;

use crate::clock::DatabaseClock;
use crate::convert;

/// A renewal that takes longer than this is better sent again: the lease lasts a few seconds.
const HOLD_DEADLINE: Duration = Duration::from_millis(1_500);
const APPLY_DEADLINE: Duration = Duration::from_secs(2);
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// Interactions per page of a snapshot; the most the contract allows.
const PAGE: i32 = 1_000;
/// Most reports in one call, by contract.
pub const MAX_REPORTS: usize = 1_000;
/// A configuration of 10,000 agents has a few megabytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The client; clones share one connection.
#[derive(Clone, Debug)]
pub struct AttentionState {
    client: AssignmentServiceClient<InternalChannel>,
    queues: QueueServiceClient<InternalChannel>,
    clock: DatabaseClock,
}

impl AttentionState {
    /// On a channel that carries the service token.
    pub fn new(channel: InternalChannel, clock: DatabaseClock) -> Self {
        let queues = QueueServiceClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER);
        let client = AssignmentServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        Self { client, queues, clock }
    }

    /// Asks for partitions, renews or releases them.
    ///
    /// # Errors
    /// As answered, or `UNAVAILABLE`.
    pub async fn hold(&self, request: HoldPartitionsRequest) -> Result<HoldPartitionsResponse, Error> {
        let answer = self.client.clone().hold_partitions(with_deadline(request, HOLD_DEADLINE)).await?;
        Ok(answer.into_inner())
    }

    /// The routing configuration if it is newer than `known_version`; teaches the clock.
    ///
    /// # Errors
    /// As answered, or `UNAVAILABLE`.
    pub async fn config(&self, known_version: i64) -> Result<GetRoutingConfigResponse, Error> {
        let asked = Instant::now();
        let request = with_deadline(GetRoutingConfigRequest { known_version }, READ_DEADLINE);
        let answer = self.client.clone().get_routing_config(request).await?.into_inner();
        if let Some(now) = &answer.now {
            self.clock.learn(convert::instant(now), asked);
        }
        Ok(answer)
    }

    /// A page of a partition's live interactions; with attention ids only those of them (others may come along).
    ///
    /// # Errors
    /// As answered, or `UNAVAILABLE`.
    pub async fn live(
        &self,
        partition: i32,
        attention_ids: Vec<String>,
        page_token: String,
    ) -> Result<ListLiveInteractionsResponse, Error> {
        let request = ListLiveInteractionsRequest { partition, page_size: PAGE, page_token, attention_ids };
        let answer =
            self.client.clone().list_live_interactions(with_deadline(request, READ_DEADLINE)).await?;
        Ok(answer.into_inner())
    }

    /// Commits a batch of decisions.
    ///
    /// # Errors
    /// `STALE_EPOCH`, `STALE_CONFIG`, as answered, or `UNAVAILABLE`.
    pub async fn apply(&self, request: ApplyOffersRequest) -> Result<ApplyOffersResponse, Error> {
        let answer = self.client.clone().apply_offers(with_deadline(request, APPLY_DEADLINE)).await?;
        Ok(answer.into_inner())
    }

    /// Says who is present or gone; answers the agents after it.
    ///
    /// # Errors
    /// As answered, or `UNAVAILABLE`.
    pub async fn report(&self, reports: Vec<PresenceReport>) -> Result<Vec<RoutingAgent>, Error> {
        let request = with_deadline(ReportPresenceRequest { reports }, READ_DEADLINE);
        Ok(self.client.clone().report_presence(request).await?.into_inner().agents)
    }

    /// Stores an agent's chosen status.
    ///
    /// # Errors
    /// As answered, or `UNAVAILABLE`.
    pub async fn set_status(&self, agent_key: String, paused: bool) -> Result<Option<RoutingAgent>, Error> {
        let request = with_deadline(SetAgentStatusRequest { agent_key, paused }, READ_DEADLINE);
        Ok(self.client.clone().set_agent_status(request).await?.into_inner().agent)
    }

    /// Queues in numbers and all agents.
    ///
    /// # Errors
    /// As answered, or `UNAVAILABLE`.
    pub async fn queues(&self, window_seconds: i32) -> Result<ReadQueuesResponse, Error> {
        let request = with_deadline(ReadQueuesRequest { window_seconds }, READ_DEADLINE);
        Ok(self.queues.clone().read_queues(request).await?.into_inner())
    }

    /// The stored decisions of an interaction; while it is queued, also what a new one would be made from, and campaign and
    /// members later too `with_members`.
    ///
    /// # Errors
    /// `MISSING` classes as answered, or `UNAVAILABLE`.
    pub async fn decisions(
        &self,
        interaction_id: String,
        with_members: bool,
    ) -> Result<ListDecisionsResponse, Error> {
        let request = with_deadline(ListDecisionsRequest { interaction_id, with_members }, READ_DEADLINE);
        Ok(self.client.clone().list_decisions(request).await?.into_inner())
    }
}
