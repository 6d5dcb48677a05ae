//! The Graph API: one request, and what is certain after it. Every error says whether the message can have gone out.

use std::time::Duration;

use hilo_kit::config::Secret;
use hilo_kit::error::Error;
use reqwest::{Client, StatusCode, Url, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use super::version::VERSION;
use crate::config::GraphConfig;
use crate::domain::identity;
use crate::domain::json::{array, error_of, flag, object, text};
use crate::domain::send::Outcome;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// An idle connection is given up before the other side does: a request that meets a closed one is in doubt.
const IDLE: Duration = Duration::from_secs(15);
/// Longest answer, in bytes.
pub(super) const ANSWER_BYTES: usize = 64 * 1024;

/// Calls the Graph API.
#[derive(Clone, Debug)]
pub struct Graph {
    client: Client,
    base: Url,
}

/// The base address: HTTPS, or plain HTTP on this machine.
pub fn base_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let here = match url.host_str()? {
        "localhost" => true,
        host => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
    };
    let fits = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    ((url.scheme() == "https" || (url.scheme() == "http" && here)) && fits).then_some(url)
}

impl Graph {
    /// With these settings.
    ///
    /// # Errors
    /// `GRAPH_UNUSABLE`.
    pub fn new(config: &GraphConfig) -> Result<Self, Error> {
        let unusable = || Error::internal("GRAPH_UNUSABLE", "the client of the Graph API cannot be made");
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT)
            .timeout(Duration::from_secs(config.reply_seconds))
            .pool_idle_timeout(IDLE)
            // A redirect would carry the message, and perhaps the token, elsewhere.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| unusable().with_source(error))?;
        Ok(Self { client, base: base_url(&config.base_url).ok_or_else(unusable)? })
    }

    /// The address of these segments; `None` when one of them is no plain id or word.
    pub(super) fn url(&self, segments: &[&str]) -> Option<Url> {
        let plain = |segment: &&str| {
            !segment.is_empty()
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && !segment.starts_with('.')
        };
        if !segments.iter().all(plain) {
            return None;
        }
        let mut url = self.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(segments);
        Some(url)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Posts a message of the number.
    pub async fn send(&self, phone_number_id: &str, token: &Secret, body: &Value) -> Outcome {
        let unusable =
            || Outcome::NotSent { reason: "NUMBER_UNUSABLE", text: "the number has no usable id".into() };
        let Some(url) = self.url(&[VERSION, phone_number_id, "messages"]) else { return unusable() };
        let sent = self.client.post(url).bearer_auth(token.expose()).json(body).send().await;
        match sent {
            Ok(answer) => heard(answer).await,
            Err(error) => broken(&error),
        }
    }
}

/// Only a connection that never came about is proof that nothing went out.
pub(super) fn broken(error: &reqwest::Error) -> Outcome {
    if error.is_connect() || error.is_builder() {
        return Outcome::NotSent {
            reason: "GRAPH_UNREACHABLE",
            text: "the Graph API cannot be reached".into(),
        };
    }
    let text =
        if error.is_timeout() { "no answer in time" } else { "the connection broke before the answer" };
    Outcome::NoAnswer(text.to_owned())
}

async fn heard(answer: reqwest::Response) -> Outcome {
    let status = answer.status();
    match whole(answer, ANSWER_BYTES).await {
        Ok(body) => judge(status, &serde_json::from_slice(&body).unwrap_or(Value::Null)),
        Err(why) => unread(status, why),
    }
}

/// The body of an answer, at most `most` bytes of it, or why there is none.
pub(super) async fn whole(mut answer: reqwest::Response, most: usize) -> Result<Vec<u8>, &'static str> {
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= most => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err("the answer was too long"),
            Ok(None) => return Ok(body),
            Err(_) => return Err("the answer broke off"),
        }
    }
}

