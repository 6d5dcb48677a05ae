//! Refusals that tonic makes by itself - a request that is no message of the call, one that is too large, a method that does not
//! exist - in the words of this house: a class of the closed set, a stable reason, details.
//!
//! tonic answers a malformed request as INTERNAL, which callers repeat and operators are woken by; it is the caller's mistake.

use std::task::{Context, Poll};

use futures::future::{MapOk, TryFutureExt};
use http::{HeaderMap, Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::error::{Error, to_status};

/// Every status of ours has it; tonic's own have none.
const DETAILS: &str = "grpc-status-details-bin";

/// Looks at the headers of every answer; a status that comes behind messages is not tonic's.
#[derive(Clone, Copy, Debug)]
pub(super) struct SaidLayer;

impl<S> Layer<S> for SaidLayer {
    type Service = Said<S>;
    fn layer(&self, inner: S) -> Said<S> {
        Said { inner }
    }
}

/// See [`SaidLayer`].
#[derive(Clone, Debug)]
pub(super) struct Said<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Said<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response<R>) -> Response<R>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.inner.call(request).map_ok(said::<R> as fn(Response<R>) -> Response<R>)
    }
}

fn said<R>(mut response: Response<R>) -> Response<R> {
    if let Some(error) = of_tonic(response.headers()) {
        // Only a value that is no header could fail, and ours are plain text.
        let _ = to_status(&error).add_header(response.headers_mut());
    }
    response
}

/// The refusal in our words, when it is one of tonic's own.
fn of_tonic(headers: &HeaderMap) -> Option<Error> {
    if headers.contains_key(DETAILS) {
        return None;
    }
    match Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes()) {
        Code::Internal => {
            Some(Error::invalid("MALFORMED_REQUEST", "the request is not a message of this call"))
        }
        Code::OutOfRange | Code::ResourceExhausted => {
            Some(Error::invalid("REQUEST_TOO_LARGE", "the request is larger than any message may be"))
        }
        Code::Unimplemented if !headers.contains_key(Status::GRPC_MESSAGE) => {
            Some(Error::internal("UNIMPLEMENTED", "there is no such method here"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::reason_of;

    fn answered(status: &Status) -> Status {
        let mut response = Response::new(());
        status.add_header(response.headers_mut()).unwrap();
        Status::from_header_map(said(response).headers()).unwrap()
    }

    #[test]
    fn what_tonic_refuses_gets_class_and_reason_and_our_own_stays_as_it_is() {
        let rows = [
            (
                Status::internal("failed to decode Protobuf message"),
                Code::InvalidArgument,
                Some("MALFORMED_REQUEST"),
            ),
            (Status::out_of_range("too large"), Code::InvalidArgument, Some("REQUEST_TOO_LARGE")),
            (Status::resource_exhausted("inflated"), Code::InvalidArgument, Some("REQUEST_TOO_LARGE")),
            (Status::new(Code::Unimplemented, ""), Code::Unimplemented, Some("UNIMPLEMENTED")),
            (Status::unimplemented("compressed with `zstd`"), Code::Unimplemented, None),
            (Status::not_found("unknown service"), Code::NotFound, None),
            (to_status(&Error::internal("DATABASE_ERROR", "no")), Code::Internal, Some("DATABASE_ERROR")),
            (to_status(&Error::exhausted("LOGIN_BUSY", "no")), Code::ResourceExhausted, Some("LOGIN_BUSY")),
        ];
        for (before, code, reason) in rows {
            let after = answered(&before);
            assert_eq!((after.code(), reason_of(&after).as_deref()), (code, reason), "{before:?}");
        }
        let mut fine = Response::new(());
        Status::ok("").add_header(fine.headers_mut()).unwrap();
        assert_eq!(Status::from_header_map(said(fine).headers()).unwrap().code(), Code::Ok);
    }
}
