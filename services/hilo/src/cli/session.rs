//! A signed-in user on the public gRPC endpoint.

use std::time::Duration;

use hilo_proto::identity::v1::identity_service_client::IdentityServiceClient;
use hilo_proto::identity::v1::{LoginRequest, WhoAmIRequest};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::installation::SignIn;
use super::terminal::clean;
use super::{Exit, Failure, Installation};

/// A call that has not answered by then never will.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// A connection that is not up by then is not there.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Largest answer accepted: an opened item carries 50 messages.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// A connection that carries a user's token. Cloning shares the connection.
#[derive(Clone)]
pub struct Session {
    channel: Channel,
    token: MetadataValue<Ascii>,
    /// The user signed in.
    pub user: String,
    /// Where the public port is; empty for a session on a given connection.
    endpoint: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Connects to a gRPC endpoint.
///
/// # Errors
/// `BAD_ENDPOINT` when it is no URL, `NOBODY_ANSWERS` when nothing listens there.
pub async fn connect(url: &str) -> Result<Channel, Failure> {
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|_| {
            Failure::invalid("BAD_ENDPOINT", format!("{url} is not a URL such as http://127.0.0.1:8470"))
        })?
        .connect_timeout(CONNECT_DEADLINE)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    endpoint.connect().await.map_err(|_| {
        Failure::unavailable("NOBODY_ANSWERS", format!("nothing answers at {url}"))
            .detail("is `make run` running?")
    })
}

impl Session {
    /// Signs in with the arguments of a command, or takes the token of `HILO_TOKEN`.
    ///
    /// # Errors
    /// When there is no user or password, nothing answers, the sign-in is refused, or the token is another user's.
    pub async fn open(installation: &Installation, sign_in: &SignIn) -> Result<Self, Failure> {
        let endpoint = installation.endpoint()?;
        // Of an identity provider, where nobody signs in by password.
        let token = std::env::var("HILO_TOKEN").unwrap_or_default();
        if !token.trim().is_empty() {
            return Self::by_token(&endpoint, token.trim(), sign_in.user.as_deref()).await;
        }
        let user = sign_in.user()?;
        Self::login(&endpoint, user, &sign_in.password(installation, user)?).await
    }

    /// A session with a token made elsewhere; the service says whose it is.
    ///
    /// # Errors
    /// `TOKEN_OF_ANOTHER` when it is not the token of `user`; when nothing answers, or the token is refused.
    async fn by_token(url: &str, token: &str, user: Option<&str>) -> Result<Self, Failure> {
        let session = Self::with_token(connect(url).await?, user.unwrap_or_default(), token)?;
        let answer = session.identity().who_am_i(session.request(WhoAmIRequest {})).await?.into_inner();
        match user.filter(|user| *user != answer.user_key) {
            None => Ok(Self { user: answer.user_key, endpoint: url.to_owned(), ..session }),
            Some(user) => Err(Failure::new(
                Exit::Denied,
                "TOKEN_OF_ANOTHER",
                format!("the token in HILO_TOKEN is that of {}, not of {user}", clean(&answer.user_key)),
            )),
        }
    }

    /// Signs in.
    ///
    /// # Errors
    /// When nothing answers, or the sign-in is refused.
    pub async fn login(url: &str, user: &str, password: &SecretString) -> Result<Self, Failure> {
        let channel = connect(url).await?;
        let mut request = tonic::Request::new(LoginRequest {
            user: user.to_owned(),
            password: password.expose_secret().to_owned(),
        });
        request.set_timeout(CALL_DEADLINE);
        let answer = IdentityServiceClient::new(channel.clone()).login(request).await;
        let answer = answer.map_err(not_here)?.into_inner();
        let session = Self::with_token(channel, user, &answer.token)?;
        Ok(Self { endpoint: url.to_owned(), ..session })
    }

    /// URL of the public port, for what is fetched by a link.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A session on an existing connection with a token of any kind.
    ///
    /// # Errors
    /// When the token cannot be a header.
    pub fn with_token(channel: Channel, user: &str, token: &str) -> Result<Self, Failure> {
        let token = format!("Bearer {token}").parse();
        let mut token: MetadataValue<Ascii> = token
            .map_err(|_| Failure::new(Exit::Failed, "BAD_TOKEN", "the token cannot be sent as a header"))?;
        token.set_sensitive(true);
        Ok(Self { channel, token, user: user.to_owned(), endpoint: String::new() })
    }

