//! Consumers: acknowledgement after the effect, redelivery, order of a held key, panic, poison, replay.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hilo_kit::Error;
use hilo_kit::consumer::{BatchHandler, Consumer, ConsumerSpec, Delivery, Outcome};
use hilo_kit::dead::DeadLetters;
use hilo_kit::lifecycle::Shutdown;
use hilo_kit::nats::StreamKind;
use hilo_kit::outbox::{Relay, RelayConfig};
use hilo_test_support::eventually;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::parts::{DEADLINE, Parts, append, count, inbound, parts};

/// What happens when a message of a given payload is tried for the n-th time (from 1).
type Script = Box<dyn Fn(i64, u32) -> Outcome + Send + Sync>;

struct Scripted {
    script: Script,
    tries: Mutex<HashMap<i64, u32>>,
    done: Mutex<Vec<(Uuid, i64)>>,
}

impl Scripted {
    fn new(script: impl Fn(i64, u32) -> Outcome + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { script: Box::new(script), tries: Mutex::default(), done: Mutex::default() })
    }

    fn one(&self, delivery: &Delivery) -> Outcome {
        let number = delivery.sequence().unwrap();
        let attempt = {
            let mut tries = self.tries.lock();
            let attempt = tries.entry(number).or_default();
            *attempt += 1;
            *attempt
        };
        let outcome = (self.script)(number, attempt);
        if matches!(outcome, Outcome::Ack) {
            self.done.lock().push((delivery.key().unwrap(), number));
        }
        outcome
    }
}

#[async_trait]
impl BatchHandler for Scripted {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        batch.iter().map(|delivery| self.one(delivery)).collect()
    }
}

fn start(parts: &Parts, handler: Arc<Scripted>, shutdown: &Shutdown) -> Consumer {
    let spec = ConsumerSpec {
        // Long: what comes again only because the machine is slow would be one more try.
        ack_wait: Duration::from_secs(10),
        ..ConsumerSpec::new(StreamKind::Inbound, "attention-intake")
    };
    let sink = Arc::new(DeadLetters::new(parts.db.clone()));
    Consumer::spawn(parts.nats.clone(), spec, handler, sink, shutdown)
}

fn relay(parts: &Parts) {
    let config = RelayConfig::new("test", [StreamKind::Inbound]);
    Relay::spawn(parts.db.clone(), parts.nats.clone(), config, &parts.shutdown);
}

