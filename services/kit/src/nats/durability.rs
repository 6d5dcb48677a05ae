//! In production the broker must keep three replicas and sync every write before it acknowledges; anything less is said
//! loudly and shown as a metric, because everything works without it until the day power fails.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::config::{NatsConfig, Profile};
use crate::error::Error;
use crate::lifecycle::Shutdown;

const EVERY: Duration = Duration::from_secs(300);
const MAX_ANSWER: usize = 1024 * 1024;

/// Checks now and every five minutes. Does nothing in the embedded profile.
pub fn watch_durability(config: &NatsConfig, profile: Profile, shutdown: &Shutdown) {
    match profile {
        Profile::Embedded => return,
        Profile::Production => {}
    }
    let (config, stop) = (config.clone(), shutdown.clone());
    shutdown.spawn("broker durability", async move {
        let gauge = crate::telemetry::meter()
            .u64_gauge("hilo.nats.fragile")
            .with_description("1 when the broker may lose acknowledged messages at a power cut")
            .build();
        loop {
            let weaknesses = weaknesses(&config).await;
            for weakness in &weaknesses {
                tracing::warn!(weakness, "THE BROKER IS NOT SET UP FOR PRODUCTION");
            }
            gauge.record(u64::from(!weaknesses.is_empty()), &[]);
            if !stop.sleep(EVERY).await {
                return;
            }
        }
    });
}

async fn weaknesses(config: &NatsConfig) -> Vec<&'static str> {
    let mut found = Vec::new();
    if config.replicas < 3 {
        found.push("nats.replicas is below 3: one lost disk loses the streams");
    }
    match &config.monitor_url {
        None => {
            found.push("nats.monitor_url is not set: whether the broker syncs every write cannot be checked")
        }
        Some(url) => match syncs_always(url).await {
            Ok(true) => {}
            Ok(false) => found.push("sync_interval is not `always`: a power cut loses acknowledged messages"),
            Err(error) => {
                error.log("reading the broker's settings");
                found.push("the broker's monitoring port does not answer: its sync setting is unknown");
            }
        },
    }
    found
}

async fn syncs_always(monitor_url: &str) -> Result<bool, Error> {
    let away = |error: String| {
        Error::unavailable("NATS_MONITOR", "the monitoring port does not answer").with_source(error)
    };
    let uri: http::Uri = format!("{}/varz", monitor_url.trim_end_matches('/'))
        .parse()
        .map_err(|error: http::uri::InvalidUri| away(error.to_string()))?;
    let client: Client<_, http_body_util::Empty<bytes::Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let answer = tokio::time::timeout(Duration::from_secs(5), async {
        let response = client.get(uri).await.map_err(|error| away(error.to_string()))?;
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER);
        Ok::<_, Error>(body.collect().await.map_err(|error| away(error.to_string()))?.to_bytes())
    })
    .await
    .map_err(|error| away(error.to_string()))??;
    Ok(reads_as_always(&answer))
}

/// `jetstream.config.sync_always` in the answer of `/varz` (nats-server 2.12 and later).
fn reads_as_always(varz: &[u8]) -> bool {
    let parsed: serde_json::Value = serde_json::from_slice(varz).unwrap_or_default();
    parsed.pointer("/jetstream/config/sync_always").and_then(serde_json::Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_explicit_always_counts() {
        assert!(reads_as_always(
            br#"{"jetstream":{"config":{"sync_interval":120000000000,"sync_always":true}}}"#
        ));
        assert!(!reads_as_always(br#"{"jetstream":{"config":{"sync_interval":120000000000}}}"#));
        assert!(!reads_as_always(b"rubbish"));
    }
}
