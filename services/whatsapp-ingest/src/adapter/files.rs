//! Files at the Graph API: what a file is, its bytes, and the upload of one of ours.
//!
//! An address is data out of an answer: the token goes to hosts that the configuration names, over TLS, and never along a redirect.
//! Source: Meta, "Media" of the Cloud API (June 2026).

use std::time::Duration;

use bytes::Bytes;
use hilo_kit::config::Secret;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Client, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

use super::graph::{ANSWER_BYTES, Graph, broken, refusal, unread, whole};
use super::version::VERSION;
use crate::domain::json::{error_of, object, text, whole as number};
use crate::domain::media::Trouble;
use crate::domain::send::Outcome;
use crate::domain::unfit::Unfit;

/// Meta's hosts for files refuse callers that do not say who they are.
const AGENT: &str = concat!("hilo/", env!("CARGO_PKG_VERSION"));
/// Longest time without a byte.
const STALL: Duration = Duration::from_secs(30);

/// What Meta tells of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Where it is, for five minutes.
    pub url: Url,
    /// Its type.
    pub media_type: String,
    /// SHA-256, lower-case hex; may be empty.
    pub sha256: String,
    /// Size in bytes.
    pub size: Option<u64>,
}

/// Why there is no answer with what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// What it means.
    pub trouble: Trouble,
    /// True when Meta answered with an error: too many of them and it shuts us out.
    pub error_answer: bool,
}

impl From<Trouble> for Missed {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, error_answer: false }
    }
}

/// Fetches and uploads files.
#[derive(Clone, Debug)]
pub struct Files {
    graph: Graph,
    hosts: Vec<String>,
}

impl Files {
    /// At this Graph API; `hosts` are those that files may be fetched from, each with all below it.
    pub fn new(graph: Graph, hosts: &[String]) -> Self {
        Self { graph, hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect() }
    }

    /// True when the token may go there: a host of the configuration over TLS, or the very place of the Graph API.
    fn may_ask(&self, url: &Url) -> bool {
        let base = self.graph.base();
        let place = |url: &Url| {
            (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default())
        };
        let plain = url.username().is_empty() && url.password().is_none();
        let Some(host) = url.host_str().map(str::to_ascii_lowercase) else { return false };
        let listed = self.hosts.iter().any(|known| {
            host == *known || host.strip_suffix(known.as_str()).is_some_and(|below| below.ends_with('.'))
        });
        let tls = url.scheme() == "https" && url.port_or_known_default() == Some(443);
        plain && ((listed && tls) || place(url) == place(base))
    }

    /// What Meta tells of a file of a customer.
    ///
    /// # Errors
    /// [`Missed`].
    pub async fn info(&self, phone_number_id: &str, media_id: &str, token: &Secret) -> Result<Info, Missed> {
        let plain = |id: &str| {
            (1..=200).contains(&id.len())
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        if !plain(media_id) || !plain(phone_number_id) {
            return Err(Trouble::Gone.into());
        }
        let mut url = self.graph.url(&[VERSION, media_id]).ok_or(Trouble::NotAsked)?;
        url.query_pairs_mut().append_pair("phone_number_id", phone_number_id);
        let answer = asked(self.client().get(url), token).await?;
        let answer: Value = match whole(answer, ANSWER_BYTES).await {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| Trouble::Away)?,
            Err(_) => return Err(Trouble::Away.into()),
        };
        let url: Url = text(&answer, "url").parse().map_err(|_| Trouble::AddressRefused)?;
        Ok(Info {
            url,
            media_type: text(&answer, "mime_type"),
            sha256: text(&answer, "sha256").to_ascii_lowercase(),
            size: number(&answer, "file_size").and_then(|size| size.try_into().ok()),
        })
    }

    /// The bytes at an address, at most `max` of them; no more memory is taken than that.
    ///
    /// # Errors
    /// [`Missed`].
    pub async fn download(&self, url: &Url, token: &Secret, max: u64) -> Result<Bytes, Missed> {
        if !self.may_ask(url) {
            return Err(Trouble::AddressRefused.into());
        }
        let mut answer = asked(self.client().get(url.clone()), token).await?;
        if answer.content_length().is_some_and(|length| length > max) {
            return Err(Trouble::TooLarge.into());
        }
        // As many as were asked for, or as are announced: a buffer that grows holds more than it has room for.
        let length = answer.content_length().unwrap_or(max);
        let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(|_| Trouble::TooLarge)?);
        loop {
            let chunk = tokio::time::timeout(STALL, answer.chunk()).await;
            match chunk.map_err(|_| Trouble::Away)?.map_err(|_| Trouble::Away)? {
                Some(chunk) if bytes.len() as u64 + chunk.len() as u64 > max => {
                    return Err(Trouble::TooLarge.into());
                }
                Some(chunk) => bytes.extend_from_slice(&chunk),
                None => return Ok(bytes.into()),
            }
        }
    }

    fn client(&self) -> &Client {
        self.graph.client()
    }
}

async fn asked(request: RequestBuilder, token: &Secret) -> Result<Response, Missed> {
    // The whole time is the caller's; here only the head of the answer is waited for.
    let request = request.bearer_auth(token.expose()).header(reqwest::header::USER_AGENT, AGENT);
    let sent = request.timeout(Duration::from_secs(3600)).send();
    let answer = tokio::time::timeout(STALL, sent).await.map_err(|_| Trouble::Away)?;
    let answer = answer.map_err(|_| Trouble::Away)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    // A redirect would carry the token, or us, elsewhere.
    if status.is_redirection() {
        return Err(Trouble::AddressRefused.into());
    }
    let answer = whole(answer, ANSWER_BYTES).await.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Err(Missed { trouble: refused(status, &answer.unwrap_or(Value::Null)), error_answer: true })
}

