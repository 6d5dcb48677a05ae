//! Posting webhooks: in order or not, several times or once, again and again until the answer is 200.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Event, body, sign};
use crate::config::{Delivery, Retry};
use crate::record::Attempt;
use crate::world::Core;

type Http = Client<HttpConnector, Full<Bytes>>;

/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;
/// Characters of an answer that are written down.
const KEPT_ANSWER: usize = 300;

/// A POST on its way, with all its tries.
struct Post {
    id: u64,
    app: String,
    bytes: Bytes,
    labels: Vec<String>,
}

/// Takes events from the queue and posts them, until the simulator stops.
pub(crate) async fn run(core: Arc<Core>) {
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let mut slots = (0, Arc::new(Semaphore::new(0)));
    let mut rng = None;
    loop {
        core.outbox.wake.notified().await;
        loop {
            let delivery = core.world.lock().behaviour.delivery.clone();
            if delivery.hold {
                break;
            }
            if delivery.wait_ms > 0 && !core.outbox.queue.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(delivery.wait_ms)).await;
            }
            let mut events = std::mem::take(&mut *core.outbox.queue.lock());
            if events.is_empty() {
                break;
            }
            if delivery.shuffle {
                let rng = rng.get_or_insert_with(|| rand::rngs::StdRng::seed_from_u64(delivery.seed));
                events.shuffle(rng);
            }
            if slots.0 != delivery.in_flight {
                slots = (delivery.in_flight, Arc::new(Semaphore::new(delivery.in_flight.max(1))));
            }
            dispatch(&core, &http, &slots.1, &delivery, events).await;
        }
    }
}

async fn dispatch(
    core: &Arc<Core>,
    http: &Http,
    slots: &Arc<Semaphore>,
    delivery: &Delivery,
    events: Vec<Event>,
) {
    for batch in batches(events, delivery.batch.max(1)) {
        let Some(app) = batch.first().map(|event| event.app.clone()) else { continue };
        if core.world.lock().app(&app).is_none_or(|app| app.callback.is_none()) {
            core.world.lock().record.totals.unsubscribed += batch.len() as u64;
            core.outbox.done(batch.len());
            continue;
        }
        let Ok(permit) = Arc::clone(slots).acquire_owned().await else { return };
        let post = Post {
            id: core.world.lock().fresh(),
            app,
            bytes: Bytes::from(sign::body(&body::body(&batch, delivery.shape), delivery.escape)),
            labels: batch.iter().map(|event| event.label.clone()).collect(),
        };
        let (inner, http, slots, delivery) =
            (Arc::clone(core), http.clone(), Arc::clone(slots), delivery.clone());
        core.spawn(async move {
            let count = post.labels.len();
            insist(&inner, &http, &slots, permit, &delivery, post).await;
            inner.outbox.done(count);
        });
    }
}

/// Runs of events of one app, none longer than `most`. The order of an app's events stays.
fn batches(events: Vec<Event>, most: usize) -> Vec<Vec<Event>> {
    let mut batches: Vec<Vec<Event>> = Vec::new();
    for event in events {
        let open =
            batches.iter_mut().rev().find(|batch| batch.first().is_some_and(|first| first.app == event.app));
        match open {
            Some(batch) if batch.len() < most => batch.push(event),
            _ => batches.push(vec![event]),
        }
    }
    batches
}

/// Posts until every copy is answered with 200 or the time is over.
async fn insist(
    core: &Arc<Core>,
    http: &Http,
    slots: &Arc<Semaphore>,
    permit: OwnedSemaphorePermit,
    delivery: &Delivery,
    post: Post,
) {
    let mut permit = Some(permit);
    let mut open: Vec<usize> = (0..delivery.copies.max(1)).collect();
    let (mut attempt, mut waited, mut pause) = (1, 0.0, None);
    loop {
        let tries = open.iter().map(|copy| try_once(core, http, delivery, &post, attempt, *copy));
        let answered = join_all(tries).await;
        open = open.iter().zip(answered).filter(|(_, good)| !good).map(|(copy, _)| *copy).collect();
        drop(permit.take());
        if open.is_empty() {
            return;
        }
        let retry = core.world.lock().behaviour.retry.clone();
        let next = next_pause(&retry, pause);
        waited += next;
        if waited > retry.give_up_ms as f64 {
            core.world.lock().record.totals.given_up += 1;
            return;
        }
        pause = Some(next);
        tokio::time::sleep(Duration::from_secs_f64(next / 1_000.0 / retry.time_scale.max(0.001))).await;
        attempt += 1;
        permit = Arc::clone(slots).acquire_owned().await.ok();
    }
}