    /// The same identity on another connection.
    pub fn on(&self, channel: Channel) -> Self {
        Self { channel, ..self.clone() }
    }

    /// A request with the token and the deadline of a call.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = self.stream_request(message);
        request.set_timeout(CALL_DEADLINE);
        request
    }

    /// A request with the token and no deadline, for a stream that stays.
    pub fn stream_request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }
}

/// A refused sign-in; where an identity provider signs people in, with what to do instead.
fn not_here(status: tonic::Status) -> Failure {
    let failure = Failure::from(status);
    if failure.reason != "SIGN_IN_ELSEWHERE" {
        return failure;
    }
    Failure { exit: Exit::Denied, ..failure }
        .detail("put a token of the provider into the variable HILO_TOKEN")
}

/// One constructor per public service, all on the session's connection.
macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $area:ident::$module:ident::$client:ident),+ $(,)?) => {
        impl Session {
            $($(#[$doc])* pub fn $name(&self) -> hilo_proto::$area::v1::$module::$client<Channel> {
                hilo_proto::$area::v1::$module::$client::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
            })+
        }
    };
}

clients! {
    /// The agent's desk.
    attention: attention::attention_service_client::AttentionServiceClient,
    /// Presence and reasons.
    routing: routing::routing_service_client::RoutingServiceClient,
    /// Ended threads.
    history: history::history_service_client::HistoryServiceClient,
    /// Reports.
    reports: report::report_service_client::ReportServiceClient,
    /// Administration.
    directory: directory::directory_service_client::DirectoryServiceClient,
    /// Lists that templates are sent to.
    dialers: dialer::dialer_service_client::DialerServiceClient,
    /// Who am I.
    identity: identity::identity_service_client::IdentityServiceClient,
    /// Messages that could not be processed.
    dead_letters: internal::dead_letter_service_client::DeadLetterServiceClient,
}

#[cfg(test)]
mod tests {
    use hilo_kit::error::{Error, to_status};
    use hilo_proto::identity::v1::identity_service_server::{IdentityService, IdentityServiceServer};
    use hilo_proto::identity::v1::{
        ChangePasswordRequest, ChangePasswordResponse, LoginResponse, LogoutRequest, LogoutResponse,
        WhoAmIResponse,
    };
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{Request, Response, Status};

    use super::*;

    /// An installation whose people sign in with a provider; every token is Ana's.
    struct ByProvider;

    #[tonic::async_trait]
    impl IdentityService for ByProvider {
        async fn login(&self, _: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
            Err(to_status(&Error::rejected("SIGN_IN_ELSEWHERE", "people sign in elsewhere")))
        }

        async fn logout(&self, _: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
            Err(Status::unimplemented("not needed"))
        }

        async fn change_password(
            &self,
            _: Request<ChangePasswordRequest>,
        ) -> Result<Response<ChangePasswordResponse>, Status> {
            Err(Status::unimplemented("not needed"))
        }

        async fn who_am_i(
            &self,
            request: Request<WhoAmIRequest>,
        ) -> Result<Response<WhoAmIResponse>, Status> {
            assert_eq!(request.metadata().get("authorization").expect("a token"), "Bearer t");
            Ok(Response::new(WhoAmIResponse { user_key: "ana".to_owned(), ..Default::default() }))
        }
    }

    async fn served() -> String {
        hilo_kit::install_crypto();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = IdentityServiceServer::new(ByProvider);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        url
    }

    #[tokio::test]
    async fn a_token_says_who_it_is_and_another_name_is_refused() {
        let url = served().await;
        for user in [None, Some("ana")] {
            let session = Session::by_token(&url, "t", user).await.expect("signed in");
            assert_eq!((session.user.as_str(), session.endpoint()), ("ana", url.as_str()), "{user:?}");
        }
        let failure = Session::by_token(&url, "t", Some("luis")).await.expect_err("refused");
        assert_eq!((failure.reason.as_str(), failure.exit), ("TOKEN_OF_ANOTHER", Exit::Denied));
    }

    #[tokio::test]
    async fn where_a_provider_signs_in_a_password_is_answered_with_what_to_do() {
        let password = SecretString::from("una-frase".to_owned());
        let failure = Session::login(&served().await, "ana", &password).await.expect_err("refused");
        assert_eq!((failure.reason.as_str(), failure.exit.code()), ("SIGN_IN_ELSEWHERE", 5));
        assert!(failure.details.iter().any(|line| line.contains("HILO_TOKEN")), "{:?}", failure.details);
    }
}
