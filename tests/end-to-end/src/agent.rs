//! An agent as a gRPC client: signs in, keeps present, watches the desk, opens, answers, ends. Calls are repeated with one
//! request id while a service is away, as a frontend would do it.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Result;
use hilo_proto::attention::v1 as attention;
use hilo_proto::attention::v1::attention_service_client::AttentionServiceClient;
use hilo_proto::contact::v1::contact_service_client::ContactServiceClient;
use hilo_proto::dialer::v1::dialer_service_client::DialerServiceClient;
use hilo_proto::history::v1 as history;
use hilo_proto::history::v1::history_service_client::HistoryServiceClient;
use hilo_proto::identity::v1::LoginRequest;
use hilo_proto::identity::v1::identity_service_client::IdentityServiceClient;
use hilo_proto::routing::v1::HeartbeatRequest;
use hilo_proto::routing::v1::routing_service_client::RoutingServiceClient;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::desk::Desk;

/// Adds the bearer token to every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<tonic::metadata::Ascii>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authorised = InterceptedService<Channel, Bearer>;

/// Where the public services listen; one address three times behind a gateway.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// attention-state.
    pub attention_state: String,
    /// routing.
    pub routing: String,
    /// history.
    pub history: String,
}

/// A signed-in agent.
#[derive(Clone)]
pub struct Agent {
    /// User key.
    pub key: String,
    bearer: Bearer,
    endpoints: Endpoints,
    attention: Channel,
    routing: Channel,
    history: Channel,
}

fn channel(url: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(3600))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .connect_lazy())
}