/// The pause before the next try, in milliseconds of Meta's time.
fn next_pause(retry: &Retry, last: Option<f64>) -> f64 {
    let next = last.map_or(retry.first_ms as f64, |last| last * retry.factor);
    next.min(retry.ceiling_ms as f64)
}

async fn try_once(
    core: &Arc<Core>,
    http: &Http,
    delivery: &Delivery,
    post: &Post,
    attempt: u32,
    copy: usize,
) -> bool {
    let (at_ms, target) = {
        let world = core.world.lock();
        let target = world.app(&post.app).and_then(|app| Some((app.callback.clone()?, app.secret.clone())));
        (world.now_ms(), target)
    };
    let begun = Instant::now();
    let limit = Duration::from_millis(delivery.timeout_ms);
    let outcome = match target {
        None => Err("the callback was removed".to_owned()),
        Some((callback, secret)) => {
            let sending = send(http, &callback, &secret, post.bytes.clone());
            tokio::time::timeout(limit, sending).await.unwrap_or_else(|_| Err("timeout".to_owned()))
        }
    };
    let (status, answer) =
        outcome.as_ref().ok().cloned().map_or((None, String::new()), |(of, text)| (Some(of), text));
    let good = status == Some(200);
    core.world.lock().record.attempt(Attempt {
        seq: 0,
        post: post.id,
        attempt,
        copy,
        at_ms,
        took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        status,
        answer,
        error: outcome.err(),
        bytes: post.bytes.len(),
        events: post.labels.clone(),
    });
    good
}

/// Status of the answer and the beginning of its body.
async fn send(http: &Http, callback: &str, secret: &str, bytes: Bytes) -> Result<(u16, String), String> {
    let request = Request::post(callback)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "facebookexternalua")
        .header(sign::HEADER, sign::signature(secret, &bytes))
        .body(Full::new(bytes))
        .map_err(|error| error.to_string())?;
    let answer = http.request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    // Read to the end, so that the connection can be used again; a body that breaks off does not undo the status.
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map(|body| body.to_bytes());
    let text = body.map(|body| String::from_utf8_lossy(&body).chars().take(KEPT_ANSWER).collect());
    Ok((status, text.unwrap_or_default()))
}

/// The verify handshake: Meta asks the callback to give back a challenge.
///
/// <https://developers.facebook.com/docs/graph-api/webhooks/getting-started#verification-requests>
pub(crate) async fn handshake(callback: &str, verify_token: &str) -> Result<(), String> {
    let challenge = rand::random::<u32>().to_string();
    let joint = if callback.contains('?') { '&' } else { '?' };
    let token: String = verify_token.bytes().map(percent).collect();
    let url =
        format!("{callback}{joint}hub.mode=subscribe&hub.challenge={challenge}&hub.verify_token={token}");
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let uri: Uri = url.parse().map_err(|_| "the callback is no URL".to_owned())?;
    let asking = http.get(uri);
    let answer =
        tokio::time::timeout(Duration::from_secs(20), asking).await.map_err(|_| "timeout".to_owned())?;
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body =
        Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
    if status == 200 && body.to_bytes() == challenge.as_bytes() {
        Ok(())
    } else {
        Err(format!("the callback answered {status} and not the challenge"))
    }
}

fn percent(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// Whether a URL stays on this machine; nothing else is ever called.
pub(crate) fn loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    uri.scheme_str() == Some("http")
        && (host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_called() {
        for (url, good) in [
            ("http://127.0.0.1:80/x", true),
            ("http://localhost/x", true),
            ("http://[::1]:8/x", true),
            ("http://10.0.0.1/x", false),
            ("http://127.0.0.1.example.org/x", false),
            ("https://127.0.0.1/x", false),
            ("nonsense", false),
        ] {
            assert_eq!(loopback(url), good, "{url}");
        }
    }

    #[test]
    fn pauses_grow_to_the_ceiling() {
        let retry = Retry { first_ms: 10, factor: 3.0, ceiling_ms: 50, ..Retry::default() };
        let mut pauses = vec![next_pause(&retry, None)];
        while pauses.len() < 4 {
            pauses.push(next_pause(&retry, pauses.last().copied()));
        }
        assert_eq!(pauses, [10.0, 30.0, 50.0, 50.0]);
    }
}
