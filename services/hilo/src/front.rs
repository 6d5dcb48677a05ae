//! One public port for everything: takes gRPC (HTTP/2), gRPC-web and signed downloads (HTTP/1.1 or 2) and passes each to the service
//! that serves it, by the service name in its path. In Kubernetes a Gateway does this; on one machine it is here.
//!
//! Bodies stream both ways with back-pressure, trailers are kept, a caller who goes away ends the call behind it.
//! Every caller's connection has its own connections to the services, so no caller waits for another's streams.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hilo_kit::lifecycle::Shutdown;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme, Uri};
use http::{Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<bytes::Bytes, Failure>;
type Upstream = Client<HttpConnector, Incoming>;

const MAX_CONNECTIONS: usize = 4096;
/// Per connection; the services allow as many.
const MAX_STREAMS: u32 = 1000;
const MAX_HEADERS: u32 = 32 * 1024;
const CONNECT: Duration = Duration::from_secs(3);
const HEADERS_WITHIN: Duration = Duration::from_secs(15);
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// Running calls get this long when the front stops; streams of desks never end by themselves.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// Where each service's gRPC port is.
#[derive(Clone, Copy, Debug)]
pub struct Backends {
    /// attention-state.
    pub attention_state: SocketAddr,
    /// routing.
    pub routing: SocketAddr,
    /// history.
    pub history: SocketAddr,
}

impl Backends {
    /// Who serves the method; `None` for what the public port does not offer (internal contracts among them).
    fn of(self, path: &str) -> Option<SocketAddr> {
        if path.starts_with(hilo_kit::download::PREFIX) {
            return Some(self.attention_state);
        }
        let service = path.strip_prefix('/')?.split('/').next()?;
        let package = service.rsplit_once('.').map_or("", |(package, _)| package);
        match package {
            "hilo.attention.v1" | "hilo.contact.v1" | "hilo.directory.v1" | "hilo.identity.v1"
            | "hilo.dialer.v1" => Some(self.attention_state),
            "hilo.routing.v1" => Some(self.routing),
            "hilo.history.v1" | "hilo.report.v1" => Some(self.history),
            // Every service describes all contracts and answers for its own health.
            "grpc.reflection.v1" | "grpc.health.v1" => Some(self.attention_state),
            _ => None,
        }
    }
}

/// Serves until the shutdown begins, then lets running calls end for a short while.
pub async fn serve(listener: TcpListener, backends: Backends, shutdown: Shutdown) {
    let builder = Arc::new(server());
    let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let watcher = graceful.watcher();
        let (builder, stop) = (builder.clone(), shutdown.clone());
        shutdown.spawn("front connection", async move {
            tokio::select! {
                () = connection(stream, backends, &builder, watcher) => {}
                () = async { stop.cancelled().await; tokio::time::sleep(STOP_WITHIN).await } => {}
            }
            drop(permit);
        });
    }
    let _ = tokio::time::timeout(STOP_WITHIN, graceful.shutdown()).await;
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(100)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER);
    builder
}

async fn connection(
    stream: TcpStream,
    backends: Backends,
    builder: &auto::Builder<TokioExecutor>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Small messages must not wait for more of them.
    let _ = stream.set_nodelay(true);
    let upstream = upstream();
    let service = hyper::service::service_fn(move |request| {
        let upstream = upstream.clone();
        async move { Ok::<_, Infallible>(forward(request, backends, &upstream).await) }
    });
    let serving = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%error, "a connection to the public port broke");
    }
}

fn upstream() -> Upstream {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_keep_alive_interval(KEEPALIVE)
        .http2_keep_alive_timeout(KEEPALIVE_ANSWER)
        .build(connector)
}

async fn forward(mut request: Request<Incoming>, backends: Backends, upstream: &Upstream) -> Response<Body> {
    let web = is_web(&request);
    let file = request.uri().path().starts_with(hilo_kit::download::PREFIX);
    let Some(backend) = backends.of(request.uri().path()) else {
        return refusal(web, tonic::Code::Unimplemented, "the public port does not offer this service");
    };
    let Some(uri) = address(request.uri(), backend) else {
        return refusal(web, tonic::Code::Internal, "the path cannot be forwarded");
    };
    let downstream = request.version();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    strip_connection_headers(request.headers_mut());
    match upstream.request(request).await {
        Ok(response) => {
            let (mut head, body) = response.into_parts();
            head.version = downstream;
            strip_connection_headers(&mut head.headers);
            Response::from_parts(head, body.map_err(Failure::from).boxed_unsync())
        }
        Err(error) => {
            tracing::debug!(%error, "a service could not be reached");
            if file {
                return unavailable();
            }
            refusal(web, tonic::Code::Unavailable, "the service is not available")
        }
    }
}

