//! Serves signed links over plain HTTP: always saved, never run, unless it is a plain image that was asked for in the page.
//!
//! Whole downloads are hashed on their way and cut before their last bytes when the content is not what its name says.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use hilo_kit::clock;
use hilo_kit::download::{self, Link, Links, Refused};
use hilo_kit::error::Error;
use hilo_kit::grpc::PlainHttp;
use hilo_kit::objects::{Digest256, Objects};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;

/// Downloads at once; each holds one piece in memory.
const MAX_DOWNLOADS: usize = 128;
/// Size of a piece.
const PIECE: usize = 256 * 1024;
/// Enough to recognise an image.
const HEAD: usize = 16;

/// Answers links.
#[derive(Clone, Debug)]
pub(crate) struct Downloads {
    objects: Objects,
    links: Links,
    free: Arc<Semaphore>,
}

impl Downloads {
    /// Serves objects by links.
    pub(crate) fn new(objects: Objects, links: Links) -> Self {
        Self { objects, links, free: Arc::new(Semaphore::new(MAX_DOWNLOADS)) }
    }

    async fn serve(self, request: Request<()>) -> Response<Body> {
        let head_only = match *request.method() {
            Method::GET => false,
            Method::HEAD => true,
            _ => return refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"),
        };
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let link = match self.links.check(path, query, clock::wall().unix_timestamp()) {
            Ok(link) => link,
            Err(Refused::Altered) => return refusal(StatusCode::FORBIDDEN, "this link is not valid"),
            Err(Refused::Expired) => return refusal(StatusCode::FORBIDDEN, "this link has expired"),
        };
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many downloads at once");
        };
        match self.file(&link, request.headers(), head_only, permit).await {
            Ok(response) => response,
            Err(error) => {
                error.log("a download");
                refusal(StatusCode::SERVICE_UNAVAILABLE, "the file cannot be read now")
            }
        }
    }

    async fn file(
        &self,
        link: &Link,
        headers: &HeaderMap,
        head_only: bool,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Error> {
        let Some(size) = self.objects.size(link.sha256).await? else {
            return Ok(refusal(StatusCode::NOT_FOUND, "the file is not there any more"));
        };
        let begins =
            if link.inline { self.objects.read_at(link.sha256, 0, HEAD).await? } else { Bytes::new() };
        let link = Link { inline: link.inline && looks_like(&link.media_type, &begins), ..link.clone() };
        let tag = format!("\"{}\"", link.sha256);
        let (status, first, length) = match range(headers, &tag, size) {
            Ranged::Whole => (StatusCode::OK, 0, size),
            Ranged::Part(first, length) => (StatusCode::PARTIAL_CONTENT, first, length),
            Ranged::Outside => {
                let mut response = refusal(StatusCode::RANGE_NOT_SATISFIABLE, "outside of the file");
                insert(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
                return Ok(response);
            }
        };
        let body = if head_only {
            Body::empty()
        } else {
            Body::new(StreamBody::new(self.pieces(link.sha256, first, length, length == size, permit)))
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        // Declared types are a stranger's words; only what is shown needs one.
        let kind = if link.inline { link.media_type.as_str() } else { "application/octet-stream" };
        insert(&mut response, header::CONTENT_TYPE, kind);
        insert(&mut response, header::CONTENT_DISPOSITION, &download::disposition(&link));
        insert(&mut response, header::CONTENT_LENGTH, &length.to_string());
        insert(&mut response, header::ACCEPT_RANGES, "bytes");
        insert(&mut response, header::ETAG, &tag);
        if status == StatusCode::PARTIAL_CONTENT {
            let last = (first + length).saturating_sub(1);
            insert(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
        }
        harmless(response.headers_mut());
        Ok(response)
    }

    fn pieces(
        &self,
        digest: Digest256,
        first: u64,
        length: u64,
        whole: bool,
        permit: OwnedSemaphorePermit,
    ) -> impl futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + use<> {
        let state = Reading {
            objects: self.objects.clone(),
            digest,
            at: first,
            left: length,
            hash: whole.then(Sha256::new),
            _permit: permit,
        };
        futures::stream::try_unfold(state, |mut state| async move {
            let piece = state.next().await?;
            Ok(piece.map(|piece| (Frame::data(piece), state)))
        })
    }
}

impl PlainHttp for Downloads {
    fn answer(&self, request: Request<()>) -> BoxFuture<'static, Response<Body>> {
        self.clone().serve(request).boxed()
    }
}

/// A download under way.
struct Reading {
    objects: Objects,
    digest: Digest256,
    at: u64,
    left: u64,
    /// Of a whole download.
    hash: Option<Sha256>,
    _permit: OwnedSemaphorePermit,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, std::io::Error> {
        if self.left == 0 {
            return Ok(None);
        }
        let wanted = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let piece =
            self.objects.read_at(self.digest, self.at, wanted).await.map_err(std::io::Error::other)?;
        if piece.len() < wanted {
            return Err(std::io::Error::other("the object is shorter than it was"));
        }
        let length = piece.len() as u64;
        self.at += length;
        self.left -= length;
        if let Some(hash) = &mut self.hash {
            hash.update(&piece);
            if self.left == 0 && hash.clone().finalize().as_slice() != self.digest.0.as_slice() {
                let error = Error::corrupt("OBJECT_CORRUPT", format!("object {} is damaged", self.digest));
                error.log("a download");
                return Err(std::io::Error::other("the object is damaged"));
            }
        }
        Ok(Some(piece))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ranged {
    Whole,
    /// First byte and length.
    Part(u64, u64),
    Outside,
}

/// One byte range (RFC 9110 section 14.1.2). Several, malformed ones and ones for another content are ignored, as it allows.
fn range(headers: &HeaderMap, tag: &str, size: u64) -> Ranged {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text(header::IF_RANGE).is_some_and(|wanted| wanted != tag) {
        return Ranged::Whole;
    }
    let spec = text(header::RANGE).and_then(|range| range.strip_prefix("bytes="));
    let Some((first, last)) = spec.and_then(|spec| spec.split_once('-')) else { return Ranged::Whole };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            None => Ranged::Whole,
            Some(0) => Ranged::Outside,
            Some(length) => Ranged::Part(size.saturating_sub(length), length.min(size)),
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), _) if first >= size && (last.is_empty() || number(last).is_some()) => {
                Ranged::Outside
            }
            (Some(first), None) if last.is_empty() => Ranged::Part(first, size - first),
            (Some(first), Some(last)) if last >= first => {
                Ranged::Part(first, (last.saturating_add(1)).min(size) - first)
            }
            _ => Ranged::Whole,
        },
    }
}

