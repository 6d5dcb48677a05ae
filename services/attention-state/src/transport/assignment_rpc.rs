//! `hilo.internal.v1.AssignmentService`: what routing asks of the one writer. Services only.

use std::sync::Arc;
use std::time::Duration;

use hilo_kit::Error;
use hilo_kit::auth::require_service;
use hilo_kit::db::Db;
use hilo_kit::nats::Subjects;
use hilo_proto::internal::v1::assignment_service_server::AssignmentService;
use hilo_proto::internal::v1::{
    ApplyOffersRequest, ApplyOffersResponse, GetRoutingConfigRequest, GetRoutingConfigResponse,
    HoldPartitionsRequest, HoldPartitionsResponse, ListDecisionsRequest, ListDecisionsResponse,
    ListLiveInteractionsRequest, ListLiveInteractionsResponse, ReportPresenceRequest, ReportPresenceResponse,
    SetAgentStatusRequest, SetAgentStatusResponse,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::assignment::offers::Batch;
use crate::assignment::together::Together;
use crate::assignment::{agents, config, live, partition, standing};
use crate::directory::domain::groups::PARTITIONS;

/// Most presence reports of a call.
const MAX_REPORTS: usize = 1_000;
/// Shortest and longest term of a partition's lease, in milliseconds.
const TERM: std::ops::RangeInclusive<i64> = 1_000..=60_000;
/// Longest id of a replica.
const MAX_REPLICA_ID: usize = 100;

/// Most attentions asked for by id.
const MAX_ATTENTIONS: usize = 500;

/// The service.
#[derive(Debug)]
pub struct AssignmentRpc {
    db: Db,
    offers: Together,
}

impl AssignmentRpc {
    /// Reads and writes by `db`; events are named by `subjects`.
    pub fn new(db: Db, subjects: Subjects) -> Self {
        let offers = Together::new(db.clone(), Arc::new(subjects));
        Self { db, offers }
    }
}

#[tonic::async_trait]
impl AssignmentService for AssignmentRpc {
    async fn hold_partitions(
        &self,
        request: Request<HoldPartitionsRequest>,
    ) -> Result<Response<HoldPartitionsResponse>, Status> {
        require_service(&request)?;
        let request = request.into_inner();
        let mut bad = Error::invalid("INVALID_REQUEST", "the request is malformed");
        if request.replica_id.is_empty() || request.replica_id.chars().count() > MAX_REPLICA_ID {
            bad = bad.field("replica_id", format!("1 to {MAX_REPLICA_ID} characters"));
        }
        if !request.release && !TERM.contains(&request.term_millis) {
            bad = bad.field("term_millis", format!("from {} to {}", TERM.start(), TERM.end()));
        }
        if !bad.violations().is_empty() {
            return Err(bad.into());
        }
        let partitions = if request.release {
            partition::release(&self.db, &request.replica_id).await?;
            Vec::new()
        } else {
            let term = Duration::from_millis(request.term_millis.unsigned_abs());
            partition::hold(&self.db, &request.replica_id, term).await?
        };
        let term_millis = request.term_millis;
        Ok(Response::new(HoldPartitionsResponse { partitions, partition_count: PARTITIONS, term_millis }))
    }

    async fn get_routing_config(
        &self,
        request: Request<GetRoutingConfigRequest>,
    ) -> Result<Response<GetRoutingConfigResponse>, Status> {
        require_service(&request)?;
        let known = request.into_inner().known_version;
        let config =
            self.db.snapshot(move |conn| Box::pin(async move { config::read(conn, known).await })).await?;
        Ok(Response::new(config))
    }

    async fn list_live_interactions(
        &self,
        request: Request<ListLiveInteractionsRequest>,
    ) -> Result<Response<ListLiveInteractionsResponse>, Status> {
        require_service(&request)?;
        let asked = request.into_inner();
        let attentions = attention_ids(&asked.attention_ids)?;
        let page = self.db.snapshot(move |conn| {
            Box::pin(async move {
                if attentions.is_empty() {
                    live::page(conn, asked.partition, asked.page_size, &asked.page_token).await
                } else {
                    live::of_attentions(conn, &attentions).await
                }
            })
        });
        Ok(Response::new(page.await?))
    }

    async fn apply_offers(
        &self,
        request: Request<ApplyOffersRequest>,
    ) -> Result<Response<ApplyOffersResponse>, Status> {
        require_service(&request)?;
        let results = self.offers.apply(Batch::read(request.into_inner())?).await?;
        hilo_kit::fault::point("attention-state.offers.committed").await;
        Ok(Response::new(ApplyOffersResponse { results }))
    }

    async fn report_presence(
        &self,
        request: Request<ReportPresenceRequest>,
    ) -> Result<Response<ReportPresenceResponse>, Status> {
        require_service(&request)?;
        let reports = request.into_inner().reports;
        if reports.len() > MAX_REPORTS {
            let bad = Error::invalid("INVALID_REQUEST", "too many reports");
            return Err(bad.field("reports", format!("at most {MAX_REPORTS}")).into());
        }
        let mut bad = Error::invalid("INVALID_REQUEST", "a report is malformed");
        for (at, report) in reports.iter().enumerate() {
            if report.last_seen_at.is_none() {
                bad = bad.field(format!("reports[{at}].last_seen_at"), "is required");
            }
        }
        if !bad.violations().is_empty() {
            return Err(bad.into());
        }
        let reports = Arc::new(reports);
        let agents = self.db.transaction(move |tx| {
            let reports = reports.clone();
            Box::pin(async move {
                agents::report_presence(tx, &reports).await?;
                let keys: Vec<String> = reports.iter().map(|report| report.agent_key.clone()).collect();
                agents::read(tx, Some(&keys)).await
            })
        });
        Ok(Response::new(ReportPresenceResponse { agents: agents.await? }))
    }

    async fn set_agent_status(
        &self,
        request: Request<SetAgentStatusRequest>,
    ) -> Result<Response<SetAgentStatusResponse>, Status> {
        require_service(&request)?;
        let asked = Arc::new(request.into_inner());
        let agent = self.db.transaction(move |tx| {
            let asked = asked.clone();
            Box::pin(async move {
                agents::set_paused(tx, &asked.agent_key, asked.paused).await?;
                let agents = agents::read(tx, Some(std::slice::from_ref(&asked.agent_key))).await?;
                agents.into_iter().next().ok_or_else(agents::unknown_agent)
            })
        });
        Ok(Response::new(SetAgentStatusResponse { agent: Some(agent.await?) }))
    }

    async fn list_decisions(
        &self,
        request: Request<ListDecisionsRequest>,
    ) -> Result<Response<ListDecisionsResponse>, Status> {
        require_service(&request)?;
        let ListDecisionsRequest { interaction_id, with_members } = request.into_inner();
        let id = hilo_kit::ids::parse(&interaction_id, "interaction_id")?;
        let answer = self.db.snapshot(move |conn| Box::pin(standing::read(conn, id, with_members))).await?;
        Ok(Response::new(answer))
    }
}

fn attention_ids(texts: &[String]) -> Result<Vec<Uuid>, Error> {
    let mut bad = Error::invalid("INVALID_REQUEST", "the request is malformed");
    if texts.len() > MAX_ATTENTIONS {
        return Err(bad.field("attention_ids", format!("at most {MAX_ATTENTIONS}")));
    }
    let mut ids = Vec::with_capacity(texts.len());
    for (at, text) in texts.iter().enumerate() {
        match Uuid::try_parse(text) {
            Ok(id) => ids.push(id),
            Err(_) => bad = bad.field(format!("attention_ids[{at}]"), "must be a UUID"),
        }
    }
    if bad.violations().is_empty() { Ok(ids) } else { Err(bad) }
}
