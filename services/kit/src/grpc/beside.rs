//! Plain HTTP on the gRPC port, for what a browser fetches by a link: outside of gRPC-web, CORS and tokens.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, Either, FutureExt, MapOk, TryFutureExt};
use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

/// Answers plain requests. Request bodies are not read.
pub trait PlainHttp: Send + Sync + 'static {
    /// The answer; failures are answers too.
    fn answer(&self, request: Request<()>) -> BoxFuture<'static, Response<Body>>;
}

#[derive(Clone)]
struct Served {
    prefix: &'static str,
    by: Arc<dyn PlainHttp>,
}

/// Takes requests under a prefix out of the way to gRPC.
#[derive(Clone, Default)]
pub(super) struct BesideLayer(Option<Served>);

impl BesideLayer {
    pub(super) fn new(prefix: &'static str, by: Arc<dyn PlainHttp>) -> Self {
        Self(Some(Served { prefix, by }))
    }
}

impl<S> Layer<S> for BesideLayer {
    type Service = Beside<S>;
    fn layer(&self, inner: S) -> Beside<S> {
        Beside { inner, served: self.0.clone() }
    }
}

/// See [`BesideLayer`].
#[derive(Clone)]
pub(super) struct Beside<S> {
    inner: S,
    served: Option<Served>,
}

type Whole<R> = fn(Response<R>) -> Response<Body>;

fn whole<R>(response: Response<R>) -> Response<Body>
where
    R: hyper::body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    response.map(Body::new)
}

impl<S, B, R> Service<Request<B>> for Beside<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Send + 'static,
    R: hyper::body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<MapOk<S::Future, Whole<R>>, BoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match &self.served {
            Some(served) if request.uri().path().starts_with(served.prefix) => {
                let (head, _) = request.into_parts();
                let answer = served.by.answer(Request::from_parts(head, ()));
                Either::Right(answer.map(Ok).boxed())
            }
            Some(_) | None => Either::Left(self.inner.call(request).map_ok(whole as Whole<R>)),
        }
    }
}
