//! `hilo.routing.v1.RoutingService`: any replica answers.

use hilo_kit::auth::{self, Principal};
use hilo_kit::directory::Role;
use hilo_kit::error::Error;
use hilo_kit::nats::Nats;
use hilo_proto::internal::v1::RoutingAgent;
use hilo_proto::routing::v1::routing_service_server::RoutingService;
use hilo_proto::routing::v1::{
    ExplainInteractionRequest, ExplainInteractionResponse, GetQueuesRequest, GetQueuesResponse,
    HeartbeatRequest, HeartbeatResponse, SetStatusRequest, SetStatusResponse, WatchQueuesRequest,
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::attention::AttentionState;
use crate::clock::DatabaseClock;
use crate::explain::{self, Asker};
use crate::presence::MAX_SESSION;
use crate::queues::{self, Watcher, Watching};
use crate::router::{Message, Paused};
use crate::{convert, hints};

/// The service.
#[derive(Debug)]
pub struct RoutingRpc {
    /// attention-state.
    pub attention: AttentionState,
    /// Presence, rights, and the readings of queues.
    pub watching: Watching,
    /// The database's clock.
    pub clock: DatabaseClock,
    /// For hints.
    pub nats: Nats,
    /// For the own partitions.
    pub router: mpsc::Sender<Message>,
    /// Who is paused.
    pub paused: Paused,
}

impl RoutingRpc {
    /// The calling user; the server has refused revoked tokens before.
    fn user<T>(&self, request: &Request<T>) -> Result<String, Error> {
        let user = auth::require_user(request)?;
        if self.watching.directory.current().is_loaded() {
            Ok(user)
        } else {
            Err(Error::unavailable("NOT_READY", "the directory is not known yet"))
        }
    }

    /// The calling agent.
    fn agent<T>(&self, request: &Request<T>) -> Result<String, Error> {
        let user = self.user(request)?;
        if self.watching.directory.current().has_role(&user, Role::Agent) {
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
            self.watching.board.leave(&agent, &session_id).await?;
            return Ok(Response::new(HeartbeatResponse { expires_at: None, paused }));
        }
        let expires_at = self.watching.board.heartbeat(&agent, &session_id).await?;
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
        let user = self.user(&request)?;
        let wanted = request.into_inner().campaign_keys;
        let Watching { board, directory, .. } = &self.watching;
        let scope = queues::scope(&directory.current(), &user, &wanted)?;
        let reading = self.attention.queues(queues::WINDOW_SECONDS).await?;
        // The rights may have changed while it was read.
        let directory = directory.current();
        let scope = scope.intersection(&queues::scope(&directory, &user, &wanted)?).cloned().collect();
        let shown = queues::panel(&reading, &directory, &scope, |agent| board.presence(agent));
        let answer = GetQueuesResponse { queues: shown.queues, agents: shown.agents, now: reading.now };
        Ok(Response::new(answer))
    }

    type WatchQueuesStream = queues::Answers;

    async fn watch_queues(
        &self,
        request: Request<WatchQueuesRequest>,
    ) -> Result<Response<Self::WatchQueuesStream>, Status> {
        self.user(&request)?;
        let Some(Principal::User { key, token_id, expires_at }) = auth::principal(&request).cloned() else {
            return Err(Error::denied("USER_REQUIRED", "only a user may call this").into());
        };
        let wanted = request.into_inner().campaign_keys;
        let watcher = Watcher { user: key, token_id, expires_at, wanted };
        Ok(Response::new(queues::start(&self.watching, watcher)?))
    }

    async fn explain_interaction(
        &self,
        request: Request<ExplainInteractionRequest>,
    ) -> Result<Response<ExplainInteractionResponse>, Status> {
        let user = self.user(&request)?;
        let ExplainInteractionRequest { interaction_id, agent_key } = request.into_inner();
        hilo_kit::ids::parse(&interaction_id, "interaction_id")?;
        let now = self
            .clock
            .now()
            .ok_or(Error::unavailable("NOT_READY", "the database's clock is not known yet"))?;
        let stored = self.attention.decisions(interaction_id, !agent_key.is_empty()).await?;
        let asker = Asker { user: &user, directory: &self.watching.directory.current() };
        let board = &self.watching.board;
        let presence = |agent: &RoutingAgent| queues::presence(board.presence(&agent.agent_key), agent);
        Ok(Response::new(explain::answer(stored, &asker, &agent_key, now, presence)?))
    }
}