/// What an answer means.
fn judge(status: StatusCode, answer: &Value) -> Outcome {
    if status.is_success() {
        let id = array(answer, "messages").first().map(|message| text(message, "id")).unwrap_or_default();
        return match (id.is_empty(), flag(answer, "success")) {
            (false, _) => Outcome::Accepted { wamid: id, reached: identity::of_answer(answer).map(Box::new) },
            (true, true) => Outcome::Accepted { wamid: String::new(), reached: None },
            (true, false) => Outcome::NoAnswer("an answer without a message id".to_owned()),
        };
    }
    refusal(status, answer)
}

/// What an answer means that does not say that it was done.
pub(super) fn refusal(status: StatusCode, answer: &Value) -> Outcome {
    if answer.get("error").is_some_and(|error| error.get("code").and_then(Value::as_i64).is_some()) {
        let (code, text) = error_of(object(answer, "error"));
        return Outcome::Refused { code, text };
    }
    unread(status, "a refusal without a code")
}

/// The status alone: what the client did wrong was certainly not sent, what went wrong behind it may have been.
pub(super) fn unread(status: StatusCode, text: &str) -> Outcome {
    let text = format!("{text} (HTTP {})", status.as_u16());
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Refused { code: 190, text },
        StatusCode::TOO_MANY_REQUESTS => Outcome::Refused { code: 4, text },
        // No code of Meta's: a number of ours that is in no list.
        other if other.is_client_error() && other != StatusCode::REQUEST_TIMEOUT => {
            Outcome::Refused { code: -i32::from(other.as_u16()), text }
        }
        _ => Outcome::NoAnswer(text),
    }
}

#[cfg(test)]
mod tests {
    use hilo_proto::inbound::v1::WhatsAppIdentity;
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_are_https_or_of_this_machine() {
        for good in
            ["https://graph.facebook.com", "http://127.0.0.1:9", "http://[::1]:9/base/", "http://localhost:1"]
        {
            assert!(base_url(good).is_some(), "{good}");
        }
        for bad in [
            "http://graph.facebook.com",
            "ftp://127.0.0.1",
            "graph.facebook.com",
            "https://a@b",
            "https://a/?x=1",
        ] {
            assert!(base_url(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_certain_is_called_so() {
        let ok = StatusCode::OK;
        let bad = StatusCode::BAD_REQUEST;
        let broken = StatusCode::INTERNAL_SERVER_ERROR;
        let accepted = judge(ok, &json!({"messages": [{"id": "wamid.1"}]}));
        let of = |wamid: &str, reached| Outcome::Accepted { wamid: wamid.into(), reached };
        assert_eq!(accepted, of("wamid.1", None));
        let contacts = json!([{"input": "+525512345678", "wa_id": "5215512345678"}]);
        let named = judge(ok, &json!({"contacts": contacts, "messages": [{"id": "wamid.1"}]}));
        let reached = WhatsAppIdentity { wa_id: "5215512345678".into(), ..WhatsAppIdentity::default() };
        assert_eq!(named, of("wamid.1", Some(Box::new(reached))));
        assert_eq!(judge(ok, &json!({"success": true})), of("", None));
        assert!(matches!(judge(ok, &Value::Null), Outcome::NoAnswer(_)));
        let refused = json!({"error": {"code": 131_056, "message": "m", "error_data": {"details": "d"}}});
        let expected = Outcome::Refused { code: 131_056, text: "d".into() };
        assert_eq!(judge(bad, &refused), expected);
        assert_eq!(judge(broken, &refused), expected);
        assert!(matches!(judge(broken, &json!({"error": {}})), Outcome::NoAnswer(_)));
        assert!(matches!(judge(StatusCode::BAD_GATEWAY, &Value::Null), Outcome::NoAnswer(_)));
        assert!(matches!(judge(StatusCode::FOUND, &Value::Null), Outcome::NoAnswer(_)));
        assert!(matches!(judge(StatusCode::NOT_FOUND, &Value::Null), Outcome::Refused { code: -404, .. }));
        assert!(matches!(judge(StatusCode::UNAUTHORIZED, &Value::Null), Outcome::Refused { code: 190, .. }));
    }
}
