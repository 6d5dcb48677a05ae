//! `hilo.routing.v1.RoutingService`: any replica answers.

use hilo_kit::auth;
use hilo_kit::directory::{DirectoryCache, Role};
use hilo_kit::error::Error;
use hilo_kit::nats::Nats;
use hilo_proto::routing::v1::routing_service_server::RoutingService;
use hilo_proto::routing::v1::{
    ExplainInteractionRequest, ExplainInteractionResponse, GetQueuesRequest, GetQueuesResponse,
    HeartbeatRequest, HeartbeatResponse, SetStatusRequest, SetStatusResponse, WatchQueuesRequest,
    WatchQueuesResponse,
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::attention::AttentionState;
use crate::presence::{MAX_SESSION, PresenceBoard};
use crate::router::{Message, Paused};
use crate::{convert, hints};

/// The service.
#[derive(Debug)]
pub struct RoutingRpc {
    /// Presence.
    pub board: PresenceBoard,
    /// attention-state.
    pub attention: AttentionState,
    /// Roles and campaigns.
    pub directory: DirectoryCache,
    /// For hints.
    pub nats: Nats,
    /// For the own partitions.
    pub router: mpsc::Sender<Message>,
    /// Who is paused.
    pub paused: Paused,
}

fn unimplemented(what: &'static str) -> Error {
    Error::internal("UNIMPLEMENTED", what)
}

impl RoutingRpc {
    /// The calling user; the server has refused revoked tokens before.
    fn user<T>(&self, request: &Request<T>) -> Result<String, Error> {
        let user = auth::require_user(request)?;
        if self.directory.current().is_loaded() {
            Ok(user)
        } else {
            Err(Error::unavailable("NOT_READY", "the directory is not known yet"))
        }
    }

    /// The calling agent.
    fn agent<T>(&self, request: &Request<T>) -> Result<String, Error> {
        let user = self.user(request)?;
        if self.directory.current().has_role(&user, Role::Agent) {
            Ok(user)
        } else {
            Err(Error::denied("ROLE_REQUIRED", "only an agent may call this"))
        }
    }
}

#[tonic::async_trait]
impl RoutingService for RoutingRpc {
    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let agent = self.agent(&request)?;
        let HeartbeatRequest { session_id, leave } = request.into_inner();
        if session_id.is_empty() || session_id.len() > MAX_SESSION {
            let error = Error::invalid("INVALID_SESSION", "the session id is malformed");
            return Err(error.field("session_id", format!("must have 1 to {MAX_SESSION} bytes")).into());
        }
        let paused = self.paused.lock().get(&agent).is_some_and(|(_, paused)| *paused);
        if leave {
            self.board.leave(&agent, &session_id).await?;
            return Ok(Response::new(HeartbeatResponse { expires_at: None, paused }));
        }
        let expires_at = self.board.heartbeat(&agent, &session_id).await?;
        Ok(Response::new(HeartbeatResponse { expires_at: Some(convert::timestamp(expires_at)), paused }))
    }

    async fn set_status(
        &self,
        request: Request<SetStatusRequest>,
    ) -> Result<Response<SetStatusResponse>, Status> {
        let agent = self.agent(&request)?;
        let SetStatusRequest { paused } = request.into_inner();
        let stored = self.attention.set_status(agent, paused).await?;
        if let Some(stored) = &stored {
            hints::tell(&self.nats, stored).await;
            // A router that has ended is a stopping process; the status is stored all the same.
            let _ = self.router.send(Message::Agents(vec![stored.clone()])).await;
        }
        Ok(Response::new(SetStatusResponse { paused: stored.map_or(paused, |stored| stored.paused) }))
    }

    async fn get_queues(
        &self,
        request: Request<GetQueuesRequest>,
    ) -> Result<Response<GetQueuesResponse>, Status> {
        self.user(&request)?;
        Err(unimplemented("queues are not offered yet").into())
    }

    type WatchQueuesStream = tokio_stream::Empty<Result<WatchQueuesResponse, Status>>;

    async fn watch_queues(
        &self,
        request: Request<WatchQueuesRequest>,
    ) -> Result<Response<Self::WatchQueuesStream>, Status> {
        self.user(&request)?;
        Err(unimplemented("queues are not offered yet").into())
    }

    async fn explain_interaction(
        &self,
        request: Request<ExplainInteractionRequest>,
    ) -> Result<Response<ExplainInteractionResponse>, Status> {
        let user = self.user(&request)?;
        let ExplainInteractionRequest { interaction_id } = request.into_inner();
        hilo_kit::ids::parse(&interaction_id, "interaction_id")?;
        let stored = self.attention.decisions(interaction_id).await?;
        if !self.directory.current().may_see_campaign(&user, &stored.campaign_key) {
            // As for an id that does not exist: who may not see a campaign does not learn of its interactions.
            return Err(Error::missing("INTERACTION_NOT_FOUND", "there is no such interaction").into());
        }
        Ok(Response::new(ExplainInteractionResponse { decisions: stored.decisions }))
    }
}