async fn drained(parts: &Parts) {
    eventually("the work queue is empty", DEADLINE, || async {
        let stream = parts.nats.jetstream().get_stream("HILO_INBOUND").await;
        stream.is_ok_and(|stream| stream.cached_info().state.messages == 0)
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_message_holds_back_its_key_and_nothing_else() {
    let parts = parts().await;
    relay(&parts);
    // Number 1 is busy at least six times, and until the other key is done; 2 and 3 are of the same key; 100 of another.
    let other_done = Arc::new(AtomicBool::new(false));
    let free = other_done.clone();
    let handler = Scripted::new(move |number, attempt| {
        let busy = number == 1 && (attempt <= 6 || !free.load(Ordering::SeqCst));
        if busy { Outcome::Busy } else { Outcome::Ack }
    });
    start(&parts, handler.clone(), &parts.shutdown);
    let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
    append(&parts.db, vec![inbound(a, 1), inbound(a, 2), inbound(a, 3), inbound(b, 100)]).await;
    eventually("the other key does not wait", DEADLINE, || async {
        handler.done.lock().first() == Some(&(b, 100))
    })
    .await
    .unwrap();
    other_done.store(true, Ordering::SeqCst);
    eventually("all are handled", DEADLINE, || async { handler.done.lock().len() == 4 }).await.unwrap();
    let done = handler.done.lock().clone();
    let of_a: Vec<i64> = done.iter().filter(|(key, _)| *key == a).map(|(_, number)| *number).collect();
    assert_eq!(of_a, vec![1, 2, 3]);
    drained(&parts).await;
    assert_eq!(count(&parts.db, "SELECT count(*) FROM kit.dead_letter").await, 0, "busy is never an attempt");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_message_is_found_in_its_batch_and_ends_as_a_dead_letter() {
    let parts = parts().await;
    let handler = Scripted::new(|number, _| {
        assert!(number != 13, "poison");
        Outcome::Ack
    });
    append(&parts.db, (1..=30).map(|number| inbound(Uuid::now_v7(), number)).collect()).await;
    relay(&parts);
    let consumer = start(&parts, handler.clone(), &parts.shutdown);
    consumer.confirmed().await;
    eventually("the others are handled", DEADLINE, || async { handler.done.lock().len() >= 29 })
        .await
        .unwrap();
    let dead = "SELECT count(*) FROM kit.dead_letter WHERE state = 'dead' AND reason = 'HANDLER_PANICKED'";
    eventually("the poison is buried", DEADLINE, || async { count(&parts.db, dead).await == 1 })
        .await
        .unwrap();
    drained(&parts).await;
    let attempts = handler.tries.lock()[&13];
    assert_eq!(attempts, 5, "as many tries as allowed");
    // Behind the acknowledgement.
    eventually("attempts of handled ones are forgotten", DEADLINE, || async {
        count(&parts.db, "SELECT count(*) FROM kit.attempt").await == 0
    })
    .await
    .unwrap();
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outages_are_waited_out_uncounted_and_invalid_messages_die_at_once() {
    let parts = parts().await;
    let handler = Scripted::new(|number, attempt| match number {
        1 if attempt <= 8 => Outcome::of(Error::unavailable("DATABASE_UNAVAILABLE", "away")),
        2 => Outcome::of(Error::corrupt("UNDECODABLE", "rubbish")),
        3 => Outcome::of(Error::duplicate("SEEN", "before")),
        _ => Outcome::Ack,
    });
    append(&parts.db, (1..=3).map(|number| inbound(Uuid::now_v7(), number)).collect()).await;
    relay(&parts);
    start(&parts, handler.clone(), &parts.shutdown);
    eventually("the first succeeds", DEADLINE, || async { handler.done.lock().iter().any(|(_, n)| *n == 1) })
        .await
        .unwrap();
    drained(&parts).await;
    let tries = handler.tries.lock().clone();
    assert_eq!((tries[&1], tries[&2], tries[&3]), (9, 1, 1));
    assert_eq!(
        count(&parts.db, "SELECT count(*) FROM kit.dead_letter WHERE reason = 'UNDECODABLE'").await,
        1
    );
    assert_eq!(count(&parts.db, "SELECT count(*) FROM kit.dead_letter").await, 1);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_survive_the_process_and_a_stopped_consumer_hands_its_messages_back() {
    let parts = parts().await;
    append(&parts.db, vec![inbound(Uuid::now_v7(), 1)]).await;
    relay(&parts);
    // Each "process" hangs in its try of the message, as one that is killed by it would.
    for turn in 0..6 {
        let shutdown = Shutdown::new();
        let (tried_tx, mut tried) = tokio::sync::mpsc::channel::<()>(1);
        let handler = Arc::new(Hanging(tried_tx));
        let spec = ConsumerSpec {
            ack_wait: Duration::from_millis(800),
            ..ConsumerSpec::new(StreamKind::Inbound, "attention-intake")
        };
        let sink = Arc::new(DeadLetters::new(parts.db.clone()));
        let nats = crate::parts::connect(&parts.server).await;
        Consumer::spawn(nats.clone(), spec, handler, sink, &shutdown);
        let buried = || async { count(&parts.db, "SELECT count(*) FROM kit.dead_letter").await == 1 };
        if turn < 5 {
            tokio::time::timeout(DEADLINE, tried.recv()).await.unwrap().unwrap();
            // The process dies: its tasks stop where they are, and nothing keeps the message alive at the broker.
            nats.client().drain().await.unwrap();
        } else {
            eventually("buried before another try", DEADLINE, buried).await.unwrap();
        }
        shutdown.begin();
    }
    let reason = "SELECT count(*) FROM kit.dead_letter WHERE reason = 'TOO_MANY_ATTEMPTS'";
    assert_eq!(count(&parts.db, reason).await, 1);
    drained(&parts).await;
    parts.stop().await;
}

struct Hanging(tokio::sync::mpsc::Sender<()>);

#[async_trait]
impl BatchHandler for Hanging {
    async fn handle(&self, _: &[Delivery]) -> Vec<Outcome> {
        let _ = self.0.send(()).await;
        std::future::pending().await
    }
}

/// Ends its process, as far as anybody can see, whenever a batch holds number 7.
struct Deadly {
    died: tokio::sync::mpsc::Sender<()>,
    done: Arc<Mutex<Vec<i64>>>,
}

#[async_trait]
impl BatchHandler for Deadly {
    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        let numbers: Vec<i64> = batch.iter().map(|delivery| delivery.sequence().unwrap()).collect();
        if numbers.contains(&7) {
            let _ = self.died.send(()).await;
            return std::future::pending().await;
        }
        self.done.lock().extend(numbers);
        batch.iter().map(|_| Outcome::Ack).collect()
    }
}

/// Guard: what a killed process may have tried is tried alone, so only the killer's own attempts are counted to their end.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_process_again_and_again_takes_no_other_along() {
    let parts = parts().await;
    append(&parts.db, (1..=20).map(|number| inbound(Uuid::now_v7(), number)).collect()).await;
    relay(&parts);
    let done = Arc::new(Mutex::new(Vec::new()));
    let buried = || async { count(&parts.db, "SELECT count(*) FROM kit.dead_letter").await > 0 };
    for _ in 0..20 {
        let shutdown = Shutdown::new();
        let (died, mut death) = tokio::sync::mpsc::channel::<()>(1);
        let handler = Arc::new(Deadly { died, done: done.clone() });
        let spec = ConsumerSpec {
            ack_wait: Duration::from_millis(800),
            ..ConsumerSpec::new(StreamKind::Inbound, "attention-intake")
        };
        let sink = Arc::new(DeadLetters::new(parts.db.clone()));
        let nats = crate::parts::connect(&parts.server).await;
        Consumer::spawn(nats.clone(), spec, handler, sink, &shutdown);
        let ended = eventually("the process dies or the killer is buried", DEADLINE, || async {
            !death.is_empty() || buried().await
        });
        ended.await.unwrap();
        if buried().await {
            break;
        }
        death.recv().await.unwrap();
        nats.client().drain().await.unwrap();
        shutdown.begin();
    }
    drained(&parts).await;
    let mut handled = done.lock().clone();
    handled.sort_unstable();
    handled.dedup();
    assert_eq!(handled.len(), 19, "{handled:?}");
    let dead = "SELECT count(*) FROM kit.dead_letter";
    assert_eq!(count(&parts.db, dead).await, 1, "the killer and nobody else");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_go_on_after_the_broker_was_killed_and_after_it_was_wiped() {
    let mut parts = parts().await;
    relay(&parts);
    let handler = Scripted::new(|_, _| Outcome::Ack);
    start(&parts, handler.clone(), &parts.shutdown);
    for round in 0..4 {
        append(&parts.db, vec![inbound(Uuid::now_v7(), round)]).await;
        eventually("the message arrives", DEADLINE, || async {
            handler.done.lock().iter().any(|(_, number)| *number == round)
        })
        .await
        .unwrap();
        if round == 2 {
            parts.server.wipe().unwrap();
        }
        parts.server.restart().await.unwrap();
    }
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_can_be_replayed() {
    let parts = parts().await;
    let healed = Arc::new(AtomicBool::new(false));
    let switch = healed.clone();
    let handler = Scripted::new(move |_, _| {
        if switch.load(Ordering::SeqCst) {
            Outcome::Ack
        } else {
            Outcome::Dead(Error::corrupt("UNDECODABLE", "rubbish"))
        }
    });
    append(&parts.db, vec![inbound(Uuid::now_v7(), 1)]).await;
    relay(&parts);
    start(&parts, handler.clone(), &parts.shutdown);
    let state = |state: &'static str| count(&parts.db, state);
    let dead = "SELECT count(*) FROM kit.dead_letter WHERE state = 'dead'";
    eventually("dead", DEADLINE, || async { state(dead).await == 1 }).await.unwrap();
    let replay = || {
        parts.db.read(|conn| {
            Box::pin(async move {
                sqlx::query("UPDATE kit.dead_letter SET state = 'replaying'").execute(conn).await?;
                Ok(())
            })
        })
    };
    replay().await.unwrap();
    eventually("dead again", DEADLINE, || async {
        state("SELECT count(*) FROM kit.dead_letter WHERE state = 'dead' AND attempts = 2").await == 1
    })
    .await
    .unwrap();
    healed.store(true, Ordering::SeqCst);
    replay().await.unwrap();
    eventually("replayed", DEADLINE, || async {
        state("SELECT count(*) FROM kit.dead_letter WHERE state = 'replayed'").await == 1
    })
    .await
    .unwrap();
    assert_eq!(handler.done.lock().len(), 1);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_another_is_not_buried_however_often_its_process_is_replaced() {
    let parts = parts().await;
    append(&parts.db, vec![inbound(Uuid::now_v7(), 1)]).await;
    relay(&parts);
    let deaths = 7;
    for life in 0..=deaths {
        let shutdown = Shutdown::new();
        let handler = Scripted::new(move |_, _| if life < deaths { Outcome::Busy } else { Outcome::Ack });
        start(&parts, handler.clone(), &shutdown);
        let buried = async || count(&parts.db, "SELECT count(*) FROM kit.dead_letter").await > 0;
        eventually("it is tried or buried", DEADLINE, || async {
            handler.tries.lock().contains_key(&1) || buried().await
        })
        .await
        .unwrap();
        assert!(!buried().await, "it killed nobody in life {life}");
        if life == deaths {
            drained(&parts).await;
            eventually("its attempts are forgotten", DEADLINE, || async {
                count(&parts.db, "SELECT count(*) FROM kit.attempt").await == 0
            })
            .await
            .unwrap();
        }
        shutdown.drain(Duration::from_secs(10)).await;
    }
    parts.stop().await;
}