/// True when the content begins as its type does: a page named `image/png` is not shown.
fn looks_like(media_type: &str, begins: &[u8]) -> bool {
    match media_type {
        "image/png" => begins.starts_with(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg" => begins.starts_with(b"\xff\xd8\xff"),
        "image/gif" => begins.starts_with(b"GIF87a") || begins.starts_with(b"GIF89a"),
        "image/webp" => begins.starts_with(b"RIFF") && begins.get(8..12) == Some(b"WEBP".as_slice()),
        _ => false,
    }
}

fn refusal(status: StatusCode, text: &'static str) -> Response<Body> {
    let body = http_body_util::Full::new(Bytes::from_static(text.as_bytes()));
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    insert(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    if status == StatusCode::METHOD_NOT_ALLOWED {
        insert(&mut response, header::ALLOW, "GET, HEAD");
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        insert(&mut response, header::RETRY_AFTER, "1");
    }
    harmless(response.headers_mut());
    response
}

/// Nothing here may run, be framed with rights, be kept, or tell where it was asked from.
fn harmless(headers: &mut HeaderMap) {
    const SAFE: [(&str, &str); 5] = [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cache-control", "private, no-store"),
        ("referrer-policy", "no-referrer"),
        // Desks live on another origin and show images from here.
        ("cross-origin-resource-policy", "cross-origin"),
    ];
    for (name, value) in SAFE {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_a_table() {
        let rows = [
            (None, None, Ranged::Whole),
            (Some("bytes=0-3"), None, Ranged::Part(0, 4)),
            (Some("bytes=4-"), None, Ranged::Part(4, 6)),
            (Some("bytes=8-99"), None, Ranged::Part(8, 2)),
            (Some("bytes=-3"), None, Ranged::Part(7, 3)),
            (Some("bytes=-99"), None, Ranged::Part(0, 10)),
            (Some("bytes=10-"), None, Ranged::Outside),
            (Some("bytes=-0"), None, Ranged::Outside),
            (Some("bytes=5-3"), None, Ranged::Whole),
            (Some("bytes=0-1,4-5"), None, Ranged::Whole),
            (Some("bytes=99999999999999999999-"), None, Ranged::Whole),
            (Some("lines=0-1"), None, Ranged::Whole),
            (Some("bytes=0-3"), Some("\"x\""), Ranged::Part(0, 4)),
            (Some("bytes=0-3"), Some("\"y\""), Ranged::Whole),
        ];
        for (asked, if_range, expected) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::RANGE, asked), (header::IF_RANGE, if_range)] {
                if let Some(value) = value {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            assert_eq!(range(&headers, "\"x\"", 10), expected, "{asked:?} {if_range:?}");
        }
    }

    #[test]
    fn an_image_is_what_it_begins_as() {
        assert!(looks_like("image/png", b"\x89PNG\r\n\x1a\n...."));
        assert!(looks_like("image/webp", b"RIFF....WEBPVP8 "));
        assert!(!looks_like("image/png", b"<html><script>"));
        assert!(!looks_like("image/svg+xml", b"<svg"));
    }
}
