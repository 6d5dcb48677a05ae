//! gRPC as every service speaks it: server with health, reflection, gRPC-web, keepalive and a bounded stop; client
//! channels with deadlines, keepalive, a service token and the trace context.

mod beside;
mod cut;
mod said;

use std::time::Duration;

use http::HeaderValue;
use rand::Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::service::{Interceptor, InterceptorLayer, Routes, interceptor::InterceptedService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders};

use crate::auth::{ServiceTokens, Verifier};
use crate::error::Error;
use crate::health::Readiness;
use crate::lifecycle::Shutdown;
use crate::telemetry;

use beside::BesideLayer;
pub use beside::PlainHttp;

/// Largest message either way; larger things go by reference.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// A dead peer is noticed after at most interval + timeout.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// See [`KEEPALIVE_INTERVAL`].
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Deadline of an internal call that names none.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const MAX_CONCURRENT_STREAMS: u32 = 1_000;
/// Longer than it takes endpoints to propagate, short enough to leave room below the hard cap of the process.
const PRODUCTION_LINGER: Duration = Duration::from_secs(6);
/// A stopping server waits this long for running calls, then cuts them: hyper may wait for an hour otherwise.
const STOP_CAP: Duration = Duration::from_secs(10);

/// A gRPC server on an already bound socket.
pub struct Server {
    listener: TcpListener,
    readiness: Readiness,
    routes: Routes,
    verifier: Option<Verifier>,
    beside: BesideLayer,
    linger: Duration,
    stop_cap: Duration,
}

impl Server {
    /// Serves on the listener; health follows `readiness`.
    pub fn new(listener: TcpListener, readiness: Readiness) -> Self {
        Self {
            listener,
            readiness,
            routes: Routes::default(),
            verifier: None,
            beside: BesideLayer::default(),
            linger: Duration::ZERO,
            stop_cap: STOP_CAP,
        }
    }

    /// Adds the services; health and reflection come by themselves. Build them with
    /// `let mut routes = Routes::builder(); routes.add_service(…); routes.routes()`.
    #[must_use]
    pub fn add_routes(mut self, routes: Routes) -> Self {
        self.routes = routes;
        self
    }

    /// Verifies tokens and puts the [`crate::auth::Principal`] into requests.
    #[must_use]
    pub fn authenticate(mut self, verifier: Verifier) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// Answers plain HTTP requests (1.1 and 2) whose path begins with `prefix`, apart from everything gRPC has around it.
    #[must_use]
    pub fn plain_http(mut self, prefix: &'static str, serve: std::sync::Arc<dyn PlainHttp>) -> Self {
        self.beside = BesideLayer::new(prefix, serve);
        self
    }

    /// Keeps accepting this long after readiness went off, until load balancers have noticed.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// The settings of the profile: in production the server lingers until load balancers have noticed.
    #[must_use]
    pub fn profile(self, profile: crate::config::Profile) -> Self {
        match profile {
            crate::config::Profile::Embedded => self,
            crate::config::Profile::Production => self.linger(PRODUCTION_LINGER),
        }
    }

    /// How long a stopping server waits for running calls before it cuts them.
    #[must_use]
    pub fn stop_cap(mut self, stop_cap: Duration) -> Self {
        self.stop_cap = stop_cap;
        self
    }

    /// Serves until the shutdown begins, then: readiness off, linger, no new calls, running calls end, hard cap.
    ///
    /// # Errors
    /// `GRPC_SERVER` when serving fails.
    pub async fn serve(self, shutdown: Shutdown) -> Result<(), Error> {
        let failed = |text: &'static str| {
            move |error: tonic_reflection::server::Error| {
                Error::internal("GRPC_SERVER", text).with_source(error)
            }
        };
        let (reporter, health) = tonic_health::server::health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(hilo_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(failed("reflection could not be built"))?;
        let routes = self.routes.add_service(health).add_service(reflection);
        report_health(reporter, self.readiness.clone(), shutdown.clone()).await;
        if let Some(verifier) = &self.verifier {
            verifier.follow(&shutdown);
        }

        let (readiness, linger, stop) = (self.readiness.clone(), self.linger, shutdown.clone());
        let graceful = async move {
            stop.cancelled().await;
            readiness.stopping();
            tokio::time::sleep(linger).await;
        };
        let stop_cap = self.stop_cap;
        let cap = async {
            shutdown.cancelled().await;
            tokio::time::sleep(linger + stop_cap).await;
        };
        // Cancelled when this function returns, whatever the reason.
        let cutter = CancellationToken::new();
        let token = cutter.clone();
        let _cut_at_the_end = cutter.drop_guard();
        let incoming = TcpListenerStream::new(self.listener)
            .map(move |stream| stream.and_then(|stream| accept(stream, &token)));
        let serving = builder(self.verifier, self.beside)
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, graceful);
        tokio::select! {
            served = serving => served.map_err(|error| {
                Error::unavailable("GRPC_SERVER", "the gRPC server failed").with_source(error)
            }),
            () = cap => {
                tracing::warn!("gRPC calls were still running at the hard cap; cut");
                Ok(())
            }
        }
    }
}

/// tonic's own TCP settings apply only to listeners it binds itself.
fn accept(stream: TcpStream, token: &CancellationToken) -> std::io::Result<cut::Cuttable> {
    stream.set_nodelay(true)?;
    Ok(cut::Cuttable::new(stream, token))
}

