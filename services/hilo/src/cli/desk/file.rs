//! Files of the desk: an upload in pieces that goes on after a lost answer, a download by its signed link.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::cli::{Exit, Failure};

/// Bytes of a piece.
pub(super) const PIECE: usize = 1024 * 1024;
/// Largest file that is fetched: what a mail may hold.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What a link brings. `url` is a path on `endpoint`, or whole.
pub(super) async fn fetch(endpoint: &str, url: &str) -> Result<Vec<u8>, Failure> {
    let whole = if url.starts_with('/') {
        format!("{}{url}", endpoint.trim_end_matches('/'))
    } else {
        url.to_owned()
    };
    let uri: http::Uri = whole.parse().map_err(|_| failed("the link is no URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(failed("this desk fetches over http:// only"));
    }
    let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client
        .get(uri)
        .await
        .map_err(|_| Failure::unavailable("NOBODY_ANSWERS", "nothing answers the link"))?;
    if !answer.status().is_success() {
        return Err(failed(&format!("the link was answered with {}", answer.status())));
    }
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    Ok(body.map_err(|_| failed("the file broke off or is too large"))?.to_bytes().to_vec())
}

fn failed(text: &str) -> Failure {
    Failure::new(Exit::Failed, "DOWNLOAD_FAILED", text.to_owned())
}
