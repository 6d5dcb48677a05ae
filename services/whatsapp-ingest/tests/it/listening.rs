//! The endpoint under pressure and while its ledger is away.

use std::sync::Arc;

use hilo_kit::lifecycle::Shutdown;
use hilo_test_support::Postgres;

use crate::rig::{NUMBER, Rig, Setup, said, webhook};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_webhook_a_hundred_times_at_once_is_one_message() {
    let mut rig = Rig::start(Setup::default()).await;
    let body = webhook(
        NUMBER,
        vec![said("wamid.1", "uno"), said("wamid.2", "dos"), said("wamid.3", "tres")],
        vec![],
    );
    let posts = (0..100).map(|_| rig.post(&body));
    assert!(futures::future::join_all(posts).await.into_iter().all(|status| status == 200));
    rig.parsed().await;
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.webhook").await, 100, "every body is kept");
    assert_eq!(rig.count("SELECT count(*) FROM whatsapp.item").await, 3);
    for (sequence, wamid) in [(1, "wamid.1"), (2, "wamid.2"), (3, "wamid.3")] {
        let (envelope, item) = rig.inbound().await;
        assert_eq!((envelope.sequence, item.wamid.as_str()), (sequence, wamid));
    }
    assert_eq!(rig.count("SELECT count(*) FROM kit.outbox_log WHERE stream = 'inbound'").await, 3);
}

#[tokio::test]
async fn a_large_body_is_taken_and_a_larger_one_is_not() {
    let rig = Rig::start(Setup::default()).await;
    let of = |bytes: usize| webhook(NUMBER, vec![said("wamid.1", &"x".repeat(bytes))], vec![]);
    assert_eq!(rig.post(&of(4 * 1024 * 1024 - 2048)).await, 200);
    assert_eq!(rig.post(&of(4 * 1024 * 1024)).await, 413);
    rig.parsed().await;
    let kinds = "SELECT count(*) FROM whatsapp.item WHERE kind = 'placeholder'";
    assert_eq!(rig.count(kinds).await, 1, "too large to be handed over, and visible all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_ledger_is_away_meta_is_told_to_come_again() {
    let server = Postgres::start(true).await.unwrap();
    let database_url = Some(server.fresh_database().await.unwrap());
    let rig = Rig::start(Setup { database_url, ..Setup::default() }).await;
    let body = |n: usize| webhook(NUMBER, vec![said(&format!("wamid.{n}"), "hola")], vec![]);
    assert_eq!(rig.post(&body(0)).await, 200);
    server.kill_9().await.unwrap();
    // A session of the server may serve one more before it notices that the server is dead.
    let mut last = 1;
    let refused = loop {
        match rig.post(&body(last)).await {
            200 => last += 1,
            refused => break refused,
        }
    };
    assert!(refused == 503 && last < 20, "{refused} to the {last}th");
    server.restart().await.unwrap();
    let again = || async { rig.post(&body(last)).await == 200 };
    hilo_test_support::eventually("it is taken when it comes again", crate::rig::DEADLINE, again)
        .await
        .unwrap();
    rig.counts("SELECT count(*) FROM whatsapp.item", i64::try_from(last).unwrap() + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_webhooks_are_taken_and_arrive_later() {
    let mut rig = Rig::start(Setup::default()).await;
    rig.nats.kill_9().unwrap();
    assert_eq!(rig.post(&webhook(NUMBER, vec![said("wamid.1", "hola")], vec![])).await, 200);
    rig.counts("SELECT count(*) FROM whatsapp.item", 1).await;
    rig.nats.restart().await.unwrap();
    let (_, item) = rig.inbound().await;
    assert_eq!(item.wamid, "wamid.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_200_before_a_stop_is_there_after_it() {
    let mut rig = Rig::start(Setup::default()).await;
    let shutdown = Shutdown::new();
    let posted = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (http, url, accepted, stop) =
        (rig.http.clone(), rig.webhook.clone(), posted.clone(), shutdown.clone());
    let poster = tokio::spawn(async move {
        for n in 0.. {
            if stop.is_cancelled() {
                return;
            }
            let wamid = format!("wamid.{n}");
            let body = webhook(NUMBER, vec![said(&wamid, "hola")], vec![]).to_string();
            let signature = hilo_whatsapp_ingest::domain::signature::sign(
                crate::rig::APP_SECRET.as_bytes(),
                body.as_bytes(),
            );
            let request = http.post(&url).header("X-Hub-Signature-256", signature.unwrap()).body(body);
            if request.send().await.is_ok_and(|answer| answer.status() == 200) {
                accepted.lock().push(wamid);
            }
        }
    });
    rig.counts("SELECT (count(*) > 20)::int::bigint FROM whatsapp.webhook", 1).await;
    rig.stop().await;
    shutdown.begin();
    poster.await.unwrap();
    let accepted: Vec<String> = posted.lock().clone();
    rig.run().await;
    rig.wait_until_it_takes_webhooks().await;
    rig.parsed().await;
    let known: Vec<String> =
        sqlx::query_scalar("SELECT wamid FROM whatsapp.item").fetch_all(rig.db.pool()).await.unwrap();
    let missing: Vec<&String> = accepted.iter().filter(|wamid| !known.contains(wamid)).collect();
    assert!(missing.is_empty() && !accepted.is_empty(), "{missing:?} of {}", accepted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_promise_much_and_say_nothing_keep_nobody_out() {
    use tokio::io::AsyncWriteExt as _;
    let rig = Rig::start(Setup::default()).await;
    let address = rig.webhook.trim_start_matches("http://").trim_end_matches("/webhook").to_owned();
    let signature = "0".repeat(64);
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256={signature}\r\nContent-Length: 4194304\r\n\r\n"
    );
    let mut silent = Vec::new();
    for _ in 0..40 {
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    let large = webhook(NUMBER, vec![said("wamid.1", &"x".repeat(3 * 1024 * 1024))], vec![]);
    assert_eq!(rig.post(&large).await, 200);
    drop(silent);
}