fn is_web<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc-web"))
}

fn address(uri: &Uri, backend: SocketAddr) -> Option<Uri> {
    let authority: Authority = backend.to_string().parse().ok()?;
    let path = uri.path_and_query()?.clone();
    Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path).build().ok()
}

/// Headers that concern one connection only (RFC 9113 8.2.2); `te: trailers` is the one that gRPC needs.
fn strip_connection_headers(headers: &mut http::HeaderMap) {
    const CONNECTION: [&str; 6] =
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"];
    for name in CONNECTION {
        headers.remove(HeaderName::from_static(name));
    }
    if headers.get(header::TE).is_some_and(|value| value != "trailers") {
        headers.remove(header::TE);
    }
}

/// To a browser that asked for a file.
fn unavailable() -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// A gRPC answer without a body (trailers only); for gRPC-web the same headers mean the same.
fn refusal(web: bool, code: tonic::Code, message: &'static str) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::OK;
    let kind = if web { "application/grpc-web+proto" } else { "application/grpc" };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("grpc-status", HeaderValue::from(code as i32));
    headers.insert("grpc-message", HeaderValue::from_static(message));
    if web {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        let exposed = HeaderValue::from_static("grpc-status,grpc-message");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    /// A contract that is added is public or internal; forgetting it here would hide it, or show it to everybody.
    #[test]
    fn every_public_contract_is_offered_and_no_internal_one() {
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        let backends = Backends { attention_state: at, routing: at, history: at };
        let files = prost_types::FileDescriptorSet::decode(hilo_proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut seen = 0;
        for file in files.file {
            for service in &file.service {
                let path = format!("/{}.{}/Any", file.package(), service.name());
                let internal = file.package().starts_with("hilo.internal.");
                assert_eq!(backends.of(&path).is_none(), internal, "{path}");
                seen += 1;
            }
        }
        assert!(seen > 10, "only {seen} services");
    }

    #[test]
    fn calls_go_where_they_are_served_and_internal_ones_nowhere() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let backends = Backends { attention_state: at(1), routing: at(2), history: at(3) };
        let port = |path| backends.of(path).map(|address| address.port());
        assert_eq!(port("/hilo.attention.v1.AttentionService/WatchDesk"), Some(1));
        assert_eq!(port("/hilo.identity.v1.IdentityService/Login"), Some(1));
        assert_eq!(port("/hilo.routing.v1.RoutingService/Heartbeat"), Some(2));
        assert_eq!(port("/hilo.history.v1.HistoryService/SearchThreads"), Some(3));
        assert_eq!(port("/hilo.internal.v1.AssignmentService/ApplyOffers"), None);
        assert_eq!(port("/files/v1/abc/x.pdf"), Some(1));
        assert_eq!(port("/files/other"), None);
        assert_eq!(port("/"), None);
        assert_eq!(port("*"), None);
    }

    /// What a Gateway is told to route is what this front routes, and no public contract is missing.
    #[test]
    fn the_table_of_paths_in_the_deployment_guide_is_this_one() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let backends = Backends { attention_state: at(8471), routing: at(8472), history: at(8473) };
        let guide = include_str!("../../../deploy/README.md");
        let mut told = std::collections::BTreeSet::new();
        for line in guide.lines().filter(|line| line.starts_with("| `/")) {
            let mut cells = line.split('|').skip(1).map(str::trim);
            let mut cell = || cells.next().expect("three cells");
            let prefix = cell().split('`').nth(1).expect("a path");
            let (service, port) = (cell(), cell().parse().expect("a port"));
            let (expected, path) = (at(port), format!("{prefix}/Method"));
            assert_eq!(backends.of(&path), Some(expected), "{path}");
            let name = match port {
                8471 => "attention-state",
                8472 => "routing",
                _ => "history",
            };
            assert_eq!(service, name, "{prefix}");
            told.insert(prefix.to_owned());
        }
        assert!(told.remove("/files/v1"));
        let all = contracts();
        let public = all.iter().filter(|service| !service.starts_with("/hilo.internal."));
        assert_eq!(told, public.cloned().collect());
    }

    /// `/package.Service` of every contract.
    fn contracts() -> Vec<String> {
        use prost::Message as _;
        let set =
            prost_types::FileDescriptorSet::decode(hilo_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
        let of = |file: &prost_types::FileDescriptorProto| {
            let package = file.package().to_owned();
            file.service.iter().map(move |one| format!("/{package}.{}", one.name())).collect::<Vec<_>>()
        };
        set.file.iter().flat_map(of).collect()
    }
}