/// Repeats a call while the service is away or busy.
///
/// # Errors
/// The last status, at once for a refusal, or when the deadline has passed.
pub async fn persist<T, F>(deadline: Duration, mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let started = Instant::now();
    loop {
        let outcome = tokio::time::timeout(Duration::from_secs(5), call()).await;
        let status = match outcome {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("no answer in 5 s"),
        };
        let passing = matches!(
            status.code(),
            Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Unknown
                | Code::Internal
                | Code::Cancelled
                | Code::Aborted
        );
        if !passing || started.elapsed() > deadline {
            return Err(status);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Agent {
    /// Signs in.
    ///
    /// # Errors
    /// When the credentials are refused or the service stays away.
    pub async fn login(endpoints: &Endpoints, user: &str, password: &str) -> Result<Self> {
        let attention = channel(&endpoints.attention_state)?;
        let login = LoginRequest { user: user.to_owned(), password: password.to_owned() };
        let answer = persist(PATIENCE, || {
            let (mut client, login) = (IdentityServiceClient::new(attention.clone()), login.clone());
            async move { client.login(login).await }
        })
        .await?;
        Self::with_token(endpoints, user, &answer.token)
    }

    /// Signed in by a token.
    ///
    /// # Errors
    /// When an address is invalid.
    pub fn with_token(endpoints: &Endpoints, user: &str, token: &str) -> Result<Self> {
        Ok(Self {
            key: user.to_owned(),
            bearer: Bearer(format!("Bearer {token}").parse()?),
            attention: channel(&endpoints.attention_state)?,
            routing: channel(&endpoints.routing)?,
            history: channel(&endpoints.history)?,
            endpoints: endpoints.clone(),
        })
    }

    /// Client of the DialerService.
    pub fn dialers(&self) -> DialerServiceClient<Authorised> {
        DialerServiceClient::with_interceptor(self.attention.clone(), self.bearer.clone())
    }

    /// Client of the ContactService.
    pub fn contacts(&self) -> ContactServiceClient<Authorised> {
        ContactServiceClient::with_interceptor(self.attention.clone(), self.bearer.clone())
    }

    /// Client of the AttentionService.
    pub fn attention(&self) -> AttentionServiceClient<Authorised> {
        AttentionServiceClient::with_interceptor(self.attention.clone(), self.bearer.clone())
    }

    /// The same on a connection of its own, for races.
    ///
    /// # Errors
    /// When the address is invalid.
    pub fn separate_attention(&self) -> Result<AttentionServiceClient<Authorised>> {
        Ok(AttentionServiceClient::with_interceptor(
            channel(&self.endpoints.attention_state)?,
            self.bearer.clone(),
        ))
    }

    /// Client of the HistoryService.
    pub fn history(&self) -> HistoryServiceClient<Authorised> {
        HistoryServiceClient::with_interceptor(self.history.clone(), self.bearer.clone())
    }

    /// Client of the RoutingService.
    pub fn routing(&self) -> RoutingServiceClient<Authorised> {
        RoutingServiceClient::with_interceptor(self.routing.clone(), self.bearer.clone())
    }

    /// Sends heartbeats until the handle is dropped, and answers after the first was accepted.
    ///
    /// # Errors
    /// When the first is refused.
    pub async fn be_present(&self) -> Result<Presence> {
        let session_id = request_id();
        let beat = move |agent: Agent| {
            let request = HeartbeatRequest { session_id: session_id.clone(), leave: false };
            async move { agent.routing().heartbeat(request).await }
        };
        persist(PATIENCE, || beat(self.clone())).await?;
        let agent = self.clone();
        Ok(Presence(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                let _missed = tokio::time::timeout(Duration::from_secs(5), beat(agent.clone())).await;
            }
        })))
    }

    /// Watches the desk's mail until the handle is dropped; a lost stream is opened again.
    pub fn watch(&self) -> Desk {
        Desk::watch(self, "email")
    }

    /// Watches the desk's WhatsApp as [`Agent::watch`] does the mail.
    pub fn watch_whatsapp(&self) -> Desk {
        Desk::watch(self, "whatsapp")
    }

    /// Opens an item.
    ///
    /// # Errors
    /// The refusal, for instance ALREADY_TAKEN.
    pub async fn open(&self, interaction_id: &str) -> Result<attention::OpenInteractionResponse, Status> {
        let request = attention::OpenInteractionRequest {
            interaction_id: interaction_id.to_owned(),
            request_id: request_id(),
        };
        persist(PATIENCE, || {
            let (mut client, request) = (self.attention(), request.clone());
            async move { client.open_interaction(request).await }
        })
        .await
    }

    /// Answers the customer.
    ///
    /// # Errors
    /// The refusal.
    pub async fn reply(&self, interaction_id: &str, text: &str) -> Result<history::ThreadMessage, Status> {
        let request = attention::SendMessageRequest {
            interaction_id: interaction_id.to_owned(),
            request_id: request_id(),
            text: text.to_owned(),
            ..Default::default()
        };
        let answer = persist(PATIENCE, || {
            let (mut client, request) = (self.attention(), request.clone());
            async move { client.send_message(request).await }
        })
        .await?;
        answer.message.ok_or_else(|| Status::internal("no message in the answer"))
    }

    /// Saves form values over whatever was there.
    ///
    /// # Errors
    /// The refusal.
    pub async fn fill_form(
        &self,
        interaction_id: &str,
        base_version: i64,
        values: &[(&str, &str)],
    ) -> Result<i64, Status> {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let request =
            attention::SaveFormRequest { interaction_id: interaction_id.to_owned(), base_version, values };
        let answer = persist(PATIENCE, || {
            let (mut client, request) = (self.attention(), request.clone());
            async move { client.save_form(request).await }
        })
        .await?;
        Ok(answer.form_state.map_or(0, |form| form.version))
    }

    /// Ends an item.
    ///
    /// # Errors
    /// The refusal.
    pub async fn end(
        &self,
        interaction_id: &str,
        close_attention: bool,
    ) -> Result<attention::EndInteractionResponse, Status> {
        let request = attention::EndInteractionRequest {
            interaction_id: interaction_id.to_owned(),
            close_attention,
            request_id: request_id(),
        };
        persist(PATIENCE, || {
            let (mut client, request) = (self.attention(), request.clone());
            async move { client.end_interaction(request).await }
        })
        .await
    }

    /// Messages of an attention, oldest first.
    ///
    /// # Errors
    /// The refusal.
    pub async fn messages(&self, attention_id: &str) -> Result<Vec<history::ThreadMessage>, Status> {
        let request = attention::ListMessagesRequest {
            attention_id: attention_id.to_owned(),
            page_size: 200,
            ..Default::default()
        };
        let answer = persist(PATIENCE, || {
            let (mut client, request) = (self.attention(), request.clone());
            async move { client.list_messages(request).await }
        })
        .await?;
        Ok(answer.messages)
    }

    /// All messages of an attention, oldest first, page by page.
    ///
    /// # Errors
    /// The refusal.
    pub async fn all_messages(&self, attention_id: &str) -> Result<Vec<history::ThreadMessage>, Status> {
        let mut request = attention::ListMessagesRequest {
            attention_id: attention_id.to_owned(),
            page_size: 200,
            ..Default::default()
        };
        let mut messages = Vec::new();
        loop {
            let page = persist(PATIENCE, || {
                let (mut client, request) = (self.attention(), request.clone());
                async move { client.list_messages(request).await }
            })
            .await?;
            // The first page is the newest one.
            messages.splice(0..0, page.messages);
            if page.next_page_token.is_empty() {
                return Ok(messages);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Searches the history until exactly the expected number is found.
    ///
    /// # Errors
    /// When the deadline passes with another number.
    pub async fn find_in_history(
        &self,
        search: history::SearchThreadsRequest,
        expected: usize,
        deadline: Duration,
    ) -> Result<Vec<history::ThreadSummary>> {
        let started = Instant::now();
        loop {
            let found = persist(PATIENCE, || {
                let (mut client, search) = (self.history(), search.clone());
                async move { client.search_threads(search).await }
            })
            .await?
            .threads;
            if found.len() == expected {
                return Ok(found);
            }
            anyhow::ensure!(
                started.elapsed() < deadline,
                "{} instead of {expected} threads for {search:?}",
                found.len()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Keeps the agent present while it lives.
#[derive(Debug)]
pub struct Presence(JoinHandle<()>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.abort();
    }
}