type Layers = tower::layer::util::Stack<
    InterceptorLayer<Identify>,
    tower::layer::util::Stack<
        said::SaidLayer,
        tower::layer::util::Stack<
            tonic_web::GrpcWebLayer,
            tower::layer::util::Stack<
                CorsLayer,
                tower::layer::util::Stack<BesideLayer, tower::layer::util::Identity>,
            >,
        >,
    >,
>;

fn builder(verifier: Option<Verifier>, beside: BesideLayer) -> tonic::transport::Server<Layers> {
    // Connections end after 25 to 35 minutes, so that clients spread over new replicas but not all at once.
    let age = Duration::from_secs(rand::rng().random_range(1500..2100));
    tonic::transport::Server::builder()
        .accept_http1(true)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(60)))
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_connection_age(age)
        .max_connection_age_grace(Duration::from_secs(600))
        .trace_fn(request_span)
        .layer(beside)
        .layer(cors())
        .layer(tonic_web::GrpcWebLayer::new())
        .layer(said::SaidLayer)
        .layer(InterceptorLayer::new(Identify(verifier)))
}

/// Verifies a token when there is a verifier.
#[derive(Clone, Debug)]
struct Identify(Option<Verifier>);

impl Interceptor for Identify {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match &self.0 {
            Some(verifier) => verifier.check(request),
            None => Ok(request),
        }
    }
}

fn request_span(request: &http::Request<()>) -> tracing::Span {
    let path = request.uri().path();
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    let span = tracing::info_span!(
        "grpc.request",
        otel.kind = "server",
        otel.name = %path.trim_start_matches('/'),
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
    );
    let parent = request.headers().get(telemetry::TRACEPARENT).and_then(|value| value.to_str().ok());
    telemetry::span_with_parent(parent, span)
}

/// Browsers on another origin may call by gRPC-web; tokens travel in a header, never in a cookie, so no credentials.
fn cors() -> CorsLayer {
    let exposed = ["grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-encoding"];
    CorsLayer::new()
        .allow_origin(AllowOrigin::any())
        .allow_methods([http::Method::POST, http::Method::OPTIONS])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::list(exposed.map(http::HeaderName::from_static)))
        .max_age(Duration::from_secs(3600))
}

/// Services `""` and `liveness` serve while the process lives; `readiness` follows the conditions.
/// All three are known before the first call is answered, so that no early probe is told that there is no such service.
async fn report_health(
    reporter: tonic_health::server::HealthReporter,
    readiness: Readiness,
    shutdown: Shutdown,
) {
    use tonic_health::ServingStatus;
    let status = |ready: bool| if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    reporter.set_service_status("", ServingStatus::Serving).await;
    reporter.set_service_status("liveness", ServingStatus::Serving).await;
    let mut ready = readiness.watch();
    let now = *ready.borrow_and_update();
    reporter.set_service_status("readiness", status(now)).await;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = ready.changed() => if changed.is_err() { return },
                () = shutdown.cancelled() => {
                    reporter.set_service_status("readiness", ServingStatus::NotServing).await;
                    return;
                }
            }
            let now = *ready.borrow_and_update();
            reporter.set_service_status("readiness", status(now)).await;
        }
    });
}

/// A channel that connects on first use and again after every break.
///
/// # Errors
/// `INVALID_ENDPOINT` when the URL is malformed.
pub fn channel(url: &str) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| {
        Error::invalid("INVALID_ENDPOINT", "the endpoint is not a URL").with_source(error)
    })?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_lazy())
}

/// A request with a deadline; it travels to the server and is enforced on both sides.
pub fn with_deadline<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

/// A channel whose calls carry this service's token and the trace context.
pub type InternalChannel = InterceptedService<Channel, ServiceAuth>;

/// A lazily connected channel for calls between services.
///
/// # Errors
/// `INVALID_ENDPOINT` when the URL is malformed.
pub fn internal(url: &str, tokens: &ServiceTokens) -> Result<InternalChannel, Error> {
    Ok(InterceptedService::new(channel(url)?, ServiceAuth { tokens: tokens.clone() }))
}

/// Adds the service token, the trace context and a deadline to calls between services.
#[derive(Clone, Debug)]
pub struct ServiceAuth {
    tokens: ServiceTokens,
}

impl Interceptor for ServiceAuth {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let token = self.tokens.token()?;
        bear(&mut request, &token)?;
        Ok(request)
    }
}

/// Adds a user's token and the trace context; for command line clients and tests.
#[derive(Clone, Debug)]
pub struct Bearer(pub String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        bear(&mut request, &self.0)?;
        Ok(request)
    }
}

fn bear(request: &mut Request<()>, token: &str) -> Result<(), Status> {
    let value: MetadataValue<_> = format!("Bearer {token}")
        .parse()
        .map_err(|_| Error::unauthenticated("the token cannot be a header value"))?;
    request.metadata_mut().insert("authorization", value);
    if let Some(parent) =
        telemetry::current_traceparent().and_then(|parent| HeaderValue::from_str(&parent).ok())
    {
        let value = MetadataValue::try_from(parent.as_bytes());
        if let Ok(value) = value {
            request.metadata_mut().insert(telemetry::TRACEPARENT, value);
        }
    }
    Ok(())
}