/// What a refusal means: of no such object Meta says 100 with the sub-code 33, or nothing but 404.
fn refused(status: StatusCode, answer: &Value) -> Trouble {
    let error = object(answer, "error");
    let (code, _) = error_of(error);
    let no_object = code == 100 || (code == 0 && status.is_client_error());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => Trouble::Refused,
        StatusCode::NOT_FOUND | StatusCode::GONE => Trouble::Gone,
        status if status.is_server_error() => Trouble::Away,
        _ if no_object => Trouble::Gone,
        _ => Trouble::Refused,
    }
}

/// A file of ours to be uploaded.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its type.
    pub media_type: String,
    /// Its name.
    pub file_name: String,
}

impl Files {
    /// Uploads a file for messages of this number; Meta's id of it lives 30 days.
    ///
    /// # Errors
    /// Never a doubt: a file that was uploaded twice is one too many at Meta and nothing to the customer.
    pub async fn upload(&self, number: &str, token: &Secret, file: Upload) -> Result<String, Outcome> {
        let length = file.bytes.len() as u64;
        let part = Part::stream_with_length(Body::from(file.bytes), length).file_name(file.file_name);
        let part = part.mime_str(&file.media_type).map_err(|_| {
            let text = "its media type is none".to_owned();
            Outcome::Unsendable { why: Unfit::TypeRefused, text }
        })?;
        let form = Form::new()
            .text("messaging_product", "whatsapp")
            .text("type", file.media_type)
            .part("file", part);
        let url = self
            .graph
            .url(&[VERSION, number, "media"])
            .ok_or_else(|| not_uploaded("the number has no usable id"))?;
        let sent = self.client().post(url).bearer_auth(token.expose()).multipart(form);
        let answer = match sent.timeout(UPLOAD).send().await {
            Ok(answer) => answer,
            Err(error) => return Err(certain(broken(&error))),
        };
        let status = answer.status();
        let bytes = whole(answer, ANSWER_BYTES).await.map_err(|why| certain(unread(status, why)))?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let id = text(&answer, "id");
        if status.is_success() && !id.is_empty() { Ok(id) } else { Err(certain(refusal(status, &answer))) }
    }
}

fn not_uploaded(text: impl Into<String>) -> Outcome {
    Outcome::NotSent { reason: "MEDIA_NOT_UPLOADED", text: text.into() }
}

/// What is a doubt about a message is none about a file.
fn certain(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::NoAnswer(text) => not_uploaded(text),
        other @ (Outcome::Accepted { .. }
        | Outcome::Refused { .. }
        | Outcome::NotSent { .. }
        | Outcome::Unsendable { .. }) => other,
    }
}

/// Longest time for an upload: 100 MB over a slow line.
const UPLOAD: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::GraphConfig;

    fn files(base: &str) -> Files {
        hilo_kit::install_crypto();
        let config = GraphConfig { base_url: base.into(), ..GraphConfig::default() };
        Files::new(Graph::new(&config).unwrap(), &["fbsbx.com".to_owned(), "Lookaside.Example".to_owned()])
    }

    #[test]
    fn the_token_goes_nowhere_but_to_listed_hosts() {
        let real = files("https://graph.facebook.com");
        let here = files("http://127.0.0.1:9999");
        for good in [
            "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1",
            "https://fbsbx.com/x",
            "https://LOOKASIDE.fbsbx.com/x",
            "https://lookaside.example/x",
            "https://graph.facebook.com/v25.0/x",
        ] {
            assert!(real.may_ask(&good.parse().unwrap()), "{good}");
        }
        assert!(here.may_ask(&"http://127.0.0.1:9999/x".parse().unwrap()));
        for bad in [
            "http://lookaside.fbsbx.com/x",
            "https://lookaside.fbsbx.com:8443/x",
            "https://notfbsbx.com/x",
            "https://fbsbx.com.evil.example/x",
            "https://evil.example/fbsbx.com",
            "https://fbsbx.com@evil.example/x",
            "https://user@fbsbx.com/x",
            "https://evil.example#fbsbx.com",
            "http://127.0.0.1:9999/x",
            "https://169.254.169.254/latest",
            "file:///etc/passwd",
        ] {
            assert!(!real.may_ask(&bad.parse().unwrap()), "{bad}");
        }
        assert!(!here.may_ask(&"http://127.0.0.1:9998/x".parse().unwrap()));
        assert!(!here.may_ask(&"http://localhost:9999/x".parse().unwrap()));
    }

    #[test]
    fn refusals_say_whether_the_file_or_we_are_the_reason() {
        let code = |code: i64| json!({"error": {"code": code}});
        let table = [
            (400, code(100), Trouble::Gone),
            (404, Value::Null, Trouble::Gone),
            (410, Value::Null, Trouble::Gone),
            (400, Value::Null, Trouble::Gone),
            (401, code(190), Trouble::Refused),
            (400, code(190), Trouble::Refused),
            (429, code(4), Trouble::Refused),
            (400, code(131_052), Trouble::Refused),
            (500, code(1), Trouble::Away),
            (503, Value::Null, Trouble::Away),
        ];
        for (status, answer, expected) in table {
            assert_eq!(
                refused(StatusCode::from_u16(status).unwrap(), &answer),
                expected,
                "{status} {answer}"
            );
        }
    }
}
